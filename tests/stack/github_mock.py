"""GitHub on a port of its own, as far as ridge-relay and the workflows speak to it.

Every request is kept, then put before Prism, which mocks GitHub's own description (cut_api.py) with --errors: what
Prism refuses is refused here, with its words. The description leaves out what else GitHub asks for, so that is
asked for here: the token, a User-Agent, a version it knows, a workflow and a branch that exist, and no input but
those that the committed workflow declares. Answers are the description's own examples, with the state put in.

An accepted dispatch starts the workflow by start(run), in a thread; runs of one user follow each other, as the
workflow's concurrency group has them. The list shows a run list_delay seconds late, as GitHub's does; the run
itself can be asked for at once. tokens: whose token is whose; each request is kept with its caller's name.

faults: what the next dispatches meet, one each: a status ("500", "403", "422"), "hang", or "accepted, then hang" and
"accepted, then 500", which start the run all the same. at(point, request) is called before a dispatch is judged
("received"), after it was accepted and before it is answered ("accepted"), and for "list" and "run".
"""
import collections
import http.client
import http.server
import json
import re
import threading
import time
import urllib.parse

import yaml

from programs import Program, free_port
from report import HERE, ROOT

VERSIONS = ("2022-11-28", "2026-03-10")  # the first is the default
REPOSITORY = "octo-org/octo-repo"
WORKFLOW = "retrain-model.yaml"
BRANCH = "main"
FIRST_RUN = 30433642
RETRY_AFTER_S = 2
PRISM = ("node", HERE / "node_modules/@stoplight/prism-cli/dist/index.js")

Request = collections.namedtuple("Request", "at caller method path query headers body kind status violation")


class Refused(Exception):
    def __init__(self, status, message, **headers):
        super().__init__(message)
        self.status, self.headers = status, headers


class Run:
    def __init__(self, number, title, inputs):
        self.number, self.title, self.inputs = number, title, inputs
        self.created, self.began, self.ended = time.time(), None, None
        self.status, self.conclusion = "queued", None

    def put_into(self, example):
        """GitHub's example of a run, as this one."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.created))
        return {**example, "id": self.number, "name": self.title, "display_title": self.title, "status": self.status,
                "conclusion": self.conclusion, "event": "workflow_dispatch", "head_branch": BRANCH,
                "path": f".github/workflows/{WORKFLOW}@{BRANCH}", "run_number": self.number - FIRST_RUN + 1,
                "created_at": stamp, "updated_at": stamp}


class Workflow:
    """The committed file, as far as a dispatch has to fit it."""

    def __init__(self, path=ROOT / ".github/workflows" / WORKFLOW):
        committed = yaml.safe_load(path.read_text())
        self.run_name = committed["run-name"]
        self.inputs = committed[True]["workflow_dispatch"]["inputs"]  # YAML 1.1 takes `on` for a truth value

    def title(self, inputs):
        title = re.sub(r"\$\{\{ *inputs\.(\w+) *\}\}", lambda m: inputs.get(m[1], ""), self.run_name)
        if "${{" in title:
            raise ValueError(f"run-name: expected inputs only, got {self.run_name}")
        return title


class GitHub(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder, api, start, tokens, list_delay=2.0, workflow=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.tokens, self.start, self.list_delay = tokens, start, list_delay
        self.workflow = workflow or Workflow()
        self.prism_port = free_port()
        self.prism = Program("prism", folder, *PRISM, "mock", "--errors", "--port", self.prism_port, api)
        self.prism.wait_for("Prism is listening", 60)
        self.clear()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def clear(self):
        """As new: no request, no run, no fault to come. Nothing may be running."""
        self.at = lambda point, request: None
        self.requests, self.runs, self.faults = [], [], collections.deque()
        self.queues, self.lock = collections.defaultdict(threading.Lock), threading.Lock()

    def of(self, kind, caller="ridge-relay"):
        return [r for r in list(self.requests) if r.kind == kind and r.caller == caller]

    def violations(self):
        return [f"{r.method} {r.path}: {r.violation}" for r in list(self.requests) if r.violation]

    def ask_prism(self, version, request, body):
        """Prism's answer to the same request: status, JSON, and what was wrong with it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.prism_port, timeout=20)
        # Not Accept: that GitHub's own media type is JSON, Prism does not know.
        headers = {k: v for k, v in request.headers.items() if k.lower() in ("content-type", "user-agent")}
        connection.request(request.command, f"/{version}{request.path}", body, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        said = json.loads(text) if text else None
        wrong = "" if answer.status < 400 else "; ".join(
            v["message"] for v in said.get("validation", ())) or said.get("title", "")
        return answer.status, said, wrong

    def caller(self, request):
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return next((name for name, own in self.tokens.items() if scheme == "Bearer" and own == token), None)

    # ---- the rules that the description leaves out ----

    def check_caller(self, request):
        version = request.headers.get("X-GitHub-Api-Version", VERSIONS[0])
        if not self.caller(request):
            raise Refused(401, "Bad credentials")
        if not request.headers.get("User-Agent"):
            raise Refused(403, "Request forbidden by administrative rules. Please have a User-Agent header")
        if version not in VERSIONS:
            raise Refused(400, f"The API version {version} is not supported")
        return version

    def check_dispatch(self, body):
        inputs = body.get("inputs", {})
        strange = sorted(set(inputs) - set(self.workflow.inputs))
        if strange:
            raise Refused(422, f"Unexpected inputs provided: {json.dumps(strange)}")
        missing = [name for name, of in self.workflow.inputs.items() if of.get("required") and name not in inputs]
        if missing:
            raise Refused(422, f"Required input '{missing[0]}' not provided")
        if body["ref"] != BRANCH:
            raise Refused(422, f"No ref found for: {body['ref']}")
        if not all(isinstance(value, str) for value in inputs.values()):
            raise Refused(422, "For 'inputs', expected strings")

    # ---- runs ----

    def accept(self, inputs):
        with self.lock:
            run = Run(FIRST_RUN + len(self.runs), self.workflow.title(inputs), inputs)
            self.runs.append(run)
        threading.Thread(target=self.work, args=(run,), daemon=True).start()
        return run

    def work(self, run):
        with self.queues[run.inputs.get("user_id")]:
            run.status, run.began = "in_progress", time.time()
            try:
                conclusion = self.start(run)
            except Exception as error:  # a run that cannot be started has failed
                print(f"run {run.number}: {error!r}")
                conclusion = "startup_failure"
            run.conclusion, run.ended = conclusion, time.time()
            run.status = "completed"

    def listed(self, query):
        since = re.fullmatch(r">=(.*)", query.get("created", [">=1970"])[0])[1]
        shown = [run for run in reversed(self.runs) if time.time() - run.created >= self.list_delay
                 and time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(run.created)) >= since]
        return shown[:int(query.get("per_page", ["30"])[0])], len(shown)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, said=None, headers=()):
        body = b"" if said is None else json.dumps(said).encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if body:
            self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        try:
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # a client that was killed

    def hang(self):
        """Says nothing until the client has gone."""
        self.close_connection = True
        self.connection.settimeout(120)
        try:
            self.connection.recv(1)
        except OSError:
            pass

    def do_GET(self):
        self.take(b"")

    def do_POST(self):
        self.take(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def take(self, body):
        github = self.server
        self.path = re.sub(r"^/\d{4}-\d\d-\d\d/", "/", self.path)  # as Prism asks when it stands in front
        way = urllib.parse.urlsplit(self.path)
        start = f"/repos/{REPOSITORY}/actions/"
        kind = {f"{start}workflows/{WORKFLOW}/dispatches": "dispatch", f"{start}workflows/{WORKFLOW}/runs": "list"}.get(
            way.path, "run" if re.fullmatch(rf"{start}runs/\d+", way.path) else "unknown")
        made = Request(time.time(), github.caller(self), self.command, way.path, urllib.parse.parse_qs(way.query),
                       dict(self.headers), body.decode(), kind, None, "")
        place = len(github.requests)
        github.requests.append(made)
        try:
            github.at({"dispatch": "received"}.get(kind, kind), made)
            status, wrong = self.judge(github, made, body)
        except Refused as refused:
            status, wrong = refused.status, ""
            self.answer(status, {"message": str(refused), "status": str(status)}, refused.headers.items())
        github.requests[place] = made._replace(status=status, violation=wrong)

    def judge(self, github, made, body):
        """Answers; the status, 0 for none, and what Prism had against the request."""
        version = github.check_caller(self)
        prism, example, wrong = github.ask_prism(version, self, body)
        if prism >= 400:
            self.answer(prism, {"message": wrong, "status": str(prism)})
            return prism, wrong
        if made.kind == "dispatch":
            return self.dispatch(github, made, json.loads(body), example, version), ""
        if made.kind == "list":
            runs, total = github.listed(made.query)
            one = example["workflow_runs"][0]
            self.answer(200, {**example, "total_count": total, "workflow_runs": [r.put_into(one) for r in runs]})
            return 200, ""
        number = int(made.path.rsplit("/", 1)[1])
        run = next((r for r in list(github.runs) if r.number == number), None)
        if run is None:
            raise Refused(404, "Not Found")
        self.answer(200, run.put_into(example))
        return 200, ""

    def dispatch(self, github, made, body, example, version):
        fault = github.faults.popleft() if github.faults else ""
        if fault == "500":
            raise Refused(500, "Server Error")
        if fault == "403":
            raise Refused(403, "You have exceeded a secondary rate limit", **{"Retry-After": str(RETRY_AFTER_S)})
        if fault == "422":
            raise Refused(422, "Workflow does not have 'workflow_dispatch' trigger")
        if fault == "hang":
            self.hang()
            return 0
        github.check_dispatch(body)
        run = github.accept(body.get("inputs", {}))
        github.at("accepted", made)
        if fault == "accepted, then hang":
            self.hang()
            return 0
        if fault == "accepted, then 500":
            raise Refused(500, "Server Error")
        if version == VERSIONS[0] and not body.get("return_run_details"):
            self.answer(204)
            return 204
        url = f"https://api.github.com/repos/{REPOSITORY}/actions/runs/{run.number}"
        self.answer(200, {**example, "workflow_run_id": run.number, "run_url": url,
                          "html_url": f"https://github.com/{REPOSITORY}/actions/runs/{run.number}"})
        return 200
