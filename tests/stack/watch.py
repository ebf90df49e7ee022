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
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.parse

from clients import TARGET, Replay, Traffic, read_rows
from programs import MODEL, Listener, Program, Prometheus, Ridged, rewritten
from report import HERE, ROOT, check, run, say, skip, wait

NO_DATA = "the California housing table is not beside the project"  # as tests/skips has it
SCALE, DEADLINE_S = 30, 420
WINDOW, MIN_SAMPLES, SHIFT = 600, 200, 0.6
SHIFTED, SIGMA = "MedInc", 1.9


class Alertmanager(Listener):
    """Takes down what it is told, and says thank you."""

    def alert(self, **labels):
        """The last alert told with these labels, or None."""
        found = [a for _, alerts in self.told for a in alerts if labels.items() <= a["labels"].items()]
        return found[-1] if found else None


# ---- data and models ----

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

    replay.rows(rows, lambda x: SHIFT, until=fires)
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
    replay.rows(rows, lambda x: SHIFT)
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
        out = rewritten(folder / f"config-{name}", SCALE, "${1}:8000=${1}${2}",
                        f"alertmanager.monitoring.svc:9093=127.0.0.1:{manager.server_port}",
                        targets=folder / "targets.json")
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
    replay = Replay(one, WINDOW)
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
    return run("watch", DEADLINE_S, lambda folder: watch(options, folder), Program.stop_all)


if __name__ == "__main__":
    sys.exit(main())
