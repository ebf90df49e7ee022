#!/usr/bin/env python3
"""Watches a model go wrong and be put right again, with the real programs and the committed rules.

    watch.py --prometheus PROGRAM... [--model FILE] [--build build]

One ridged per user. user01's gets held-out rows with their true values, then, on rows not used before, true
values that are 0.6 higher: MAE crosses 0.45 and ModelDriftDetected fires. The journal is fetched, `ridge train
--prior` refits the model on it, and the new artifact replaces the old one under the running server; the alert
ends with the new version's own live figures, not with its card. user02's gets rows of which one input is
shifted, and PSI names it. Meanwhile every panel of the dashboards is asked for, by panels.py. Each Prometheus
reads k8s/monitoring through rewrite.py, 30 times as fast; at the end each scrapes both formats and must not
have complained. What an Alertmanager would be told is taken down by one that is made here.

Prints what happens when, then `N passed, N failed`. Needs data/ (make data) and a kernel model, which is
trained once if the bundled one is none. All ports are free ones on 127.0.0.1.
"""
import argparse
import csv
import http.client
import http.server
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
NO_DATA = "the California housing table is not beside the project"  # as tests/skips has it
MODEL, TARGET = "california-housing", "MedHouseVal"
SCALE, DEADLINE_S, PATIENCE_S = 30, 420, 90
WINDOW, MIN_SAMPLES, SHIFT = 600, 200, 0.6
SHIFTED, SIGMA = "MedInc", 1.9

began = time.monotonic()
results = []


def say(text):
    print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)


def check(text, good, found=""):
    results.append(bool(good))
    say(f"{'ok    ' if good else 'FAILED'} {text}{f' ({found})' if found != '' else ''}")


def wait(text, ask, patience=PATIENCE_S):
    """Polls until ask() is true, and checks that it became so; what it was last is shown."""
    end, found = time.monotonic() + patience, ask()
    while not found and time.monotonic() < end:
        time.sleep(0.25)
        found = ask()
    check(text, found, found if found is not True else "")
    return found


# ---- programs ----

class Program:
    """A child process whose output goes to a file."""
    running = []

    def __init__(self, name, folder, *words):
        self.log = folder / f"{name}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen([str(w) for w in words], stdout=log, stderr=log)
        Program.running.append(self)

    def text(self):
        return self.log.read_text(errors="replace")

    def wait_for(self, pattern, patience=30):
        end = time.monotonic() + patience
        while time.monotonic() < end:
            found = re.search(pattern, self.text())
            if found:
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f"{self.log.name}: expected {pattern} in:\n{self.text()}")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Ridged(Program):
    def __init__(self, user, folder, build, model, *options):
        self.user = user
        self.journal = folder / f"journal-{user}"
        self.journal.mkdir()
        self.artifact = folder / f"model-{user}" / "model.json"
        self.artifact.parent.mkdir()
        shutil.copy(model, self.artifact)
        self.token = "secret-of-" + user
        token_file = folder / f"token-{user}"
        token_file.write_text(self.token)
        super().__init__(user, folder, build / "ridged", f"--model_dir={self.artifact.parent}", "--host=127.0.0.1",
                         "--http_port=0", "--metrics_port=0", "--workers=1", "--drain_delay=0", "--watch_interval=1",
                         f"--user_id={user}", f"--namespace=kubeflow-{user}", f"--feedback_dir={self.journal}",
                         f"--feedback_token_file={token_file}", *options)
        ready = self.wait_for(r'"event":"ready".*"http_port":(\d+),"metrics_port":(\d+)')
        self.port, self.metrics_port = int(ready[1]), int(ready[2])

    def target(self):
        meta = "__meta_kubernetes_"
        return {"targets": [f"127.0.0.1:{self.metrics_port}"],
                "labels": {meta + "namespace": f"kubeflow-{self.user}", meta + "pod_name": f"pod-{self.user}",
                           meta + "pod_container_name": "kserve-container", meta + "pod_phase": "Running",
                           meta + "pod_label_serving_kserve_io_inferenceservice": MODEL}}


class Client:
    """One kept connection to a ridged."""

    def __init__(self, ridged):
        self.ridged = ridged
        self.http = http.client.HTTPConnection("127.0.0.1", ridged.port, timeout=30)

    def ask(self, method, verb, body=None, request_id=None):
        headers = {"Authorization": f"Bearer {self.ridged.token}"}
        if request_id:
            headers["x-request-id"] = request_id
        self.http.request(method, f"/v1/models/{MODEL}:{verb}", None if body is None else json.dumps(body), headers)
        response = self.http.getresponse()
        return response.status, response.read().decode()

    def post(self, verb, body, request_id=None):
        status, text = self.ask("POST", verb, body, request_id)
        if status != 200:
            raise RuntimeError(f":{verb}: {status} {text}")
        return json.loads(text)


class Prometheus(Program):
    def __init__(self, name, folder, program, config, *options):
        self.name = name
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        super().__init__(f"prometheus-{name}", folder, program, f"--config.file={config}",
                         f"--storage.tsdb.path={folder}/data-{name}", f"--web.listen-address=127.0.0.1:{port}",
                         *options)
        self.wait_for(r"Server is ready to receive web requests", 60)

    def get(self, path, **parameters):
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=20) as r:
            return json.load(r)["data"]

    def series(self, query):
        return [(s["metric"], float(s["value"][1])) for s in self.get("query", query=query)["result"]]

    def value(self, query):
        found = self.series(query)
        return found[0][1] if len(found) == 1 else None

    def firing(self, name, user):
        return [m for m, _ in self.series(f'ALERTS{{alertname="{name}",alertstate="firing",user_id="{user}"}}')]

    def complaints(self):
        """What it warned of, but for being told to end."""
        return [line for line in self.text().splitlines()
                if re.search(r"level=(warn|error)", line, re.I) and "exiting gracefully" not in line]


class Alertmanager(http.server.ThreadingHTTPServer):
    """Takes down what it is told, and says thank you."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Alertmanager.Handler)
        self.told = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.server.told += json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    def alert(self, **labels):
        """The last alert told with these labels, or None."""
        found = [a for a in self.told if labels.items() <= a["labels"].items()]
        return found[-1] if found else None


# ---- data and models ----

def read_rows(path):
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        names = [n for n in reader.fieldnames if n != TARGET]
        return names, [([float(r[n]) for n in names], float(r[TARGET])) for r in reader]


def skip(reason):
    print(f"SKIP: {reason}")
    listed = reason in (ROOT / "tests/skips").read_text().splitlines()
    sys.exit(1 if os.environ.get("CI") == "true" and not listed else 0)


def kernel_model(build, told):
    """The bundled model if it has a kernel, else one trained on the rows not held out, kept in build/stack."""
    model = told or ROOT / "model/california-housing.json"
    if told or json.loads(model.read_text())["kind"] == "kernel":
        return model
    model = build / "stack" / "kernel.json"
    if not model.exists():
        model.parent.mkdir(parents=True, exist_ok=True)
        say("the bundled model is linear, so a kernel model is trained first; a few minutes, once")
        subprocess.run([build / "ridge", "train", "--data", ROOT / "data/train.csv", "--target", TARGET,
                        "--holdout_data", ROOT / "data/holdout.csv", "--name", MODEL, "--version", "1",
                        "--out", model], check=True)
    return model


def refit(build, folder, champion, journal):
    """The journal's rows, of which each fifth is held out for the card; what is no feature is dropped."""
    header, *rows = journal.splitlines(keepends=True)
    train, holdout, out = folder / "train.csv", folder / "holdout.csv", folder / "next.json"
    train.write_text(header + "".join(row for i, row in enumerate(rows) if i % 5))
    holdout.write_text(header + "".join(rows[::5]))
    subprocess.run([build / "ridge", "train", "--prior", champion, "--data", train, "--holdout_data", holdout,
                    "--target", TARGET, "--drop", "time,id,model_version,prediction,crc32", "--name", MODEL,
                    "--version", "2", "--out", out], check=True)
    return out


# ---- traffic ----

class Replay:
    """Sends rows with their true values, half with their instances, half by the ids of their predictions, and
    keeps what a quality window of that size would hold."""

    def __init__(self, ridged):
        self.client, self.window, self.last_id, self.chunks = Client(ridged), [], None, 0

    def chunk(self, rows, shift):
        x, y = [r[0] for r in rows], [r[1] + shift for r in rows]
        self.chunks += 1
        name = f"chunk-{self.chunks}"
        if self.chunks % 2:
            answer = self.client.post("feedback", {"instances": x, "targets": y}, name)
            predictions = answer["predictions"]
        else:
            predictions = self.client.post("predict", {"instances": x}, name)["predictions"]
            answer = self.client.post("feedback", {"ids": [f"{name}/{i}" for i in range(len(y))], "targets": y})
        if answer["accepted"] != len(rows):
            raise RuntimeError(f"feedback: {answer}")
        self.last_id = f"{name}/{len(y) - 1}"
        self.window = (self.window + list(zip(predictions, y)))[-WINDOW:]

    def rows(self, rows, shift=0.0, rate=100, until=lambda: False):
        """All of them at that many a second, or until something has happened."""
        for i in range(0, len(rows), 10):
            if until():
                return
            self.chunk(rows[i:i + 10], shift)
            time.sleep(10 / rate)

    def figures(self):
        mean = sum(y for _, y in self.window) / len(self.window)
        squares = sum((f - y) ** 2 for f, y in self.window)
        return (sum(abs(f - y) for f, y in self.window) / len(self.window),
                1 - squares / sum((y - mean) ** 2 for _, y in self.window))


class Traffic(threading.Thread):
    """Asks for predictions until stopped, one row a request, now and then for an explanation or for nonsense."""

    def __init__(self, ridged, rows, rate=60, others=False):
        super().__init__(daemon=True)
        self.client, self.data, self.rate, self.others = Client(ridged), rows, rate, others
        self.change = lambda row: row
        self.answered, self.wrong, self.stopping = 0, [], False
        self.start()

    def step(self, i):
        row = self.change(self.data[i % len(self.data)][0])
        status, text = self.client.ask("POST", "predict", {"instances": [row, row] if self.others else [row]})
        answers = json.loads(text).get("predictions", []) if status == 200 else []
        if not answers or answers[0] != answers[-1]:
            self.wrong.append(f"{status} {text[:200]}")
        if self.others and i % 20 == 0:
            self.client.ask("POST", "explain", {"instances": [row]})
        if self.others and i % 50 == 0:
            self.client.ask("POST", "predict", {"instances": [["x"]]})

    def run(self):
        while not self.stopping:
            try:
                self.step(self.answered)
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(repr(error))
                return
            self.answered += 1
            time.sleep(1 / self.rate)

    def stop(self):
        self.stopping = True
        self.join(30)
        return self.answered, self.wrong


# ---- what is to be seen ----

def by_version(version, user="user01"):
    return f'{{user_id="{user}",version="{version}"}}'


def watch_good(fleet, replay, rows):
    say(f"user01: {len(rows)} held-out rows with their true values")
    for p in fleet:
        wait(f"{p.name}: at first the card's figures show and are not live",
             lambda p=p: p.value("model_quality_live" + by_version(1)) == 0 and
             p.value("model_mae_score" + by_version(1)) is not None)
    replay.rows(rows)
    mae, r2 = replay.figures()
    for p in fleet:
        wait(f"{p.name}: the rules' MAE and R2 are those of the rows sent, {mae:.4f} and {r2:.4f}",
             lambda p=p: abs((p.value('model:model_mae:worst{user_id="user01"}') or 9) - mae) < 1e-9 and
             abs((p.value('model:model_r2:worst{user_id="user01"}') or 9) - r2) < 1e-9)
        check(f"{p.name}: no drift alert", not p.firing("ModelDriftDetected", "user01"))


def watch_drift(fleet, manager, replay, rows):
    say(f"user01: rows not used before, their true values {SHIFT:+}")
    first = fleet[0]
    crossed = []

    def fires():
        if not crossed and (first.value("model_mae_score" + by_version(1)) or 0) > 0.45:
            crossed.append(time.monotonic())
            say(f"       {first.name}: model_mae_score crosses 0.45")
        return all(len(p.firing("ModelDriftDetected", "user01")) == 2 for p in fleet)

    replay.rows(rows, SHIFT, until=fires)
    for p in fleet:
        wait(f"{p.name}: ModelDriftDetected fires for mae and r2",
             lambda p=p: sorted(m["reason"] for m in p.firing("ModelDriftDetected", "user01")) == ["mae", "r2"])
    check("MAE crossed 0.45 first", crossed)
    wait("an Alertmanager is told", lambda: manager.alert(alertname="ModelDriftDetected", user_id="user01") and True)
    alert = manager.alert(alertname="ModelDriftDetected", user_id="user01", reason="mae")
    expected = {"namespace": "kubeflow-user01", "model_name": MODEL, "category": "drift_trigger", "action": "retrain"}
    check("with the labels that start a retraining", alert and expected.items() <= alert["labels"].items())
    mae = float(alert["annotations"]["mae"]) if alert else 0
    check("and the MAE in words", mae > 0.45, mae)


def watch_swap(fleet, build, folder, replay, since, ridged):
    status, journal = replay.client.ask("GET", "feedback?since=" + urllib.parse.quote(since, safe=""))
    check("the journal since the last good row is fetched", status == 200 and journal.count("\n") > MIN_SAMPLES,
          f"{journal.count(chr(10)) - 1} rows")
    champion = folder / "champion.json"
    shutil.copy(ridged.artifact, champion)
    os.replace(refit(build, folder, champion, journal), ridged.artifact)
    say("user01: the model refitted on it replaces the old one")
    for p in fleet:
        wait(f"{p.name}: version 2 is served and not live, version 1 is gone",
             lambda p=p: p.value("model_quality_live" + by_version(2)) == 0 and
             not p.series("model_mae_score" + by_version(1)))
    time.sleep(5)  # ten evaluations
    for p in fleet:
        card = p.value("model_mae_score" + by_version(2)) or 9
        check(f"{p.name}: the alert fires on, although the new version's card says that all is well",
              card < 0.45 and len(p.firing("ModelDriftDetected", "user01")) == 2 and
              not p.series("version:model_mae:live" + by_version(2)), f"{card:.4f}")


def watch_recovery(fleet, manager, replay, rows):
    say(f"user01: fresh rows, true values still {SHIFT:+}")
    replay.window = []
    replay.rows(rows, SHIFT)
    mae, _ = replay.figures()
    for p in fleet:
        wait(f"{p.name}: the alert ends", lambda p=p: not p.firing("ModelDriftDetected", "user01"))
        check(f"{p.name}: version 2 is live on {MIN_SAMPLES} rows and more",
              p.value("model_quality_live" + by_version(2)) == 1 and
              (p.value("model_window_rows" + by_version(2)) or 0) >= MIN_SAMPLES)
        wait(f"{p.name}: with its own MAE, {mae:.4f}",
             lambda p=p: abs((p.value('model:model_mae:worst{user_id="user01"}') or 9) - mae) < 1e-9)
        end = time.time()
        unlived = p.get("query_range", start=end - 300, end=end, step=0.5, query=(
            'count(model_quality_live{user_id="user01",version="2"} == 0) unless '
            'count(ALERTS{alertname="ModelDriftDetected",alertstate="firing",user_id="user01"})'))["result"]
        check(f"{p.name}: at no moment was it quiet before that", not unlived)

    def resolved():
        alert = manager.alert(alertname="ModelDriftDetected", user_id="user01", reason="mae")
        return alert["endsAt"] < time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())

    wait("an Alertmanager is told that it has ended", resolved)


def watch_inputs(fleet, traffic, names):
    j = names.index(SHIFTED)
    psi = 'model_feature_psi{user_id="user02"}'
    for p in fleet:
        wait(f"{p.name}: user02's inputs are those of training",
             lambda p=p: len(p.series(psi)) == len(names) and all(v < 0.25 for _, v in p.series(psi)))
    traffic.change = lambda row: row[:j] + [row[j] + SIGMA] + row[j + 1:]
    say(f"user02: from now on {SHIFTED} is {SIGMA} higher")
    for p in fleet:
        wait(f"{p.name}: PSI names {SHIFTED}, and nothing else",
             lambda p=p: [m["feature"] for m, v in p.series(psi) if v > 0.25] == [SHIFTED])
        wait(f"{p.name}: ModelFeatureDrift fires for it alone",
             lambda p=p: [m["feature"] for m in p.firing("ModelFeatureDrift", "user02")] == [SHIFTED])
        check(f"{p.name}: that asks for no retraining",
              all("action" not in m for m in p.firing("ModelFeatureDrift", "user02")))


def watch_inputs_aside(*arguments):
    """For a thread: what goes wrong there must not go unseen."""
    try:
        watch_inputs(*arguments)
    except Exception as error:
        check(f"user02: {error!r}", False)


def watch_panels(fleet):
    for p in fleet:
        done = subprocess.run([sys.executable, HERE / "panels.py", "--url", p.url, "--range", "30", "--scrape", "0.5"],
                              capture_output=True, text=True, check=False)
        check(f"{p.name}: every panel has an answer", done.returncode == 0, done.stdout.splitlines()[-1:][0])
        for line in done.stdout.splitlines():
            if "FAILED" in line:
                print(line)


def watch_formats(name, program, folder, ridged):
    """OpenMetrics from the metrics port, text 0.0.4 from the predict port, which never negotiates."""
    config = folder / f"formats-{name}.yml"
    config.write_text("global: {scrape_interval: 500ms}\nscrape_configs:\n" + "".join(
        f"  - {{job_name: {job}, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n"
        for job, port in (("openmetrics", ridged.metrics_port), ("text", ridged.port))))
    p = Prometheus(f"formats-{name}", folder, program, config)
    for job in ("openmetrics", "text"):
        wait(f"{name}: scrapes {job}", lambda job=job: (p.value(f'sum_over_time(up{{job="{job}"}}[1m])') or 0) >= 4)
        check(f"{name}: {job} has the series of the other", sorted(
            json.dumps({k: v for k, v in m.items() if k not in ("instance", "job")}, sort_keys=True)
            for m, _ in p.series(f'{{job="{job}",__name__=~"model_.*|feedback_.*"}}')) == sorted(
            json.dumps({k: v for k, v in m.items() if k not in ("instance", "job")}, sort_keys=True)
            for m, _ in p.series('{job="openmetrics",__name__=~"model_.*|feedback_.*"}')))
    errors = [t["lastError"] for t in p.get("targets", state="active")["activeTargets"] if t["lastError"]]
    check(f"{name}: no target has an error", not errors, *errors[:1])
    p.stop()
    check(f"{name}: no complaint about either format", not p.complaints(), "\n".join(p.complaints()[:3]))


def start_fleet(folder, programs, manager, targets):
    (folder / "targets.json").write_text(json.dumps([r.target() for r in targets]))
    fleet = []
    for program in programs:
        version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        found = re.search(r"version (\d+\.\d+)", version.stdout + version.stderr)
        name = found[1] if found else "unversioned"
        out = folder / f"config-{name}"
        subprocess.run([sys.executable, HERE / "rewrite.py", ROOT / "k8s/monitoring", out, "--scale", str(SCALE),
                        "--targets", folder / "targets.json", "--replace", "${1}:8000=${1}${2}", "--replace",
                        f"alertmanager.monitoring.svc:9093=127.0.0.1:{manager.server_port}"], check=True)
        fleet.append(Prometheus(name, folder, program, out / "prometheus.yml", "--query.lookback-delta=10s"))
        say(f"Prometheus {name} runs the committed rules {SCALE} times as fast")
    return fleet


def watch(options, folder):
    names, rows = read_rows(ROOT / "data/holdout.csv")
    random.Random(1).shuffle(rows)
    quality = [f"--quality_window={WINDOW}", f"--quality_min_samples={MIN_SAMPLES}"]
    model = kernel_model(options.build, options.model)
    one = Ridged("user01", folder, options.build, model, "--drift_window=60", *quality)
    two = Ridged("user02", folder, options.build, model, "--drift_window=24", *quality)
    manager = Alertmanager()
    fleet = start_fleet(folder, options.prometheus, manager, (one, two))
    traffic = Traffic(one, rows, 40, others=True), Traffic(two, rows, 60)
    inputs = threading.Thread(target=watch_inputs_aside, args=(fleet, traffic[1], names))
    inputs.start()
    replay = Replay(one)
    watch_good(fleet, replay, rows[:900])
    since = replay.last_id
    watch_drift(fleet, manager, replay, rows[900:2900])
    watch_panels(fleet)
    watch_swap(fleet, options.build, folder, replay, since, one)
    watch_recovery(fleet, manager, replay, rows[2900:3400])
    inputs.join()
    for ridged, client in zip((one, two), traffic):
        answered, wrong = client.stop()
        check(f"{ridged.user}: {answered} requests, each answered by one version", not wrong, "".join(wrong[:1]))
    for p in fleet:
        p.stop()
        check(f"{p.name}: no complaint in its log", not p.complaints(), "\n".join(p.complaints()[:3]))
    for name, program in zip([p.name for p in fleet], options.prometheus):
        watch_formats(name, program, folder, one)
    check("ridged ends well", one.stop() == 0 and two.stop() == 0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--prometheus", nargs="+", default=["prometheus"])
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    options = parser.parse_args()
    if not (ROOT / "data/holdout.csv").exists():
        skip(NO_DATA)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="watch-"))
    signal.signal(signal.SIGALRM, lambda *_: sys.exit("watch: not done within its time"))
    signal.alarm(DEADLINE_S)
    good = False
    try:
        watch(options, folder)
        good = all(results)
    finally:
        signal.alarm(0)
        for program in Program.running:
            program.stop()
        print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
        if good:
            shutil.rmtree(folder)
        else:
            print(f"logs are in {folder}")
    return not good


if __name__ == "__main__":
    sys.exit(main())
