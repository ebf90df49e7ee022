#!/usr/bin/env python3
"""Runs k8s/monitoring/accounts/accounts.py against grafana_mock.py, from nothing, again, killed anywhere, and after
somebody has put things out of order.

    accounts_test.py CLIENT

CLIENT is the folder of Grafana's own Go client, generated from its OpenAPI description: that a request exists, what
its body may have, which statuses it may answer and what is in an answer is held against it. The rights are those
of the committed Role.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

import grafana_mock

ROOT = pathlib.Path(__file__).resolve().parents[2]
MONITORING = ROOT / "k8s/monitoring"
PROXY, ADMIN_PASSWORD, TOKEN = "http://tenant-proxy.monitoring.svc", "of-the-admin", "of-the-account"
USERS = (ROOT / "k8s/users").read_text().split()
BOARDS = {"ridged-drift", "ridged-fleet", "ridged-quality", "ridged-service"}

results = []


def check(text, good, found=""):
    results.append(bool(good))
    print(f"{'ok    ' if good else 'FAILED'} {text}{f' ({found})' if not good and found else ''}", flush=True)


def committed():
    """The Role and the names of the Secrets in tenants/accounts.yaml."""
    objects = list(yaml.safe_load_all((MONITORING / "tenants/accounts.yaml").read_text()))
    return objects[0], [o["metadata"]["name"] for o in objects[1:]]


class World:
    """A Grafana and a Kubernetes as they are before the first run, and the program's runs."""

    def __init__(self, folder, users=USERS, kubernetes=None, **grafana):
        self.users, self.folder = users, pathlib.Path(tempfile.mkdtemp(dir=folder))
        self.grafana = grafana_mock.Grafana(ADMIN_PASSWORD, **grafana)
        self.kubernetes = kubernetes or grafana_mock.Kubernetes(TOKEN, *committed())
        self.said = ""
        (self.folder / "token").write_text(self.kubernetes.token + "\n")
        if kubernetes:
            (self.folder / "ca.crt").write_text(kubernetes.authority)
        (self.folder / "admin-password").write_text(ADMIN_PASSWORD + "\n")
        (self.folder / "users").write_text("\n".join(users) + "\n")

    def start(self):
        return subprocess.Popen(
            [sys.executable, "-I", "-B", MONITORING / "accounts/accounts.py", f"--grafana={self.grafana.url}",
             f"--admin_password_file={self.folder}/admin-password", f"--users_file={self.folder}/users",
             f"--dashboards={MONITORING}/dashboards", f"--proxy={PROXY}", f"--kubernetes={self.kubernetes.url}",
             "--namespace=monitoring", f"--service_account={self.folder}"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def end(self, process):
        said, _ = process.communicate(timeout=120)
        self.said += said
        return process.returncode, said

    def run(self):
        return self.end(self.start())

    def close(self):
        for server in (self.grafana, self.kubernetes):
            server.shutdown()
            server.server_close()

    def org(self, user):
        return next(o["id"] for o in self.grafana.orgs.values() if o["name"] == user)

    def wrong(self):
        """What is not as it ought to be, a sentence each."""
        g = self.grafana
        if [o["name"] for o in g.orgs.values()] != ["Main Org.", *self.users]:
            yield f"organisations {[o['name'] for o in g.orgs.values()]}"
            return
        if g.roles[1] != {1: "Admin"}:
            yield f"in the operators' organisation are {g.roles[1]}"
        for user in self.users:
            org, account = self.org(user), g.by_login(user)
            if not account:
                yield f"{user}: no account"
                continue
            if g.roles[org] != {1: "Admin", account["id"]: "Viewer"} or account["isGrafanaAdmin"]:
                yield f"{user}: roles {g.roles[org]}"
            urls = {d["uid"]: d["url"] for d in g.sources[org].values()}
            if urls != {"prometheus": f"{PROXY}:90{user[-2:]}"}:
                yield f"{user}: data sources {urls}"
            if g.boards[org].keys() != BOARDS:
                yield f"{user}: dashboards {set(g.boards[org])}"
            if account["password"] != self.kubernetes.password(user):
                yield f"{user}: the Secret has another password than Grafana"
            if len(account["password"]) < 24:
                yield f"{user}: a password of {len(account['password'])} characters"

    def passwords(self):
        return [u["password"] for u in self.grafana.users.values()]


# ---- cases ----

def from_nothing(folder):
    world = World(folder)
    world.grafana.unready = 1
    code, said = world.run()
    check("from nothing, all accounts are made", code == 0 and not list(world.wrong()), said + str(list(world.wrong())))
    check("no two passwords are the same", len(set(world.passwords())) == len(USERS) + 1)
    for server in (world.grafana, world.kubernetes):
        server.log.clear()
    code, said = world.run()
    check("a second run writes nothing", code == 0 and not world.grafana.writes() + world.kubernetes.writes(),
          said + str(world.grafana.writes()))
    check("and says nothing but that all is well", said == "16 of 16 accounts are as they ought to be\n", said)
    check("no password is ever printed", not any(p in world.said for p in world.passwords()))
    world.close()


def killed_anywhere(folder):
    """Before and after every single request of a first run for two users, and then run once more."""
    users, bad, total = USERS[:2], [], 0
    moment = 0
    while True:
        world = World(folder, users)
        left, victim = [moment], []

        def strike():
            if left[0] == 0 and victim:
                victim[0].kill()
                victim[0].wait()
            left[0] -= 1

        for server in (world.grafana, world.kubernetes):
            server.before = server.after = strike
        # The first strike can be before Popen returns; then the lock keeps it waiting.
        with world.grafana.lock, world.kubernetes.lock:
            victim.append(world.start())
        code, _ = world.end(victim[0])
        for server in (world.grafana, world.kubernetes):
            server.before = server.after = lambda: None
        if code == 0:
            break
        total += 1
        code, said = world.run()
        if code or list(world.wrong()) or any(p in world.said for p in world.passwords()):
            bad.append(f"killed at {moment}: {said} {list(world.wrong())}")
        world.close()
        moment += 1
    world.close()
    check(f"killed at any of {total} moments, the next run ends well", total > 60 and not bad, "; ".join(bad[:2]))


def two_at_once(folder):
    world = World(folder)
    runs = [world.start(), world.start()]
    codes = [world.end(r)[0] for r in runs]
    if any(codes):
        world.run()  # as the next quarter of an hour does
    check("of two runs at once neither undoes the other's", not list(world.wrong()), f"{codes} {list(world.wrong())}")
    world.close()


def stranger(g, org):
    g.users[99] = {"id": 99, "login": "stranger", "password": "x" * 24, "isGrafanaAdmin": False}
    g.roles[org][99] = "Editor"


# What a person may have done to user01; each leaves the world wrong. g: Grafana, k: Kubernetes, org: the number of
# user01's organisation, n: of the account.
DISORDERS = {
    "is Admin of the organisation": lambda g, k, org, n: g.roles[org].update({n: "Admin"}),
    "is in the operators' organisation": lambda g, k, org, n: g.roles[1].update({n: "Viewer"}),
    "is in user02's organisation too": lambda g, k, org, n: g.roles[org + 1].update({n: "Editor"}),
    "is in the operators' organisation only": lambda g, k, org, n: g.roles[1].update({n: g.roles[org].pop(n)}),
    "is server admin": lambda g, k, org, n: g.users[n].update(isGrafanaAdmin=True),
    "has a stranger in": lambda g, k, org, n: stranger(g, org),
    "has no admin in": lambda g, k, org, n: g.roles[org].pop(1),
    "has user02's door": lambda g, k, org, n: g.sources[org]["prometheus"].update(url=f"{PROXY}:9002"),
    "has a second data source": lambda g, k, org, n: g.sources[org].update(x={"uid": "x", "name": "X", "url": "x"}),
    "has no data source": lambda g, k, org, n: g.sources[org].clear(),
    "has no dashboards": lambda g, k, org, n: g.boards[org].clear(),
    "has no folder": lambda g, k, org, n: (g.folders[org].clear(), g.boards[org].clear()),
    "has another password in Grafana": lambda g, k, org, n: g.users[n].update(password="y" * 24),
    "has another password in the Secret": lambda g, k, org, n: k.put("grafana-user01", "eno+" * 8),
    "has an empty Secret": lambda g, k, org, n: k.put("grafana-user01", ""),
    "is gone": lambda g, k, org, n: (g.users.pop(n), g.roles[org].pop(n)),
}


def disorder(world, name):
    DISORDERS[name](world.grafana, world.kubernetes, world.org("user01"), world.grafana.by_login("user01")["id"])


def put_right(folder):
    for name in DISORDERS:
        world = World(folder, USERS[:2])
        world.run()
        disorder(world, name)
        broken = name == "has an empty Secret" or bool(list(world.wrong()))
        code, said = world.run()
        check(f"user01 {name}: put right", broken and code == 0 and not list(world.wrong()),
              f"broken: {broken}; {said} {list(world.wrong())}")
        world.close()


def an_edited_dashboard(folder):
    world = World(folder, USERS[:1])
    world.run()
    boards = world.grafana.boards[world.org("user01")]
    title, boards["ridged-drift"]["dashboard"]["title"] = boards["ridged-drift"]["dashboard"]["title"], "mine"
    world.run()
    check("an edited dashboard is written anew", boards["ridged-drift"]["dashboard"]["title"] == title != "mine")
    world.close()


def failures(folder):
    world = World(folder, USERS[:3])
    world.kubernetes.role["rules"][0]["resourceNames"].remove("grafana-user02")
    code, said = world.run()
    logins = [u["login"] for u in world.grafana.users.values()]
    check("a user who cannot be set up keeps no other from it", code == 1 and "2 of 3 accounts" in said and
          "user02: GET" in said and logins == ["admin", "user01", "user03"], said)
    world.close()
    world = World(folder, USERS[:1], auto_assign_org=False)
    code, said = world.run()
    check("a Grafana that makes new accounts Admins of an organisation of theirs is complained of", code == 1 and
          "last admin" in said, said)
    world.close()
    role, _ = committed()
    rights = [(r["apiGroups"], r["resources"], sorted(r["verbs"]), r["resourceNames"]) for r in role["rules"]]
    check("its rights are to read and fill sixteen Secrets", rights ==
          [([""], ["secrets"], ["get", "patch"], ["grafana-" + u for u in USERS])], rights)


class Cluster:
    """A real API server to which k8s/monitoring has been applied. token: of the ServiceAccount grafana-accounts;
    authority: the certificate, as text; password(user): what is in the Secret."""

    def __init__(self, url, token, authority, password):
        self.url, self.token, self.authority, self.password = url, token, authority, password


def in_a_cluster(folder, cluster):
    """For cluster_check.py: the same against its API server, whose RBAC decides. Returns what is wrong."""
    world = World(folder, kubernetes=cluster)
    runs = [world.run() for _ in range(2)]
    wrong = [said for code, said in runs if code] + list(world.wrong())
    if not wrong and runs[1][1].count("\n") != 1:
        wrong.append(f"the second run changed something: {runs[1][1]}")
    world.grafana.shutdown()
    world.grafana.server_close()
    return wrong


# ---- Grafana's client ----

def tags(client, model):
    """The members that a model may have, or None if it may have any."""
    for path in (client / "models").glob("*.go"):
        text = path.read_text()
        body = re.search(rf"^type {model} (?:struct \{{(.*?)^\}}|\[\]\*(\w+))", text, re.M | re.S)
        if body:
            return tags(client, body[2]) if body[2] else set(re.findall(r'json:"([^",]+)', body[1]))
    return None


def operations(client):
    """(method, pattern) of each operation, with its body's model, statuses, and the model of what it answers."""
    for path in (client / "client").glob("*/*_client.go"):
        files = [p.read_text() for p in path.parent.glob("*.go")]
        declared = re.findall(r'ID: +"(\w+)",\s+Method: +"(\w+)",\s+PathPattern: +"([^"]+)"', path.read_text())
        for op, method, pattern in declared:
            name = op[0].upper() + op[1:]
            sent = next((f for f in files if f"type {name}Params struct" in f), "")
            answer = next((f for f in files if f"type {name}Reader struct" in f), "")
            body = re.search(r"^\tBody \*?models\.(\w+)$", sent, re.M)
            payload = re.search(rf"^type {name}OK struct \{{.*?^\tPayload (?:\[\])?\*?models\.(\w+)$", answer,
                                re.M | re.S)
            yield (method, re.compile("/api" + re.sub(r"\{\w+\}", "[^/]+", pattern))), {
                "body": body and body[1], "statuses": set(map(int, re.findall(r"^\tcase (\d+):", answer, re.M))),
                "answer": payload and payload[1]}


def strange(client, known, entry):
    """What Grafana's client would not know of a request and its answer."""
    method, target, body, status, answer = entry
    # A dashboard's identifier is looked for before a pattern that any word fits.
    found = [what for (m, pattern), what in known if m == method and pattern.fullmatch(target.partition("?")[0])]
    if not found:
        return f"{method} {target}: no such operation"
    what = found[0]
    if status not in what["statuses"]:
        return f"{method} {target}: {status} is none of {sorted(what['statuses'])}"
    allowed = tags(client, what["body"]) if what["body"] else None
    if body and allowed is not None and set(body) - allowed:
        return f"{method} {target}: {what['body']} has no {set(body) - allowed}"
    members = tags(client, what["answer"]) if what["answer"] and status == 200 else None
    for item in answer if isinstance(answer, list) else [answer]:
        if members is not None and set(item) - members:
            return f"{method} {target}: {what['answer']} has no {set(item) - members}"
    return None


def contract(folder, client):
    known = list(operations(client))
    world = World(folder, USERS[:2])
    world.run()
    entries = list(world.grafana.log)
    world.close()
    for name in DISORDERS:
        world = World(folder, USERS[:2])
        world.run()
        disorder(world, name)
        world.grafana.log.clear()
        world.run()
        entries += world.grafana.log
        world.close()
    asked = {(m, re.sub(r"\d+", "N", t.partition("?")[0])) for m, t, *_ in entries}
    bad = sorted({s for e in entries if (s := strange(client, known, e))})
    check(f"Grafana's own client knows {len(asked)} requests, their bodies and their answers",
          len(asked) > 15 and not bad, "; ".join(bad))
    wrong = [("GET", "/api/orgz", None, 200, {}), ("POST", "/api/orgs", {"title": "x"}, 200, {}),
             ("POST", "/api/orgs", {}, 418, {}), ("POST", "/api/orgs", {}, 200, {"number": 1})]
    check("and would know of a wrong path, body, status and answer", all(strange(client, known, e) for e in wrong),
          [strange(client, known, e) for e in wrong])


def main():
    client = pathlib.Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        from_nothing(folder)
        two_at_once(folder)
        put_right(folder)
        an_edited_dashboard(folder)
        failures(folder)
        contract(folder, client)
        killed_anywhere(folder)
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return not all(results)


if __name__ == "__main__":
    sys.exit(main())
