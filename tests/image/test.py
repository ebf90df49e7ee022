#!/usr/bin/env python3
"""Checks an image and runs its programs as a cluster would: test.py <OCI archive> <its SBOM> [crun|chroot]

Takes the archive alone, no engine and no network but loopback: `unshare --mount --net` it, as root (make
image-run-test). ridged is started, probed, asked, scraped and stopped; ridge trains and predicts; ridge-relay hands
an alert on over TLS. Prints how long from start to ready, with N starts of another program of the same image in
between, then `N passed, N failed`.
"""
import csv
import hashlib
import http.server
import json
import os
import pathlib
import random
import re
import shutil
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "image"))
import oci  # noqa: E402
from container import Runtime  # noqa: E402

MOST_COMPRESSED = 30e6
PROGRAMS = ["ridge", "ridge-relay", "ridged"]
ROW = [8.3252, 41.0, 6.984, 1.0238, 322.0, 2.5556, 37.88, -122.23]
STARTS = 11
results = []


def check(text, good, found=""):
    results.append(bool(good))
    print(f"{'ok    ' if good else 'FAILED'} {text}{f' ({found})' if found != '' else ''}", flush=True)


def ask(url, body=None, token=None):
    """(status, body); an error is an answer too."""
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode())
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


# ---- what is in it ----

def contents(image, root, sbom):
    check("compressed it has at most 30 MB", image.compressed <= MOST_COMPRESSED, f"{image.compressed / 1e6:.1f} MB")
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    check("its programs are these three", sorted(p.name for p in (root / "usr/bin").iterdir()) == PROGRAMS)

    linker = next(root.glob("lib*/ld-linux*")).relative_to(root)
    loaded = {}
    for program in PROGRAMS:
        listed = subprocess.run(["chroot", root, f"/{linker}", "--list", f"/usr/bin/{program}"],
                                check=True, capture_output=True, text=True).stdout
        loaded[program] = set(re.findall(r"(/\S+) \(0x", listed))
    executable = {f"/{path.relative_to(root)}" for path in files if path.stat().st_mode & 0o111}
    check("nothing else can be executed but the libraries that they load",
          executable - {f"/usr/bin/{p}" for p in PROGRAMS} == set.union(*loaded.values()))
    check("only ridge loads OpenBLAS", ["openblas" in str(loaded[p]) for p in PROGRAMS] == [True, False, False])
    check("there is no shell", not [p for p in files if re.search(r"sh$|busybox|perl|python", p.name)])
    check("no file is set-uid, set-gid or writable by others, and all are root's",
          not [p for p in files if p.stat().st_mode & 0o6022 or p.stat().st_uid or p.stat().st_gid])
    check("CA certificates are in it",
          "BEGIN CERTIFICATE" in (root / "etc/ssl/certs/ca-certificates.crt").read_text())
    hardening = subprocess.run(["sh", HERE / "hardening.sh", *(root / "usr/bin").iterdir()], stdout=subprocess.PIPE,
                               text=True)
    check("its programs are hard to exploit", hardening.returncode == 0, hardening.stdout.strip())

    document = json.loads(sbom.read_text())
    listed = {f["fileName"][2:]: f["checksums"][1]["checksumValue"] for f in document["files"]}
    there = {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    check("the SBOM is of this image", document["packages"][0]["versionInfo"] == image.digest)
    check("the SBOM has every file with its digest, and no other", listed == there, f"{len(there)} files")


# ---- what it does ----

def contained(status, uid, runtime):
    check(f"it runs as user {uid}, group 0, in no other group",
          [status[kind].split() for kind in ("Uid", "Gid", "Groups")] == [[str(uid)] * 4, ["0"] * 4, []])
    kinds = ["CapInh", "CapPrm", "CapEff", "CapAmb"] + (["CapBnd"] if runtime == "crun" else [])
    check("without capabilities", {status[kind] for kind in kinds} == {"0" * 16})
    check("without new privileges", status["NoNewPrivs"] == "1")
    check("as process 1", status["NSpid"].split()[1:] == ["1"])
    if runtime == "crun":
        check("under the engines' default seccomp profile", status["Seccomp"] == "2")


def serve(runtime):
    server = runtime.start(["--host=127.0.0.1", "--http_port=0", "--metrics_port=0", "--drain_delay=0"])
    ready = server.wait_for('"event":"ready"')
    http, metrics = (f"http://127.0.0.1:{ready[port]}" for port in ("http_port", "metrics_port"))
    contained(server.status(), runtime.uid, runtime.name)
    mount = [line.split() for line in pathlib.Path(f"/proc/{server.pid()}/mountinfo").read_text().splitlines()]
    check("its root cannot be written", "ro" in next(m[5] for m in reversed(mount) if m[4] == "/").split(","))
    for what, url in {"lives": f"{http}/", "is ready": f"{http}/readyz", "is healthy": f"{metrics}/healthz"}.items():
        check(f"it {what}", ask(url)[0] == 200)
    model = f"{http}/v1/models/california-housing"
    code, answer = ask(f"{model}:predict", {"instances": [ROW]})
    prediction = json.loads(answer)["predictions"][0] if code == 200 else None
    check("it predicts", isinstance(prediction, float), answer)
    code, answer = ask(f"{model}:explain", {"instances": [ROW]})
    explained = json.loads(answer).get("explanations", [{}])[0]
    total = explained["base"] + sum(explained["attributions"].values()) if code == 200 else answer
    check("it explains", code == 200 and abs(total - prediction) < 1e-9, total)
    check("it is scraped", 'status="success"} 1' in ask(f"{metrics}/metrics")[1])
    check("SIGTERM ends it with exit code 0", server.stop(signal.SIGTERM) == 0)
    return prediction


def train(runtime, work, prediction):
    data = work / "data"
    data.mkdir()
    os.chown(data, 0, 0)
    data.chmod(0o770)  # as a volume is for group 0
    rng = random.Random(7)
    rows = [[rng.uniform(-2, 2) for _ in range(3)] for _ in range(600)]
    with (data / "train.csv").open("w", newline="") as file:
        target = [r[0] * r[1] + abs(r[2]) + rng.gauss(0, .05) for r in rows]
        csv.writer(file).writerows([["a", "b", "c", "y"], *([*r, y] for r, y in zip(rows, target))])
    features = json.loads((runtime.root / "mnt/models/model.json").read_text())["features"]
    with (data / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[f["name"] for f in features], ROW])
    ridge, mounts = ["/usr/bin/ridge"], {"/mnt/data": (data, "rw")}

    training = ["train", "--data=/mnt/data/train.csv", "--target=y"]
    code, said = runtime.run(training + ["--out=/mnt/data/model.json"], ridge, mounts)
    check("ridge trains in it", code == 0, said if code else "")
    trained = json.loads((data / "model.json").read_text())
    check("by the OpenBLAS kernel for this CPU", trained["card"]["kernel"],
          f"{trained['card']['kernel']}, {trained['kind']} features")
    code, said = runtime.run(["predict", "--model=/mnt/models/model.json", "--data=/mnt/data/rows.csv"], ridge,
                             mounts)
    check("ridge predicts what ridged did", code == 0 and float(said.split(",")[-1]) == prediction)
    code, said = runtime.run(training + ["--out=/mnt/models/model.json"], ridge, mounts)
    check("its root refuses what ridge would write", code == 1 and "Read-only" in said, said.strip())


class GitHub(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def do_GET(self):
        body = b'{"total_count":0,"workflow_runs":[]}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def relay(runtime, work):
    """An alert goes in, a dispatch comes out, over TLS that only the mounted CA file vouches for."""
    files = work / "relay"
    files.mkdir()
    (files / "journal").mkdir()
    (files / "journal").chmod(0o770)
    for name, text in {"users": "user01\n", "webhook": "secret-of-alertmanager", "github": "secret-of-github",
                       "hosts": "127.0.0.1 localhost\n"}.items():
        (files / name).write_text(text)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2",
                    "-keyout", files / "key.pem", "-out", files / "ca.pem"], check=True, capture_output=True)
    github = http.server.ThreadingHTTPServer(("127.0.0.1", 0), GitHub)
    github.taken = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files / "ca.pem", files / "key.pem")
    github.socket = context.wrap_socket(github.socket, server_side=True)
    threading.Thread(target=github.serve_forever, daemon=True).start()

    program = runtime.start(
        ["--host=127.0.0.1", "--http_port=0", "--journal=/var/lib/relay/journal", "--users_file=/etc/relay/users",
         "--webhook_token_file=/etc/relay/webhook", "--github_token_file=/etc/relay/github",
         "--github_repository=owner/name", f"--github_api_url=https://localhost:{github.server_port}"],
        ["/usr/bin/ridge-relay"],
        {"/etc/relay": (files, "ro"), "/var/lib/relay": (files / "journal", "rw"),
         "/etc/hosts": (files / "hosts", "ro"), "/etc/ssl/certs/ca-certificates.crt": (files / "ca.pem", "ro")})
    ready = program.wait_for('"event":"ready"')
    url = f"http://127.0.0.1:{ready['http_port']}"
    check("ridge-relay is ready", ask(f"{url}/readyz")[0] == 200)
    labels = {"alertname": "ModelDriftDetected", "action": "retrain", "user_id": "user01",
              "namespace": "kubeflow-user01", "model_name": "california-housing", "reason": "mae"}
    alert = {"status": "firing", "labels": labels, "annotations": {"mae": "0.6", "r2": "0.7"}}
    notification = {"version": "4", "status": "firing", "alerts": [alert]}
    code, answer = ask(f"{url}/alerts", notification, "secret-of-alertmanager")
    check("it takes an alert", code == 202, answer)
    end = time.monotonic() + 20
    while not github.taken and time.monotonic() < end:
        time.sleep(0.05)
    inputs = github.taken[0]["inputs"] if github.taken else {}
    check("and hands it on over TLS", inputs.get("user_id") == "user01", program.log.read_text() if not inputs else "")
    check("SIGTERM ends it with exit code 0", program.stop(signal.SIGTERM) == 0)
    github.shutdown()


# ---- how fast it starts ----

def seconds_to(runtime, text, args, entrypoint=None):
    """From the runtime's start to a line of the program's with that text."""
    command = runtime.command(args, entrypoint, {})
    began = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)
    line = next(line for line in process.stdout if text in line)
    took = time.monotonic() - began
    if '"ready"' in line:
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
        os.kill(int(children.read_text()), signal.SIGTERM)
    process.communicate()
    return took


def measure(runtime):
    """The linker, asked for its version, is the least that can be started of the image."""
    serving = ["--host=127.0.0.1", "--http_port=0", "--metrics_port=0", "--drain_delay=0"]
    linker = f"/{next(runtime.root.glob('lib*/ld-linux*')).relative_to(runtime.root)}"
    plain, ready = [], []
    for _ in range(STARTS):
        plain.append(seconds_to(runtime, "ld.so", ["--version"], [linker]))
        ready.append(seconds_to(runtime, '"event":"ready"', serving))
    low, high = statistics.median(plain) * 1e3, statistics.median(ready) * 1e3
    print(f"       start by {runtime.name}, median of {STARTS} in turn: {low:.1f} ms to the first line of a program "
          f"that does nothing, {high:.1f} ms to ready: {high - low:.1f} ms beyond the runtime's own")


def main(archive, sbom, runtime=None):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # crun wants the unified hierarchy, and is told to leave it alone.
    if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        subprocess.run("umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup", shell=True, check=True)
    work = pathlib.Path(tempfile.mkdtemp())
    work.chmod(0o755)
    try:
        image = oci.read(archive)
        root = work / "root"
        root.mkdir()
        oci.unpack(image, root)
        contents(image, root, pathlib.Path(sbom))
        for place in ("proc", "dev", "mnt/data", "etc/relay", "var/lib/relay"):  # what runtimes make for their mounts
            (root / place).mkdir(parents=True, exist_ok=True)
        (root / "etc/hosts").touch()
        runtime = Runtime(root, image.config["config"], work, random.randrange(100000, 1 << 30), runtime)
        user = runtime.config["User"]
        check("its own user is no root", re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), user)
        prediction = serve(runtime)
        train(runtime, work, prediction)
        relay(runtime, work)
        measure(runtime)
    finally:
        shutil.rmtree(work)
    failed = results.count(False)
    print(f"image: {len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
