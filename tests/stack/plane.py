"""Everything between a prediction and a better model, on loopback: a ridged per user, Prometheus, Alertmanager,
ridge-relay, GitHub as a mock, and the committed workflow's own steps as what a dispatch starts.

Prometheus' and Alertmanager's files are k8s/monitoring through rewrite.py. The workflow files are not rewritten at
all: what differs from GitHub's runners is in workflow/, and what differs from a cluster are repository variables.
"""
import functools
import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading

from github_mock import BRANCH, REPOSITORY, WORKFLOW, GitHub
from programs import MODEL, Alertmanager, Listener, Program, Prometheus, Relay, Ridged, free_port, rewritten
from report import HERE, ROOT
from rewrite import divided
import table

BUNDLED = ROOT / "model/california-housing.json"
RUNNER = HERE / "workflow"
RUN_TOKEN = "token-of-the-run"
CENTRES, BASE_ROWS = "128", 1200  # a fit from nothing has to be done in seconds


class Data:
    """Rows that the bundled model has seen, and others. California's if they are there, else made-up ones."""

    def __init__(self, folder, build, made_up=False):
        self.base, self.holdout = folder / "base.csv", ROOT / "data/holdout.csv"
        train = ROOT / "data/train.csv"
        self.real = train.exists() and self.holdout.exists() and not made_up
        if self.real:
            header, *rows = train.read_text().splitlines(keepends=True)
            self.base.write_text(header + "".join(rows[::len(rows) // BASE_ROWS]))
        else:
            self.holdout = folder / "holdout.csv"
            table.write(self.base, BASE_ROWS, 1, build / "ridge", BUNDLED)
            table.write(self.holdout, 4000, 2, build / "ridge", BUNDLED)

    def serve(self):
        """The base data at a URL, as the workflow fetches it."""
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=self.base.parent))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/{self.base.name}"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def committed_flags(scale):
    """What k8s/monitoring tells Prometheus about alerts, scaled as the rules are."""
    text = (ROOT / "k8s/monitoring/workloads/prometheus.yaml").read_text()
    return [f"{flag}={divided(value, scale)}" for flag, value in re.findall(r"- (--rules\.alert\.[\w-]+)=(\w+)", text)]


class Plane:
    """users: whose ridged to start. start: takes the workflow's place. routes_scale: Alertmanager's, if another."""

    def __init__(self, folder, build, users=(), start=None, data=None, scale=30, routes_scale=None, ridged=(), relay=(),
                 prometheus=(), list_delay=2.0):
        self.folder, self.build, self.data = folder, build, data
        self.ridged_options, self.prometheus_options = ridged, (*committed_flags(scale), *prometheus)
        self.people, self.user_variables = Listener(), {}
        self.cluster, self.registry = folder / "cluster", folder / "registry"
        self.ports = {name: free_port() for name in ("relay", "alertmanager", "prometheus")}
        self.base_url = data and data.serve()
        self.servers = {user: self.start_ridged(user) for user in users}
        self.targets = folder / "targets.json"
        self.targets.write_text(json.dumps([r.target() for r in self.servers.values()]))
        self.github = GitHub(folder, build / "stack/github.json", start or self.run_workflow,
                             {"ridge-relay": Relay.GITHUB, "workflow": RUN_TOKEN}, list_delay)
        self.config = self.rewrite(folder / "config", scale)
        self.routes = self.rewrite(folder / "routes", routes_scale) if routes_scale else self.config
        self.relay = self.start_relay(*relay)
        self.alertmanager = self.start_alertmanager()
        self.prometheus = self.start_prometheus()

    def rewrite(self, out, scale):
        people = f"127.0.0.1:{self.people.server_port}"
        return rewritten(
            out, scale, "${1}:8000=${1}${2}", f"ridge-relay.monitoring.svc:9099=127.0.0.1:{self.ports['relay']}",
            f"alertmanager.monitoring.svc:9093=127.0.0.1:{self.ports['alertmanager']}",
            f"pager.monitoring.svc:8080={people}", f"chat.monitoring.svc:8080={people}",
            f"/etc/alertmanager/secrets/relay-token={self.folder}/webhook", targets=self.targets)

    # ---- programs ----

    def start_ridged(self, user):
        home = self.cluster / f"kubeflow-{user}"
        server = Ridged(user, self.folder, self.build, BUNDLED, *self.ridged_options, home=home)
        (home / "url").write_text(f"http://127.0.0.1:{server.port}")
        subprocess.run([sys.executable, RUNNER / "stand-ins/seed.py", BUNDLED, f"kubeflow-{user}"], check=True,
                       env={**os.environ, **self.stand_ins()}, stdout=subprocess.DEVNULL)
        return server

    def start_relay(self, *options):
        return Relay(self.folder, self.build, self.ports["relay"], self.github.url, *options)

    def start_alertmanager(self):
        return Alertmanager(self.folder, self.routes / "alertmanager.yml", port=self.ports["alertmanager"])

    def start_prometheus(self):
        return Prometheus("stack", self.folder, "prometheus", self.config / "prometheus.yml",
                          "--query.lookback-delta=10s", *self.prometheus_options, port=self.ports["prometheus"])

    def renew(self, *relay):
        """A relay and an Alertmanager that remember nothing, and a GitHub without runs."""
        self.alertmanager.stop()
        self.relay.stop()
        shutil.rmtree(self.folder / "alertmanager")
        (self.folder / "relay.journal").unlink()
        self.github.clear()
        self.people.told.clear()
        self.relay = self.start_relay(*relay)
        self.alertmanager = self.start_alertmanager()

    # ---- the workflow ----

    def stand_ins(self):
        return {"STACK_CLUSTER": str(self.cluster), "STACK_REGISTRY": str(self.registry)}

    def variables(self, user):
        """The repository's, and those of the user's environment; further ones are in user_variables. Without any, the
        limits of validation are those that the workflow itself has."""
        digest = hashlib.sha256(self.data.base.read_bytes()).hexdigest()
        cloud = ("AWS_REGION", "AWS_READ_ROLE", "AWS_BUILD_ROLE", "AWS_DEPLOY_ROLE", "EKS_CLUSTER", "ECR_REPOSITORY")
        return {**{name: name.lower() for name in cloud}, "BASE_DATA_URL": self.base_url, "BASE_DATA_SHA256": digest,
                "RETRAIN_CENTRES": CENTRES, "GATEWAY_URL": f"http://127.0.0.1:{self.servers[user].port}",
                "PROMETHEUS_URL": self.prometheus.url, "VERIFY_SECONDS": "12", "VERIFY_INTERVAL": "1",
                "VERIFY_WINDOW": "10", **self.user_variables.get(user, {})}

    def run_workflow(self, run):
        """The committed steps, by GitHub's own reader of workflows. nice: GitHub's runners are other machines."""
        work, user = self.work(run), run.inputs["user_id"]
        files = self.folder / f"for-{work.name}"
        files.mkdir()
        secrets = {"environments": {f"kubeflow-{u}": {"FEEDBACK_TOKEN": s.token} for u, s in self.servers.items()}}
        for name, content in (("inputs", run.inputs), ("vars", self.variables(user)), ("secrets", secrets)):
            (files / f"{name}.json").write_text(json.dumps(content))
        own = {"GITHUB_RUN_ID": str(run.number), "GITHUB_API_URL": self.github.url, "GITHUB_REPOSITORY": REPOSITORY,
               "GITHUB_TOKEN": RUN_TOKEN, "GITHUB_REF_NAME": BRANCH, "OPENBLAS_NUM_THREADS": "1", **self.stand_ins()}
        words = [word for name in ("inputs", "vars", "secrets") for word in (f"--{name}", files / f"{name}.json")]
        runner = Program(work.name, self.folder, "nice", "-n", "10", "node", RUNNER / "run.mjs", "--workflow", WORKFLOW,
                         "--work", work, "--log", files / "log", *words, env={**os.environ, **own})
        return "success" if runner.process.wait() == 0 else "failure"

    def work(self, run):
        return self.folder / f"run-{run.number}"

    def report(self, run):
        """What is known of a run's jobs and steps."""
        path = self.work(run) / "run.json"
        return json.loads(path.read_text()) if path.exists() else {}

    # ---- what everybody sees ----

    def runs(self, user):
        return [run for run in list(self.github.runs) if run.inputs.get("user_id") == user]

    def served(self, user):
        """The version that is served, as the server has it."""
        return json.loads(self.servers[user].artifact.read_text())["version"]

    def version(self, user):
        """The version that is served, as Prometheus has it."""
        served = self.prometheus.series(f'model_quality_live{{user_id="{user}",model_name="{MODEL}"}}')
        return served[0][0]["version"] if len(served) == 1 else None
