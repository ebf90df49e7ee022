"""The programs that tests/stack starts, each with its log in a file; all ports are free ones on 127.0.0.1."""
import http.server
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

from report import HERE, ROOT

MODEL = "california-housing"


class Program:
    """A child process whose output goes to a file; started again under the same name it goes on in that file."""
    running = []

    def __init__(self, name, folder, *words, **how):
        self.log = folder / f"{name}.log"
        with self.log.open("a") as log:
            self.begins = log.tell()
            self.process = subprocess.Popen([str(w) for w in words], stdout=log, stderr=log, **how)
        Program.running.append(self)

    def text(self):
        return self.log.read_bytes()[self.begins:].decode(errors="replace")

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

    def kill(self):
        self.process.kill()
        self.process.wait()

    @staticmethod
    def stop_all():
        for program in Program.running:
            program.stop()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get_json(url, **parameters):
    with urllib.request.urlopen(f"{url}?{urllib.parse.urlencode(parameters)}", timeout=20) as response:
        return json.load(response)


class Ridged(Program):
    """One user's server. home: the folder of its artifact, made here when none is given."""

    def __init__(self, user, folder, build, model, *options, home=None):
        self.user = user
        self.journal = folder / f"journal-{user}"
        self.journal.mkdir()
        self.artifact = (home or folder / f"model-{user}") / "model.json"
        self.artifact.parent.mkdir(parents=True, exist_ok=True)
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


class Prometheus(Program):
    """Started again with the same folder and name it goes on with its data, on the same port if one is given."""

    def __init__(self, name, folder, program, config, *options, port=None):
        self.name, self.port = name, port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__(f"prometheus-{name}", folder, program, f"--config.file={config}",
                         f"--storage.tsdb.path={folder}/data-{name}", f"--web.listen-address=127.0.0.1:{self.port}",
                         *options)
        self.wait_for(r"Server is ready to receive web requests", 60)

    def get(self, path, **parameters):
        return get_json(f"{self.url}/api/v1/{path}", **parameters)["data"]

    def series(self, query):
        return [(s["metric"], float(s["value"][1])) for s in self.get("query", query=query)["result"]]

    def value(self, query):
        found = self.series(query)
        return found[0][1] if len(found) == 1 else None

    def firing(self, name, user):
        return [m for m, _ in self.series(f'ALERTS{{alertname="{name}",alertstate="firing",user_id="{user}"}}')]

    def evaluated(self, name, user):
        """The states of that alert as the rules have them now, whatever is stored of them."""
        return {a["state"] for a in self.get("alerts")["alerts"]
                if a["labels"]["alertname"] == name and a["labels"].get("user_id") == user}

    # After an evaluation that took longer than its interval, on a busy machine, Prometheus 2 may evaluate twice for
    # one moment, and drops the second result with these words.
    TWICE = 'component="rule manager"', "Error on ingesting results from rule evaluation with different value but same"

    def complaints(self):
        """What it warned of, but for being told to end and for being starved."""
        return [line for line in self.text().splitlines() if re.search(r"level=(warn|error)", line, re.I)
                and "exiting gracefully" not in line and not all(words in line for words in Prometheus.TWICE)]


class Alertmanager(Program):
    """Debian's, with no neighbours."""

    def __init__(self, folder, config, *options, program="prometheus-alertmanager", port=None):
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__("alertmanager", folder, program, f"--config.file={config}",
                         f"--storage.path={folder}/alertmanager", f"--web.listen-address=127.0.0.1:{self.port}",
                         "--cluster.listen-address=", *options)
        self.wait_for(r"Listening on|Listening.*address")

    def alerts(self, **labels):
        """What it holds with these labels: one dictionary each."""
        return [a for a in get_json(self.url + "/api/v2/alerts") if labels.items() <= a["labels"].items()]

    def post(self, alerts):
        body = json.dumps(alerts).encode()
        request = urllib.request.Request(self.url + "/api/v2/alerts", body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=20).close()


class Relay(Program):
    """ridge-relay, always on the port it is given, with the committed users. Its files are in folder; started again
    it goes on with its journal."""
    WEBHOOK, OVERRIDE, GITHUB = "webhook-secret", "override-secret", "github-secret"

    def __init__(self, folder, build, port, github_url, *options):
        self.url = f"http://127.0.0.1:{port}"
        for name in ("WEBHOOK", "OVERRIDE", "GITHUB"):
            (folder / name.lower()).write_text(getattr(Relay, name))
        super().__init__("relay", folder, build / "ridge-relay", "--host=127.0.0.1", f"--http_port={port}",
                         f"--journal={folder}/relay.journal", f"--users_file={ROOT}/k8s/users",
                         f"--webhook_token_file={folder}/webhook", f"--override_token_file={folder}/override",
                         f"--github_token_file={folder}/github", f"--github_api_url={github_url}",
                         "--github_repository=octo-org/octo-repo", *options)
        self.wait_for(r'"event":"ready"')

    def metrics(self):
        """Its page, as a dictionary from the series, labels and all, to the value."""
        with urllib.request.urlopen(self.url + "/metrics", timeout=20) as response:
            lines = response.read().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}


class Listener(http.server.ThreadingHTTPServer):
    """Takes down what it is told by POST, as pairs of path and JSON, and says thank you."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Listener.Handler)
        self.told = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.told.append((self.path, json.loads(body)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass


def rewritten(out, scale, *replace, targets="targets.json"):
    """k8s/monitoring made to run here, by rewrite.py, which also looks that nothing else has changed."""
    words = [word for pair in replace for word in ("--replace", pair)]
    subprocess.run([sys.executable, HERE / "rewrite.py", ROOT / "k8s/monitoring", out, "--scale", str(scale),
                    "--targets", targets, *words], check=True)
    return out
