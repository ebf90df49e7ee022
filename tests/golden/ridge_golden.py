#!/usr/bin/python3
"""Writes ridge_golden.txt: what scikit-learn's StandardScaler + Ridge and RidgeCV say about three
small tables. Debian: apt-get install python3-sklearn; run from anywhere, takes a second.

Per table: the raw rows (columns, then target), the penalties, the penalty RidgeCV chooses, then for
each penalty the intercept and coefficients (of standardised columns), the predictions of the same
rows, and the squared leave-one-out errors of each row.
"""
import pathlib
import platform
import sys

import numpy as np
import scipy
import sklearn
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.preprocessing import StandardScaler

PENALTIES = [1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0]


def well_conditioned(rng):
    x = rng.normal(size=(50, 5)) * [1, 30, 0.01, 5, 1000] + [0, 400, 3, -7, 1e5]
    y = x @ [1.5, 0.2, -40, 0.3, 0.001] + rng.normal(size=50) * 2
    return x, y


def wide(rng):
    x = rng.normal(size=(15, 40)) + rng.normal(size=(15, 1))
    y = x[:, :3].sum(axis=1) + 0.1 * rng.normal(size=15) + 20
    return x, y


def collinear(rng):
    a, b, c = rng.normal(size=(3, 40))
    x = np.column_stack([a, b, c, a + b, 2 * c - a, b + 1e-7 * rng.normal(size=40)])
    y = a - 2 * b + 0.5 * c + 0.3 * rng.normal(size=40) - 5
    return x, y


def numbers(values):
    return " ".join(repr(float(v)) for v in values)


def write_table(out, name, x, y):
    scaled = StandardScaler().fit_transform(x)
    cv = RidgeCV(alphas=PENALTIES, store_cv_values=True).fit(scaled, y)
    print(f"table {name} {x.shape[0]} {x.shape[1]} {len(PENALTIES)}", file=out)
    for row, target in zip(x, y):
        print(numbers([*row, target]), file=out)
    print("penalties", numbers(PENALTIES), file=out)
    print("chosen", numbers([cv.alpha_]), file=out)
    for l, penalty in enumerate(PENALTIES):
        fit = Ridge(alpha=penalty, solver="svd").fit(scaled, y)
        print("coefficients", numbers([fit.intercept_, *fit.coef_]), file=out)
        print("predictions", numbers(fit.predict(scaled)), file=out)
        print("squared_errors", numbers(cv.cv_values_[:, l]), file=out)


def main():
    rng = np.random.default_rng(20)
    with open(pathlib.Path(__file__).with_name("ridge_golden.txt"), "w") as out:
        print("# made by ridge_golden.py; Python", platform.python_version(), "NumPy",
              np.__version__, "SciPy", scipy.__version__, "scikit-learn", sklearn.__version__,
              file=out)
        for make in (well_conditioned, wide, collinear):
            write_table(out, make.__name__, *make(rng))


if __name__ == "__main__":
    sys.exit(main())
