#!/usr/bin/env python3
"""Closes the loop, twice at once: from true values that drift to a better model in service, with no hand in between.

    loop.py [--build build] [--made_up]

user01's true values come to be 0.6 higher; user02's 1.0 higher, but only north of latitude 36. The clients see to
nothing else: Prometheus' alert, Alertmanager, ridge-relay, GitHub (a mock, by GitHub's own description), the
committed workflow's steps and the deployment do the rest, and what they must have done is checked, down to the last:
that no second dispatch follows, when the relay has been started again without a cooldown. Rows by which the drift is
seen, rows for retraining and rows for the proof are different ones, and the model has seen none of them.

plane.py says what runs and what is replaced. Prints what happens when, a time line, and `N passed, N failed`.
"""
import argparse
import collections
import datetime
import json
import pathlib
import random
import re
import sys
import threading
import time

from clients import Replay, Traffic, read_rows
from github_mock import VERSIONS
from plane import Data, Plane
from programs import MODEL, Program
from report import ROOT, check, poll, run, say, wait

SCALE, DEADLINE_S, RUN_S = 30, 400, 240
WINDOW, MIN_SAMPLES = 600, 200
GOOD, DRIFT, RETRAIN = 300, 700, 1200  # rows
GROUP_INTERVAL_S = 300 / SCALE
QUIET_S = 3 * GROUP_INTERVAL_S

Scenario = collections.namedtuple("Scenario", "user says shift")


def scenarios(names):
    north = names.index("Latitude")
    return (Scenario("user01", "true values 0.6 higher", lambda x: 0.6),
            Scenario("user02", "true values 1.0 higher north of latitude 36", lambda x: 1.0 if x[north] > 36 else 0.0))


class TimeLine:
    """What happened to each user, by the clock; printed in the end."""

    def __init__(self):
        self.events = []

    def mark(self, user, text, at=None):
        self.events.append((at or time.time(), user, text))

    def show(self):
        began = min(at for at, _, _ in self.events)
        for at, user, text in sorted(self.events):
            print(f"{at - began:7.1f} s  {user}  {text}")


class Loop:
    """One user's way round."""

    def __init__(self, plane, scenario, rows, line):
        self.plane, self.user, self.shift, self.line = plane, scenario.user, scenario.shift, line
        self.says, self.server = scenario.says, plane.servers[scenario.user]
        self.replay = Replay(self.server, WINDOW)
        self.rows, self.taken, self.first = rows, 0, None

    def check(self, text, good, found=""):
        return check(f"{self.user}: {text}", good, found)

    def wait(self, text, ask, patience=90):
        return wait(f"{self.user}: {text}", ask, patience)

    def mark(self, text, at=None):
        self.line.mark(self.user, text, at)

    def take(self, n):
        self.taken += n
        return self.rows[self.taken - n:self.taken]

    def value(self, name, **labels):
        chosen = ",".join(f'{k}="{v}"' for k, v in {"user_id": self.user, "model_name": MODEL, **labels}.items())
        return self.plane.prometheus.value(f"{name}{{{chosen}}}")

    def firing(self):
        return self.plane.prometheus.firing("ModelDriftDetected", self.user)

    def runs(self):
        return self.plane.runs(self.user)

    # ---- what happens ----

    def good(self):
        self.replay.rows(self.take(GOOD), rate=150)
        mae, _ = self.replay.figures()
        self.wait(f"the model is live, with the MAE of the rows sent, {mae:.4f}",
                  lambda: abs((self.value("model:model_mae:worst") or 9) - mae) < 1e-9)
        self.check("no alert, no dispatch", not self.firing() and not self.runs())
        self.first = self.plane.version(self.user)

    def drift(self):
        say(f"{self.user}: from now on {self.says}")
        self.mark(f"{self.says}")
        self.replay.rows(self.take(DRIFT), self.shift, 150)
        if self.wait("MAE is over 0.45", lambda: (self.value("model:model_mae:worst") or 0) > 0.45):
            self.mark(f"MAE {self.value('model:model_mae:worst'):.3f} over {DRIFT} further rows")
        self.replay.rows(self.take(RETRAIN), self.shift, 150)
        self.wait("ModelDriftDetected fires", lambda: bool(self.firing()))
        self.mark("ModelDriftDetected fires")

    def retrained(self):
        if not self.wait("a dispatch is accepted", lambda: bool(self.runs())):
            return None
        run = self.runs()[0]
        self.mark(f"dispatch accepted, drift_score {run.inputs['drift_score']}", run.created)
        poll(lambda: run.conclusion or self.plane.version(self.user) not in (None, self.first), RUN_S)
        version = self.plane.version(self.user)
        if not self.check("the new version is served", version not in (None, self.first), version):
            print((self.plane.folder / f"for-run-{run.number}/log").read_text()[-3000:])
            return None
        self.mark(f"version {version} served")
        return run, version

    def proof(self, version):
        """While the deployment is still being watched, fresh rows come in, drifted as before."""
        self.check("the alert still fires: a swap alone is no recovery", self.firing())
        self.replay.window = []
        self.replay.rows(self.take(400), self.shift, 50)
        live = {"version": version}
        if self.wait(f"version {version} is live on {MIN_SAMPLES} fresh rows and more",
                     lambda: self.value("model_quality_live", **live) == 1 and
                     (self.value("model_window_rows", **live) or 0) >= MIN_SAMPLES):
            self.mark("the new version is live")
        mae, r2 = self.replay.figures()
        self.wait(f"with the MAE of those rows, {mae:.4f}, below 0.45",
                  lambda: abs((self.value("model:model_mae:worst") or 9) - mae) < 1e-9 and mae < 0.45)
        self.check("and R2 over 0.75", r2 > 0.75, f"{r2:.4f}")

    def run_ended(self, run):
        poll(lambda: run.conclusion, RUN_S)
        if not self.check("the run ends well", run.conclusion == "success", run.conclusion):
            print((self.plane.folder / f"for-run-{run.number}/log").read_text()[-3000:])
        for job in self.plane.report(run).get("jobs", ()):
            if job.get("completed_at"):
                self.mark(f"  job {job['name']}: {job['conclusion']}, {seconds(job):.1f} s", stamp(job["completed_at"]))
        self.mark(f"run {run.number}: {run.conclusion}", run.ended)

    def recovered(self):
        self.wait("the alert ends", lambda: not self.firing())
        self.mark("ModelDriftDetected ends")
        self.wait("Alertmanager has none of its alerts any more", lambda: not self.plane.alertmanager.alerts(
            alertname="ModelDriftDetected", user_id=self.user))
        self.mark("resolved in Alertmanager")

    def go(self):
        self.good()
        self.drift()
        done = self.retrained()
        if done:
            self.proof(done[1])
            self.run_ended(done[0])
            self.recovered()

    def start(self, go):
        """In a thread of its own; what goes wrong there must not go unseen."""
        def body():
            try:
                go()
            except Exception as error:
                self.check(f"{error!r}", False)
        thread = threading.Thread(target=body, daemon=True)
        thread.start()
        return thread


def stamp(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def seconds(job):
    return stamp(job["completed_at"]) - stamp(job["started_at"])


def drift_score(mae, r2):
    return (max(0, (mae - 0.45) / 0.45) + max(0, (0.75 - r2) / 0.75)) / 2


def check_dispatch(plane, user):
    """What GitHub was sent for this user, beyond what the mock would have refused."""
    sent = [r for r in plane.github.of("dispatch") if f'"{user}"' in r.body]
    if not check(f"{user}: exactly one dispatch", len(sent) == 1, len(sent)):
        return
    inputs, headers = json.loads(sent[0].body)["inputs"], {k.lower(): v for k, v in sent[0].headers.items()}
    check(f"{user}: its answer was 200", sent[0].status == 200, sent[0].status)
    check(f"{user}: it had GitHub's media type and a version", headers["accept"] == "application/vnd.github+json"
          and headers["x-github-api-version"] in VERSIONS)
    check(f"{user}: all of the workflow's inputs, and no others", set(inputs) == set(plane.github.workflow.inputs))
    figures = re.fullmatch(r"mae (\S+) \(.*\), r2 (\S+) \(.*\)", inputs["drift_reason"])
    check(f"{user}: drift_score is that of the figures in drift_reason", figures and abs(
        drift_score(float(figures[1]), float(figures[2])) - float(inputs["drift_score"])) < 1e-3, inputs["drift_score"])


def check_quiet(plane, loops, rows):
    """Nothing but the recovery keeps a second dispatch away now: the cooldown is gone. True values go on."""
    plane.relay.stop()
    plane.relay = plane.start_relay("--cooldown=0", "--poll_interval=1")
    say(f"the relay is started again, without a cooldown; {QUIET_S:.0f} s, three group intervals, are watched")
    before = len(plane.github.requests)
    for thread in [loop.start(lambda loop=loop: loop.replay.rows(loop.take(rows), loop.shift, rows / QUIET_S))
                   for loop in loops]:
        thread.join()
    check("no second dispatch follows", len(plane.github.of("dispatch")) == len(loops))
    check("nor any other request to GitHub", len(plane.github.requests) == before)
    for loop in loops:
        mae = loop.value("model:model_mae:worst")
        check(f"{loop.user}: MAE stays below 0.45", mae is not None and mae < 0.45, mae)
        check(f"{loop.user}: and no alert comes back", not loop.firing())


def watch(options, folder):
    data = Data(folder, options.build, options.made_up)
    say("California's rows" if data.real else "California's table is not here: rows made by table.py")
    names, rows = read_rows(data.holdout)
    random.Random(1).shuffle(rows)
    wanted = scenarios(names)
    plane = Plane(folder, options.build, [s.user for s in wanted], data=data, scale=SCALE,
                  ridged=(f"--quality_window={WINDOW}", f"--quality_min_samples={MIN_SAMPLES}"),
                  relay=(f"--cooldown={6 * 3600 / SCALE}", "--poll_interval=1", "--list_delay=4"))
    say(f"everything runs; the committed rules and routes {SCALE} times as fast")
    line = TimeLine()
    traffic = [Traffic(server, rows, 30) for server in plane.servers.values()]
    loops = [Loop(plane, scenario, rows, line) for scenario in wanted]
    for thread in [loop.start(loop.go) for loop in loops]:
        thread.join()
    for series, says in (('relay_run_conclusion_total{conclusion="success"}', "the relay sees both runs succeed"),
                         ("relay_recoveries_total", "and both models recover")):
        wait(says, lambda series=series: plane.relay.metrics()[series] >= len(loops))
    for loop in loops:
        check_dispatch(plane, loop.user)
    check_quiet(plane, loops, 600)
    check("GitHub's description had nothing against any request", not plane.github.violations(),
          "; ".join(plane.github.violations()))
    for server, client in zip(plane.servers.values(), traffic):
        answered, wrong = client.stop()
        check(f"{server.user}: {answered} other requests, each answered", not wrong, "".join(wrong[:1]))
    plane.prometheus.stop()
    complaints = plane.prometheus.complaints()
    check("Prometheus had no complaint", not complaints, "\n".join(complaints[:3]))
    line.show()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--made_up", action="store_true", help="made-up rows, even where California's are there")
    options = parser.parse_args()
    return run("loop", DEADLINE_S, lambda folder: watch(options, folder), Program.stop_all)


if __name__ == "__main__":
    sys.exit(main())
