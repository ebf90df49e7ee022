#!/usr/bin/env python3
"""What can go wrong in the loop does, and each time at most one run proceeds per correlation id, and nothing is lost.

    faults.py [--build build] [NAME...]      those scenarios whose names hold one of these words

Alertmanager, ridge-relay, GitHub's mock and Prometheus are the real ones of plane.py. First faults between alert and
run, where a short stand-in takes the workflow's place; then, once, the committed workflow with real servers, for what
happens in it. Prints what happens, and `N passed, N failed`.
"""
import argparse
import http.client
import json
import os
import pathlib
import random
import subprocess
import sys
import threading
import time

from clients import Client, Traffic, read_rows
from github_mock import PRISM, REPOSITORY, RETRY_AFTER_S, VERSIONS, WORKFLOW
from loop import MIN_SAMPLES, WINDOW, Loop, Scenario, TimeLine
from plane import RUN_TOKEN, RUNNER, Data, Plane
from programs import MODEL, Program, Relay, free_port
from report import ROOT, check, poll, run, say, wait

DEADLINE_S = 900
ROUTES_SCALE = 3000  # group_interval 0.1 s, repeat_interval 4.8 s
LATE_S, LIST_DELAY_S, RUN_S = 1.5, 3, 1.5  # GitHub's list; what the relay takes it for; a run
FAST = ("--poll_interval=0.3", f"--list_delay={LIST_DELAY_S}", "--retry_delay=0.2", "--github_timeout=2")
IN_FLIGHT = ("relay_queue_depth", "relay_runs_in_flight")


# ---- alerts ----

def alert(user, over=False):
    """As Prometheus tells it."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"labels": {"alertname": "ModelDriftDetected", "action": "retrain", "category": "drift_trigger",
                       "severity": "warning", "reason": "mae", "user_id": user, "namespace": f"kubeflow-{user}",
                       "model_name": MODEL},
            "annotations": {"mae": "0.5400", "r2": "0.6000"}, **({"endsAt": stamp} if over else {})}


def fires(plane, *users):
    plane.alertmanager.post([alert(user) for user in users])


def ends(plane, *users):
    plane.alertmanager.post([alert(user, over=True) for user in users])


# ---- what is to be seen ----

def dispatches(plane, user="user01"):
    return [r for r in plane.github.of("dispatch") if json.loads(r.body)["inputs"]["user_id"] == user]


def ids(plane, user="user01"):
    return {json.loads(r.body)["inputs"]["correlation_id"] for r in dispatches(plane, user)}


def metric(plane, series):
    """Of the relay; None while it is away."""
    try:
        return plane.relay.metrics().get(series)
    except (OSError, http.client.HTTPException):
        return None


def idle(plane):
    return all(metric(plane, series) == 0 for series in IN_FLIGHT)


def settles(plane, user="user01", proceed=1):
    """The alert's retraining comes to its end: one id, and that many runs which were not ended as doubles."""
    wait(f"{user}: a run comes to its end, and the relay knows", lambda: idle(plane) and any(
        r.conclusion == "success" for r in plane.runs(user)) and all(r.conclusion for r in plane.runs(user)))
    check(f"{user}: one correlation id", len(ids(plane, user)) == 1, len(ids(plane, user)))
    good = [r for r in plane.runs(user) if r.conclusion == "success"]
    check(f"{user}: exactly one run proceeded", len(good) == proceed, len(good))


def again(plane):
    """Started again after a kill."""
    plane.relay = plane.start_relay(*FAST)


# ---- GitHub ----

def github_answers_500(plane):
    plane.github.faults += ["500", "500"]
    fires(plane, "user01")
    settles(plane)
    check("sent three times, and looked for in between", [r.kind for r in plane.github.requests][:5] ==
          ["dispatch", "list", "dispatch", "list", "dispatch"])


def github_answers_403_with_retry_after(plane):
    plane.github.faults.append("403")
    fires(plane, "user01")
    settles(plane)
    first, second = dispatches(plane)
    check(f"Retry-After: {RETRY_AFTER_S} is obeyed", second.at - first.at >= RETRY_AFTER_S,
          f"{second.at - first.at:.1f} s")
    check("and nothing else was asked meanwhile", [r.kind for r in plane.github.requests][:2] == ["dispatch"] * 2)


def github_answers_422(plane):
    plane.github.faults.append("422")
    fires(plane, "user01")
    wait("it is final, and counted", lambda: metric(plane, 'relay_dispatch_total{outcome="refused"}') == 1)
    wait("it is loud: RetrainingDispatchFailed fires", lambda: plane.prometheus.value(
        'ALERTS{alertname="RetrainingDispatchFailed",alertstate="firing",outcome="refused"}') == 1)
    wait("and people are told", lambda: any(a["labels"]["alertname"] == "RetrainingDispatchFailed"
                                            for _, told in plane.people.told for a in told["alerts"]))
    wait("Alertmanager repeats itself, and what was refused is asked for anew", lambda: len(ids(plane)) == 2)
    wait("that one runs", lambda: [r.conclusion for r in plane.runs("user01")] == ["success"])


def github_hangs_after_accepting(plane):
    plane.github.faults.append("accepted, then hang")
    fires(plane, "user01")
    settles(plane)
    check("the run was found in the list, and not sent for again", len(dispatches(plane)) == 1)


def github_hangs_before_accepting(plane):
    plane.github.faults.append("hang")
    fires(plane, "user01")
    settles(plane)
    check("sent again with the same id", len(dispatches(plane)) == 2)


def github_fails_after_accepting(plane):
    plane.github.faults.append("accepted, then 500")
    fires(plane, "user01")
    settles(plane)
    check("the run was found in the list, and not sent for again", len(dispatches(plane)) == 1)


def github_lists_later_than_the_relay_believes(plane):
    """So the relay sends the id again. The workflow's own first step, here run as it stands there, ends the younger."""
    plane.github.faults.append("accepted, then hang")
    plane.github.list_delay = 2 + LIST_DELAY_S + 2
    plane.github.start = lambda one: first_step(plane, one)
    fires(plane, "user01")
    settles(plane)
    check("two runs bore the id", len(plane.runs("user01")) == 2, len(plane.runs("user01")))
    check("the younger one ended itself", [r.conclusion for r in plane.runs("user01")] == ["success", "failure"])


def first_step(plane, one):
    """`make retrain-request` as retrain-model.yaml calls it, then as much work as every run has here."""
    inputs = {name.upper(): value for name, value in one.inputs.items()}
    env = {**os.environ, **inputs, "PATH": f"{RUNNER}/stand-ins/bin:{os.environ['PATH']}", "GH_TOKEN": RUN_TOKEN,
           "GITHUB_RUN_ID": str(one.number), "GITHUB_REPOSITORY": REPOSITORY, "GITHUB_API_URL": plane.github.url,
           "STAND_IN_PERMISSIONS": '{"actions": "read"}'}
    done = subprocess.run(["make", "--no-print-directory", "-C", ROOT, "retrain-request"], env=env, check=False,
                          capture_output=True, text=True)
    return "failure" if done.returncode else work(one)


def github_speaks_the_newer_version_too(plane):
    plane.relay.stop()
    plane.relay = plane.start_relay(*FAST, f"--github_api_version={VERSIONS[1]}")
    fires(plane, "user01")
    settles(plane)
    check("without a member that this version does not have", set(json.loads(dispatches(plane)[0].body)) ==
          {"ref", "inputs"})


def asked(port, method, way, body=None, **headers):
    """Status and text of a request such as the relay's."""
    headers = {"Authorization": f"Bearer {Relay.GITHUB}", "User-Agent": "test", "Content-Type": "application/json",
               **headers}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, way, body and json.dumps(body), headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def github_refuses_what_does_not_fit(plane):
    """That the mock is no yes-man."""
    way, port = f"/repos/{REPOSITORY}/actions/workflows/{WORKFLOW}/dispatches", plane.github.server_port
    inputs = {"user_id": "user01", "drift_score": "0", "drift_reason": "none", "correlation_id": "0"}
    good, version = {"ref": "main", "inputs": inputs}, "X-GitHub-Api-Version"
    for says, status, body, headers in (
            ("another token", 401, good, {"Authorization": "Bearer $GITHUB_TOKEN"}),
            ("no User-Agent", 403, good, {"User-Agent": ""}),
            ("a version that there is not", 400, good, {version: "2020-01-01"}),
            ("an Alertmanager's own body", 422, {"receiver": "ridge-relay", "alerts": [alert("user01")]}, {}),
            ("a branch that there is not", 422, {**good, "ref": "nowhere"}, {}),
            ("an input that the workflow does not have", 422, {**good, "inputs": {**inputs, "user": "user01"}}, {}),
            ("an input missing", 422, {**good, "inputs": {"user_id": "user01"}}, {}),
            ("a number", 422, {**good, "inputs": {**inputs, "drift_score": 0.5}}, {}),
            ("a member that this version does not have", 422, {**good, "return_run_details": True},
             {version: VERSIONS[1]})):
        answer = asked(port, "POST", way, body, **headers)
        check(f"{status} for {says}", answer[0] == status, answer)
    check("no run was started", not plane.github.runs)
    poll(lambda: all(r.status for r in plane.github.requests))
    plane.github.clear()


def github_is_mocked_as_its_description_says(plane):
    """The mock's own answers, before Prism as a checking proxy."""
    fires(plane, "user01")
    settles(plane)
    port, number = free_port(), plane.runs("user01")[0].number
    prism = Program("prism-proxy", plane.folder, *PRISM, "proxy", "--errors", "--port", port,
                    plane.build / "stack/github.json", plane.github.url)
    prism.wait_for("Prism is listening", 60)
    actions = f"/repos/{REPOSITORY}/actions"
    for version in VERSIONS:
        for way in (f"{actions}/workflows/{WORKFLOW}/runs?event=workflow_dispatch", f"{actions}/runs/{number}"):
            status, text = asked(port, "GET", f"/{version}{way}", **{"X-GitHub-Api-Version": version})
            check(f"{version}: {way.partition('?')[0]}", status == 200 and str(number) in text,
                  status if status == 200 else text[:300])
    prism.stop()


# ---- the relay killed between every two steps ----

def kills_at(plane, point, *faults):
    """The relay dies when GitHub has got that far with its request."""
    killed = threading.Event()

    def at(where, request):
        if where == point and request.caller == "ridge-relay" and not killed.is_set():
            plane.relay.kill()
            killed.set()

    plane.github.faults += faults
    plane.github.at = at
    fires(plane, "user01")
    wait(f"killed: {point}", killed.is_set)
    again(plane)
    settles(plane)


def relay_is_away_when_the_alert_comes(plane):
    plane.relay.kill()
    fires(plane, "user01")
    time.sleep(1)
    check("nothing can be dispatched", not plane.github.requests)
    again(plane)
    settles(plane)


def relay_is_killed_between_answering_and_sending(plane):
    """user02's dispatch keeps user01's waiting, in the journal alone."""
    plane.relay.stop()
    plane.relay = plane.start_relay(*FAST, "--write_interval=30")
    fires(plane, "user02")
    wait("user02's is sent", lambda: bool(dispatches(plane, "user02")))
    fires(plane, "user01")
    wait("user01's is taken up", lambda: metric(plane, "relay_queue_depth") == 1)
    plane.relay.kill()
    plane.alertmanager.stop()
    check("nobody knows but the journal", not dispatches(plane))
    again(plane)
    settles(plane)
    settles(plane, "user02")
    plane.alertmanager = plane.start_alertmanager()


def relay_is_killed_while_github_takes_the_request(plane):
    kills_at(plane, "received")


def relay_is_killed_and_github_does_not_take_the_request(plane):
    kills_at(plane, "received", "hang")
    check("sent again with the same id", len(dispatches(plane)) == 2)


def relay_is_killed_before_the_answer(plane):
    kills_at(plane, "accepted")
    check("the run was found in the list, and not sent for again", len(dispatches(plane)) == 1)


def relay_is_killed_while_it_looks_for_the_run(plane):
    kills_at(plane, "list", "accepted, then hang")
    check("not sent for again", len(dispatches(plane)) == 1)


def relay_is_killed_while_it_watches_the_run(plane):
    kills_at(plane, "run")
    check("not sent for again", len(dispatches(plane)) == 1)


def relay_is_killed_after_the_end_of_the_run(plane):
    fires(plane, "user01")
    plane.relay.wait_for('"event":"run_concluded"')
    plane.relay.kill()
    again(plane)
    wait("Alertmanager repeats itself, in the cooldown", lambda: metric(
        plane, 'relay_suppressed_total{reason="cooldown"}'))
    settles(plane)


def relay_is_killed_after_the_recovery(plane):
    series = f'relay_breaker_open{{user_id="user01",namespace="kubeflow-user01",model_name="{MODEL}"}}'
    plane.relay.stop()
    plane.relay = plane.start_relay(*FAST, "--breaker_after=1")
    fires(plane, "user01")
    wait("one retraining opens the breaker", lambda: metric(plane, series) == 1)
    settles(plane)
    ends(plane, "user01")
    plane.relay.wait_for('"event":"model_recovered"')
    plane.relay.kill()
    plane.relay = plane.start_relay(*FAST, "--breaker_after=1")
    wait("it stays closed", lambda: metric(plane, series) == 0)


# ---- others ----

def alertmanager_repeats_itself(plane):
    fires(plane, "user01")
    settles(plane)
    wait("it has repeated itself twice, in the cooldown", lambda: (metric(
        plane, 'relay_suppressed_total{reason="cooldown"}') or 0) >= 2)
    check("and was dispatched once", len(dispatches(plane)) == 1)


def two_users_at_once(plane):
    fires(plane, "user01", "user02")
    for user in ("user01", "user02"):
        settles(plane, user)
    at = sorted(r.at for r in plane.github.of("dispatch"))
    check("apart, as GitHub asks: --write_interval is a second", at[1] - at[0] > 0.5, f"{at[1] - at[0]:.2f} s")
    check("each with an id of its own", not ids(plane, "user01") & ids(plane, "user02"))


def work(_):
    time.sleep(RUN_S)
    return "success"


def between_alert_and_run(options, folder, scenarios):
    plane = Plane(folder, options.build, start=work, routes_scale=ROUTES_SCALE, relay=FAST)
    for i, scenario in enumerate(scenarios):
        say(scenario.__name__.replace("_", " "))
        if i:
            plane.renew(*FAST)
        plane.github.list_delay, plane.github.start = LATE_S, work
        scenario(plane)
        violations = plane.github.violations()
        check("GitHub's description had nothing against any request", not violations, "; ".join(violations))
    Program.stop_all()


# ---- in the workflow ----

class Nonsense(threading.Thread):
    """A client whose requests go wrong from the moment on that another version is served."""

    def __init__(self, plane, user):
        super().__init__(daemon=True)
        self.plane, self.user, self.stopping = plane, user, False
        self.start()

    def run(self):
        client, first = Client(self.plane.servers[self.user]), self.plane.served(self.user)
        while not self.stopping:
            if self.plane.served(self.user) != first:
                client.ask("POST", "predict", {"instances": [["x"]]})
            time.sleep(0.02)


def noise(inputs):
    """For a shift that nothing can learn: the same for the same row."""
    return random.Random(repr(inputs)).choice((-0.8, 0.8))


def prometheus_is_restarted(plane, loops):
    plane.prometheus.kill()
    say("Prometheus is killed while both runs are at work, and started again")
    plane.prometheus = plane.start_prometheus()
    for loop in loops:  # after the third evaluation; `for` is 10 s here
        loop.wait("the alert goes on firing, without waiting anew", lambda loop=loop: plane.prometheus.evaluated(
            "ModelDriftDetected", loop.user) == {"firing"}, 8)


def challenger_was_no_better(plane, loop):
    one = loop.runs()[0]
    jobs = {job["name"]: job["conclusion"] for job in plane.report(one).get("jobs", ())}
    loop.check("the run has failed", one.conclusion == "failure", one.conclusion)
    loop.check("in validate, after training", jobs.get("retrain") == "success" and jobs.get("validate") == "failure",
               ", ".join(f"{name} {conclusion}" for name, conclusion in jobs.items()))
    report = plane.work(one) / "jobs/validate/workspace/build/loop/validate.json"
    failed = [c for c in json.loads(report.read_text())["checks"] if not c["passed"]] if report.exists() else []
    loop.check("only for not being better than the champion", [c["check"] for c in failed] == ["better_than_champion"],
               failed)
    loop.check("nothing was deployed", not any("deploy-kserve" in name and conclusion != "skipped"
                                               for name, conclusion in jobs.items()))
    loop.check("and the old version serves", plane.version(loop.user) == loop.first)


def deployment_was_put_back(plane, loop):
    one = loop.runs()[0]
    steps = [(step["name"], step["conclusion"]) for job in plane.report(one).get("jobs", ()) for step in job["steps"]]
    loop.check("the run has failed", one.conclusion == "failure", one.conclusion)
    loop.check("while the deployment was watched", ("Watch readiness, predictions, error ratio and latency", "failure")
               in steps)
    loop.check("for its error ratio", "error ratio: " in (plane.folder / f"for-{plane.work(one).name}/log").read_text())
    loop.check("it was put back, and proved", ("Put the previous digest back, and prove it", "success") in steps)
    loop.wait("and the old version serves", lambda: plane.version(loop.user) == loop.first)


def in_the_workflow(options, folder):
    """One retraining that makes nothing better, one whose deployment breaches; Prometheus restarted between."""
    data = Data(folder, options.build, options.made_up)
    _, rows = read_rows(data.holdout)
    random.Random(2).shuffle(rows)
    # What Alertmanager is told ends after four times that delay: a minute by default, here as much shorter as all is.
    plane = Plane(folder, options.build, ("user01", "user02"), data=data,
                  ridged=(f"--quality_window={WINDOW}", f"--quality_min_samples={MIN_SAMPLES}"),
                  relay=("--poll_interval=1", "--list_delay=4"),
                  prometheus=("--rules.alert.resend-delay=2s",))
    # Whatever the limits, a challenger has to be better.
    plane.user_variables["user01"] = {"MAX_MAE": "9", "MIN_R2": "-9"}
    line = TimeLine()
    loops = [Loop(plane, Scenario("user01", "true values 0.8 off, either way", noise), rows, line),
             Loop(plane, Scenario("user02", "true values 0.6 higher", lambda x: 0.6), rows, line)]
    traffic, nonsense = [Traffic(server, rows, 30) for server in plane.servers.values()], Nonsense(plane, "user02")
    for thread in [loop.start(lambda loop=loop: (loop.good(), loop.drift())) for loop in loops]:
        thread.join()
    for loop in loops:
        loop.wait("a run is at work", lambda loop=loop: any(r.status == "in_progress" for r in loop.runs()))
    prometheus_is_restarted(plane, loops)
    for loop in loops:
        loop.wait("the run ends", lambda loop=loop: loop.runs()[0].conclusion, 300)
    challenger_was_no_better(plane, loops[0])
    deployment_was_put_back(plane, loops[1])
    wait("the relay has seen both fail", lambda: metric(plane, 'relay_run_conclusion_total{conclusion="failure"}') == 2)
    wait("it is loud: RetrainingRunFailed fires", lambda: plane.prometheus.value(
        'ALERTS{alertname="RetrainingRunFailed",alertstate="firing",conclusion="failure"}') == 1)
    check("the relay was told of no recovery", metric(plane, "relay_recoveries_total") == 0)
    for loop in loops:
        loop.check("the alert still fires, and the cooldown keeps a second dispatch away", loop.firing() and
                   len(dispatches(plane, loop.user)) == 1)
    nonsense.stopping = True
    for client in traffic:
        check(f"{client.client.ridged.user}: every other request was answered", not client.stop()[1])


SCENARIOS = [
    github_answers_500, github_answers_403_with_retry_after, github_answers_422, github_hangs_after_accepting,
    github_hangs_before_accepting, github_fails_after_accepting, github_lists_later_than_the_relay_believes,
    github_speaks_the_newer_version_too, github_refuses_what_does_not_fit, github_is_mocked_as_its_description_says,
    relay_is_away_when_the_alert_comes, relay_is_killed_between_answering_and_sending,
    relay_is_killed_while_github_takes_the_request, relay_is_killed_and_github_does_not_take_the_request,
    relay_is_killed_before_the_answer, relay_is_killed_while_it_looks_for_the_run,
    relay_is_killed_while_it_watches_the_run, relay_is_killed_after_the_end_of_the_run,
    relay_is_killed_after_the_recovery, alertmanager_repeats_itself, two_users_at_once]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--made_up", action="store_true", help="made-up rows, even where California's are there")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()

    def chosen(scenario):
        return not options.names or any(name in scenario.__name__ for name in options.names)

    def body(folder):
        scenarios = [s for s in SCENARIOS if chosen(s)]
        if scenarios:
            (folder / "outside").mkdir()
            between_alert_and_run(options, folder / "outside", scenarios)
        if chosen(in_the_workflow):
            (folder / "inside").mkdir()
            in_the_workflow(options, folder / "inside")

    return run("faults", DEADLINE_S, body, Program.stop_all)


if __name__ == "__main__":
    sys.exit(main())
