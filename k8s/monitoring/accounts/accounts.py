"""Makes Grafana's accounts what they ought to be.

For every user of --users_file: an organisation of that name in which the user is a Viewer and nobody else is
but the admin; one data source, the user's own door of the tenant proxy; the dashboards; and a password, which
the Secret grafana-<user> holds. The user is in no other organisation.

Whatever is right already is left alone, so this may be killed anywhere, run again, and run at any time. The
Secret decides: a new password is stored there before Grafana hears of it, and one that Grafana does not take
any more is set again. No password is ever printed.

Grafana's file provisioning is not used for organisations: it knows them by numbers that do not exist before,
and knows no accounts.

Prints a line for each change; exit code 1 if a user could not be set up, after all others were.
"""
import argparse
import base64
import json
import pathlib
import re
import secrets
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

DATASOURCE, FOLDER, ADMIN = "prometheus", "ridged", "admin"
TIMEOUT_S, PATIENCE_S = 30, 120


class Unexpected(Exception):
    """An answer that this cannot go on with; says what was asked, and nothing of what was sent."""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the credentials elsewhere."""

    def redirect_request(self, *_):
        return None


class Http:
    """One server, one way to prove who is asking."""

    def __init__(self, base, authorization, ca=None):
        self.base, self.authorization = base.rstrip("/"), authorization
        handlers = [urllib.request.ProxyHandler({}), NoRedirect()]
        if ca:
            handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca)))
        self.opener = urllib.request.build_opener(*handlers)

    def ask(self, method, path, body=None, accept=(200,), content="application/json", **headers):
        """Returns status and JSON; raises Unexpected for a status that is not among those accepted."""
        headers |= {"Authorization": self.authorization, "Content-Type": content}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, headers, method=method)
        try:
            with self.opener.open(request, timeout=TIMEOUT_S) as response:
                status, text = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        except OSError as error:
            raise Unexpected(f"{method} {path}: {error}") from None
        try:
            answer = json.loads(text or b"null")
        except ValueError:
            answer = None
        if status not in accept:
            said = answer.get("message") if isinstance(answer, dict) else None
            raise Unexpected(f"{method} {path}: expected {accept}, got {status} {said or ''}".rstrip())
        return status, answer


def basic(login, password):
    return "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()


class Passwords:
    """The Secrets, through the Kubernetes API."""

    def __init__(self, server, namespace, account):
        ca = account / "ca.crt"
        self.http = Http(server, "Bearer " + (account / "token").read_text().strip(), ca if ca.exists() else None)
        self.path = f"/api/v1/namespaces/{namespace}/secrets/grafana-"

    def of(self, user):
        """The user's password; one is made up and stored if there is none."""
        while True:
            _, secret = self.http.ask("GET", self.path + user)
            stored = (secret.get("data") or {}).get("password")
            if stored:
                return base64.b64decode(stored).decode().rstrip("\n")
            password = secrets.token_urlsafe(18)
            # With the version that was read: of two who make one up at once, the second is refused and
            # takes the first's.
            patch = {"metadata": {"resourceVersion": secret["metadata"]["resourceVersion"]},
                     "data": {"password": base64.b64encode(password.encode()).decode()}}
            status, _ = self.http.ask("PATCH", self.path + user, patch, (200, 409), "application/merge-patch+json")
            if status == 200:
                say(user, "password made up")
                return password


class Grafana(Http):
    def __init__(self, base, password):
        super().__init__(base, basic(ADMIN, password))

    def find(self, path, **headers):
        """What is there, or None."""
        status, answer = self.ask("GET", path, None, (200, 404), **headers)
        return answer if status == 200 else None

    def wait(self):
        """Grafana makes its database when it first starts."""
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.ask("GET", "/api/health")
                return
            except Unexpected:
                if time.monotonic() > end:
                    raise
            time.sleep(1)

    def takes(self, user, password):
        """Whether it lets the user in."""
        return Http(self.base, basic(user, password)).ask("GET", "/api/user", None, (200, 401))[0] == 200


def say(user, text):
    print(f"{user}: {text}", flush=True)


def quoted(text):
    return urllib.parse.quote(text, safe="")


def organisation(grafana, user):
    """The number of the user's organisation, which has the admin in it: the others of it are his to set."""
    path = f"/api/orgs?name={quoted(user)}"
    found = grafana.ask("GET", path)[1]
    if not found:
        # Another run may have been faster: 409.
        grafana.ask("POST", "/api/orgs", {"name": user}, (200, 409))
        say(user, "organisation made")
        found = grafana.ask("GET", path)[1]
    if [o["name"] for o in found] != [user]:
        raise Unexpected(f"GET {path}: expected that organisation, got {found}")
    org = found[0]["id"]
    members = grafana.ask("GET", f"/api/orgs/{org}/users")[1]
    if ADMIN not in [m["login"] for m in members]:
        grafana.ask("POST", f"/api/orgs/{org}/users", {"loginOrEmail": ADMIN, "role": "Admin"})
        say(user, "admin added to the organisation")
    return org


def account(grafana, user, org, password):
    """The number of the user's account, which takes the password and may administer nothing."""
    path = f"/api/users/lookup?loginOrEmail={quoted(user)}"
    found = grafana.find(path)
    if not found:
        # With the organisation named, so that it is never in the operators'. 412: another run was faster.
        grafana.ask("POST", "/api/admin/users",
                    {"login": user, "name": user, "password": password, "orgId": org}, (200, 412))
        say(user, "account made")
        found = grafana.find(path)
    if found.get("isGrafanaAdmin"):
        grafana.ask("PUT", f"/api/admin/users/{found['id']}/permissions", {"isGrafanaAdmin": False})
        say(user, "is server admin no more")
    if not grafana.takes(user, password):
        grafana.ask("PUT", f"/api/admin/users/{found['id']}/password", {"password": password})
        say(user, "password set")
    return found["id"]


def membership(grafana, user, number, org):
    """A Viewer of one organisation. First in, then out: Grafana may remove who is left in none."""
    roles = {m["orgId"]: m["role"] for m in grafana.ask("GET", f"/api/users/{number}/orgs")[1]}
    if org not in roles:
        grafana.ask("POST", f"/api/orgs/{org}/users", {"loginOrEmail": user, "role": "Viewer"})
        say(user, "added to the organisation")
    elif roles[org] != "Viewer":
        grafana.ask("PATCH", f"/api/orgs/{org}/users/{number}", {"role": "Viewer"})
        say(user, f"was {roles[org]}, is Viewer")
    for other in sorted(roles.keys() - {org}):
        grafana.ask("DELETE", f"/api/orgs/{other}/users/{number}")
        say(user, f"removed from organisation {other}")


def strangers(grafana, user, org):
    for member in grafana.ask("GET", f"/api/orgs/{org}/users")[1]:
        if member["login"] not in (user, ADMIN):
            grafana.ask("DELETE", f"/api/orgs/{org}/users/{member['userId']}")
            say(user, f"{member['login']} removed from the organisation")


def datasource(grafana, user, org, url):
    """The one data source. Others go: they might lead elsewhere."""
    inside = {"X-Grafana-Org-Id": str(org)}
    wanted = {"name": "Prometheus", "uid": DATASOURCE, "type": "prometheus", "access": "proxy", "url": url,
              "isDefault": True, "jsonData": {"httpMethod": "POST", "timeInterval": "15s"}}
    found = grafana.ask("GET", "/api/datasources", **inside)[1]
    for other in found:
        if other["uid"] != DATASOURCE:
            grafana.ask("DELETE", f"/api/datasources/uid/{quoted(other['uid'])}", **inside)
            say(user, f"data source {other['name']} removed")
    ours = [d for d in found if d["uid"] == DATASOURCE]
    if not ours:
        grafana.ask("POST", "/api/datasources", wanted, **inside)
        say(user, "data source made")
    elif not holds(ours[0], wanted):
        grafana.ask("PUT", f"/api/datasources/uid/{DATASOURCE}", wanted, **inside)
        say(user, "data source set right")


def holds(found, wanted):
    """Whether everything wanted is in what was found; Grafana adds to what it is given."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(k in found and holds(found[k], v) for k, v in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(holds, found, wanted))
    return found == wanted


def dashboards(grafana, user, org, boards):
    inside = {"X-Grafana-Org-Id": str(org)}
    if not grafana.find(f"/api/folders/{FOLDER}", **inside):
        grafana.ask("POST", "/api/folders", {"uid": FOLDER, "title": FOLDER}, (200, 409, 412), **inside)
    for board in boards:
        found = grafana.find(f"/api/dashboards/uid/{board['uid']}", **inside)
        if not found or not holds(found["dashboard"], board) or found["meta"].get("folderUid") != FOLDER:
            grafana.ask("POST", "/api/dashboards/db", {"dashboard": board, "folderUid": FOLDER, "overwrite": True},
                        **inside)
            say(user, f"dashboard {board['uid']} written")


def set_up(grafana, passwords, user, proxy, boards):
    password = passwords.of(user)
    org = organisation(grafana, user)
    # The door is there before the user is.
    datasource(grafana, user, org, f"{proxy}:{9000 + int(user.removeprefix('user'))}")
    number = account(grafana, user, org, password)
    membership(grafana, user, number, org)
    strangers(grafana, user, org)
    dashboards(grafana, user, org, boards)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--grafana", required=True)
    parser.add_argument("--admin_password_file", required=True, type=pathlib.Path)
    parser.add_argument("--users_file", required=True, type=pathlib.Path)
    parser.add_argument("--dashboards", required=True, type=pathlib.Path)
    parser.add_argument("--proxy", required=True, help="of the tenant proxy, without a port: userNN's is 90NN")
    parser.add_argument("--kubernetes", required=True)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--service_account", type=pathlib.Path,
                        default=pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount"))
    options = parser.parse_args()
    users = options.users_file.read_text().split()
    wrong = [u for u in users if not re.fullmatch(r"user\d\d", u)]
    if wrong or not users:
        sys.exit(f"{options.users_file}: expected userNN on every line, got {wrong}")
    boards = [json.loads(p.read_text()) for p in sorted(options.dashboards.glob("*.json"))]
    grafana = Grafana(options.grafana, options.admin_password_file.read_text().rstrip("\n"))
    passwords = Passwords(options.kubernetes, options.namespace, options.service_account)
    failed = []
    try:
        grafana.wait()
    except Unexpected as error:
        sys.exit(f"Grafana does not answer: {error}")
    for user in users:
        try:
            set_up(grafana, passwords, user, options.proxy, boards)
        except Unexpected as error:
            failed.append(user)
            print(f"{user}: {error}", file=sys.stderr, flush=True)
    print(f"{len(users) - len(failed)} of {len(users)} accounts are as they ought to be")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
