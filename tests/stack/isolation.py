#!/usr/bin/env python3
"""Shows that a tenant sees nothing of another's behind k8s/monitoring's doors, and everything of its own.

    isolation.py --proxy prom-label-proxy [--prometheus PROGRAM...] [--build build]

The doors are what k8s/monitoring/tenants has: the committed nginx.conf and the committed arguments of the proxies,
with other addresses. First a Prometheus with the committed rules scrapes user01's and user02's ridged under load,
and a page of user02's with names that nobody can guess and a claim to be user01. Everything that a dashboard asks
must have its answer through user01's door; paths that know no tenant must be shut; no secret name may come out.

Then two Prometheus are started on what the first has stored: one on all of it, one on a copy that never heard
of user02. Whatever crafted.py asks of user01's door must have the same answer, word for word, from both. So nothing
of user02's is in it, not even in a count, an error or an absence. That the requests are worth something is seen
by asking Prometheus itself: there the two answers must differ.
"""
import argparse
import collections
import http.client
import http.server
import json
import os
import pathlib
import random
import re
import secrets
import socket
import subprocess
import sys
import threading
import time

import yaml

import crafted
from clients import Replay
from programs import MODEL, Program, Prometheus, Ridged, free_port, rewritten
from report import HERE, ROOT, check, run, say, wait

TENANTS = ROOT / "k8s/monitoring/tenants"
NUMBERS = {"operators": 9000, "user01": 9001, "user02": 9002}
OTHER = "kubeflow-user02"
SCALE, WINDOW, DEADLINE_S = 30, 600, 300
PROMTOOL = os.environ.get("PROMTOOL", "promtool")

Answer = collections.namedtuple("Answer", "status location body")


def ask(port, raw):
    """One request on a connection of its own; a connection that is closed without an answer has status 0."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as s:
        response = http.client.HTTPResponse(s, method="GET")
        try:
            s.sendall(raw)
            response.begin()
            return Answer(response.status, response.getheader("Location"), response.read())
        except (http.client.HTTPException, ConnectionError):
            return Answer(0, None, b"")


def get(port, target):
    return ask(port, crafted.raw("GET", target))


def series_of(port, expr):
    answer = get(port, "/api/v1/query?" + crafted.form(query=expr))
    return [s["metric"] for s in json.loads(answer.body)["data"]["result"]] if answer.status == 200 else []


def settled(answer):
    """The answer, the series of a result in one order: Prometheus has none for some."""
    try:
        said = json.loads(answer.body)
        said["data"]["result"].sort(key=json.dumps)
        return answer._replace(body=json.dumps(said))
    except (ValueError, KeyError, TypeError, AttributeError):
        return answer


def committed():
    """The Service of the doors, and the arguments of each container behind it."""
    service, deployment = yaml.safe_load_all((TENANTS / "tenant-proxy.yaml").read_text())
    return service, {c["name"]: c.get("args", []) for c in deployment["spec"]["template"]["spec"]["containers"]}


def watch_committed():
    """From the port that grafana-accounts gives a user to the namespace in the arguments, for every user."""
    service, arguments = committed()
    config = (TENANTS / "nginx.conf").read_text()
    users = (ROOT / "k8s/users").read_text().split()
    good = [user for user in users if (n := user.removeprefix("user")) and
            {"name": user, "port": int(f"90{n}"), "targetPort": int(f"90{n}")} in service["spec"]["ports"] and
            f" listen 90{n};" in config and f" 90{n} 127.0.0.1:190{n};" in config and
            {f"-insecure-listen-address=127.0.0.1:190{n}", f"-label-value=kubeflow-{user}"} <= set(arguments[user]) and
            sum(a.startswith("-label") for a in arguments[user]) == 2]
    check(f"the doors of {len(users)} users lead to the namespaces of these", good == users, {*users} - {*good} or "")
    check("and there is none beside them and the operators'", {*users, "operators", "nginx"} == arguments.keys() and
          config.count(" listen ") == len(users) + 1 == len(service["spec"]["ports"]))


class Doors:
    """nginx and the proxies of NUMBERS before one Prometheus; ports by name."""

    def __init__(self, name, folder, program, upstream):
        _, arguments = committed()
        self.port = {name: free_port() for name in NUMBERS}
        self.inner = {}  # the committed address of a proxy, and its port here
        for user in NUMBERS:
            text = " ".join(arguments[user])
            address = re.search(r"-insecure-listen-address=(127\.0\.0\.1:\d+)", text)[1]
            self.inner[address] = free_port()
            words = text.replace(address, f"127.0.0.1:{self.inner[address]}").replace(
                "http://prometheus.monitoring.svc:9090", upstream).split(" ")
            Program(f"{name}-{user}", folder, program, *words).wait_for("Listening insecurely")
        self.nginx(name, folder)

    def nginx(self, name, folder):
        here = {number: self.port[user] for user, number in NUMBERS.items()}
        home = folder / f"nginx-{name}"
        home.mkdir()
        lines = []
        for line in (TENANTS / "nginx.conf").read_text().splitlines():
            listen = re.fullmatch(r" *listen (\d+);", line)
            mapped = re.fullmatch(r" *(\d+) (127\.0\.0\.1:\d+);", line)
            if listen and int(listen[1]) in here:
                line = f"listen 127.0.0.1:{here[int(listen[1])]};"
            elif mapped and int(mapped[1]) in here:
                line = f"{here[int(mapped[1])]} 127.0.0.1:{self.inner[mapped[2]]};"
            elif listen or mapped:
                continue
            lines.append(line.replace(" /tmp/", f" {home}/"))
        (home / "nginx.conf").write_text("\n".join(lines))
        # Its workers become root's where it runs as root, so that they may use the folder.
        user = ["-g", "user root;"] if os.geteuid() == 0 else []
        Program(f"nginx-{name}", folder, "nginx", "-c", home / "nginx.conf", *user)
        end = time.monotonic() + 10
        while time.monotonic() < end and not (home / "nginx.pid").exists():
            time.sleep(0.05)


class SecretPage(http.server.ThreadingHTTPServer):
    """A pod of user02's, whose every name has a word in it that nobody else knows."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), SecretPage.Handler)
        self.word = secrets.token_hex(8)
        self.text = f"""# TYPE secret_{self.word} gauge
secret_{self.word}{{label_{self.word}="value-{self.word}"}} 42
# TYPE model_mae_score gauge
model_mae_score{{namespace="kubeflow-user01",user_id="user01",model_name="forged-{self.word}",version="1"}} 9
# TYPE secret_seconds histogram
secret_seconds_bucket{{le="1.0"}} 1 # {{trace_id="trace-{self.word}"}} 0.5
secret_seconds_bucket{{le="+Inf"}} 1 # {{trace_id="trace-{self.word}"}} 0.5
secret_seconds_count 1
secret_seconds_sum 0.5
# EOF
"""
        threading.Thread(target=self.serve_forever, daemon=True).start()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
            self.end_headers()
            self.wfile.write(self.server.text.encode())

        def log_message(self, *args):
            pass

    def target(self):
        meta = "__meta_kubernetes_"
        return {"targets": [f"127.0.0.1:{self.server_port}"],
                "labels": {meta + "namespace": OTHER, meta + "pod_name": f"pod-{self.word}",
                           meta + "pod_container_name": "kserve-container", meta + "pod_phase": "Running",
                           meta + "pod_label_serving_kserve_io_inferenceservice": MODEL}}


# ---- the living Prometheus ----

def load(ridged, model, stop):
    """Rows drawn from the model's quantiles, with true values that are nearly its predictions, until told to stop."""
    draw = random.Random(ridged.user)
    columns = model["quantiles"][:len(model["features"])]
    replay = Replay(ridged, WINDOW)
    while not stop.is_set():
        x = [[draw.choice(column) for column in columns] for _ in range(20)]
        y = replay.client.post("predict", {"instances": x})["predictions"]
        replay.chunk([(row, value + draw.gauss(0, 0.2)) for row, value in zip(x, y)], lambda _: 0.0)
        replay.client.ask("POST", "explain", {"instances": x[:1]})
        replay.client.ask("POST", "predict", {"instances": [["x"]]})
        stop.wait(0.1)


def watch_panels(port):
    for series in ("model:model_r2:worst", "model_prediction_psi"):
        wait(f"user01's door gives {series}", lambda series=series: series_of(port, series))
    url = f"http://127.0.0.1:{port}"
    asked = [sys.executable, HERE / "panels.py", "--url", url, "--range", "30", "--scrape", "0.5"]
    wait("every panel has an answer through user01's door",
         lambda: subprocess.run(asked, capture_output=True, check=False).returncode == 0, 30)
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    print("\n".join(line for line in done.stdout.splitlines() if "FAILED" in line or "passed" in line))


def watch_shut(p, port, word):
    """Paths that know no tenant, and ways round the list of those that are open."""
    def secret(answer):
        said = answer.body.decode(errors="replace") + (answer.location or "")
        return word in said or "user02" in said

    open_directly = [path for path in crafted.CLOSED if get(p.port, path).status == 200]
    check("Prometheus itself answers what is to be shut", len(open_directly) == len(crafted.CLOSED),
          set(crafted.CLOSED) - set(open_directly) or "")
    check("and tells of user02", secret(get(p.port, "/api/v1/targets")) and secret(get(p.port, "/federate?match[]=up")))
    for what, method, paths in (("paths that know no tenant", "GET", crafted.CLOSED),
                                ("detours", "GET", crafted.DETOURS),
                                ("paths that change something", "POST", crafted.CHANGES)):
        answers = {path: ask(port, crafted.raw(method, path)) for path in paths}
        bad = [f"{path}: {a.status} {a.body[:80]!r}" for path, a in answers.items()
               if secret(a) or a.status not in (400, 404, 405, 414)]
        check(f"{len(paths)} {what} are shut", not bad, "; ".join(bad[:3]))


def watch_exemplars(p, doors, word):
    now = time.time()
    target = "/api/v1/query_exemplars?" + crafted.form(query="secret_seconds_bucket", start=now - 60, end=now + 60)
    wait("Prometheus itself has user02's exemplars", lambda: word in get(p.port, target).body.decode())
    check("user02's door too", word in get(doors.port["user02"], target).body.decode())
    answer = get(doors.port["user01"], target)
    check("user01's door has none of them", answer.status == 200 and word not in answer.body.decode(), answer.body[:80])


def watch_claims(doors):
    """Who a series is of says Kubernetes, not the page."""
    target = "/api/v1/series?" + crafted.form(match='{model_name=~"forged.*"}')
    check("what user02 claims to be user01's is user02's", b'"namespace":"kubeflow-user02"' in
          get(doors.port["user02"], target).body and get(doors.port["user01"], target).body.endswith(b'"data":[]}'))
    values = json.loads(get(doors.port["operators"], "/api/v1/label/namespace/values").body)["data"]
    check("operators see both namespaces", values == ["kubeflow-user01", OTHER], values)


def watch_living(options, program, folder):
    """Returns the folder of what it stored, and a time at which all was there."""
    model = json.loads((ROOT / "model/california-housing.json").read_text())
    quality = ["--drift_window=60", f"--quality_window={WINDOW}", "--quality_min_samples=200"]
    servers = [Ridged(user, folder, options.build, ROOT / "model/california-housing.json", *quality)
               for user in ("user01", "user02")]
    page, stop = SecretPage(), threading.Event()
    clients = [threading.Thread(target=load, args=(server, model, stop), daemon=True) for server in servers]
    targets = folder / "targets.json"
    targets.write_text(json.dumps([s.target() for s in servers] + [page.target()]))
    rewritten(folder / "config", SCALE, "${1}:8000=${1}${2}",
              f"alertmanager.monitoring.svc:9093=127.0.0.1:{free_port()}",
              f"ridge-relay.monitoring.svc:9099=127.0.0.1:{free_port()}", targets=str(targets))
    p = Prometheus("living", folder, program, folder / "config/prometheus.yml", "--enable-feature=exemplar-storage")
    doors = Doors("living", folder, options.proxy, p.url)
    for client in clients:
        client.start()
    watch_panels(doors.port["user01"])
    watch_shut(p, doors.port["user01"], page.word)
    watch_exemplars(p, doors, page.word)
    watch_claims(doors)
    at = int(time.time()) - 1
    stop.set()
    for client in clients:
        client.join()
    for server in servers:
        server.stop()
    p.stop()
    page.shutdown()
    return folder / "data-living", at


# ---- two worlds ----

def copy_without(stored, folder, name, selector):
    """What is stored of that selector, as the blocks of another Prometheus."""
    dump = subprocess.run([PROMTOOL, "tsdb", "dump", f"--match={selector}", stored], check=True, capture_output=True,
                          text=True)
    text, out = folder / f"{name}.om", folder / f"data-{name}"
    with text.open("w") as file:
        for line in dump.stdout.splitlines():
            labels = re.fullmatch(r'\{__name__="([^"]+)"(?:, )?(.*)\} (\S+) (\d+)', line)
            if labels[3] != "NaN":  # among them the marks of a series' end, which OpenMetrics cannot say
                pairs = labels[2].replace('", ', '",')  # OpenMetrics has no space there
                file.write(f"{labels[1]}{{{pairs}}} {labels[3]} {int(labels[4]) / 1000:.3f}\n")
        file.write("# EOF\n")
    subprocess.run([PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", text, out], check=True, capture_output=True)
    return out


def two_worlds(options, program, folder, stored):
    """The Prometheus with user02's series and the one without, and the doors of each."""
    nothing = folder / "nothing.yml"
    nothing.write_text("global: {}\n")
    worlds = []
    for name, selector in (("both", '{__name__=~".+"}'), ("alone", f'{{__name__=~".+",namespace!="{OTHER}"}}')):
        copy_without(stored, folder, name, selector)
        p = Prometheus(name, folder, program, nothing)
        worlds.append((p, Doors(name, folder, options.proxy, p.url)))
    return worlds


def compare(what, worlds, requests):
    """Every request to user01's door in both worlds, and to Prometheus itself in both."""
    (both, both_doors), (alone, alone_doors) = worlds
    leaks, blunt, found = [], [], 0
    for request in requests:
        here, there = (settled(ask(d.port["user01"], request.raw)) for d in (both_doors, alone_doors))
        if here != there:
            leaks.append(f"{request.name}: {here.status} {str(here.body)[:120]}")
        found += here.status == 200
        if request.bites and settled(ask(both.port, request.raw)) == settled(ask(alone.port, request.raw)):
            blunt.append(request.name)
    sharp = sum(r.bites for r in requests)
    check(f"{what}: {len(requests)} requests, nothing of user02 in any answer", not leaks and requests,
          f"{len(leaks)} leak: " + "; ".join(leaks[:3]) if leaks else "")
    check(f"{what}: {sharp} of them would have leaked without the door", not blunt, "; ".join(blunt[:5]))
    check(f"{what}: the door answers, {found} times", found)


def watch_worlds(options, program, folder, stored, at):
    worlds = two_worlds(options, program, folder, stored)
    for requests in (crafted.queries, crafted.listings, crafted.disguises):
        compare(requests.__name__, worlds, list(requests(OTHER, at)))
    both, doors = worlds[0]
    # What nginx is there for; a later prom-label-proxy may not need it.
    one = next(r for r in crafted.disguises(OTHER, at) if r.name == "GET values with a multipart body")
    inner = doors.inner["127.0.0.1:19001"]
    leaks = ask(inner, one.raw).body != ask(inner, crafted.raw("GET", "/api/v1/label/pod/values")).body
    say(f"       without nginx prom-label-proxy {'would leak' if leaks else 'would not leak'} by {one.name}")


def isolation(options, folder):
    watch_committed()
    for number, program in enumerate(options.prometheus):
        say(subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split(" (")[0])
        here = folder / str(number)
        here.mkdir()
        stored, at = watch_living(options, program, here)
        watch_worlds(options, program, here, stored, at)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--proxy", required=True)
    parser.add_argument("--prometheus", nargs="+", default=["prometheus"])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    options = parser.parse_args()
    return run("isolation", DEADLINE_S * len(options.prometheus), lambda folder: isolation(options, folder),
               Program.stop_all)


if __name__ == "__main__":
    sys.exit(main())
