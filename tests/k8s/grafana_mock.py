"""The part of Grafana's HTTP API, and of Kubernetes', that grafana-accounts uses, with state.

No Grafana can be had where this is tested, so what these do was read in Grafana's sources and documentation and
written anew; accounts_test.py holds requests, statuses and the shape of answers against Grafana's own client.
Harsher than Grafana where that is in doubt: who is left in no organisation is deleted. Read so, among others:

  - who makes an organisation is Admin in it; the data sources and dashboards of an organisation are for its members
  - a new account is put into the organisation that is named, as a Viewer, or as Admin of a new one if
    auto_assign_org is off
  - the last Admin of an organisation cannot be removed; a second of a name is refused; five wrong passwords lock
"""
import base64
import http.server
import json
import re
import threading
import urllib.parse


class Refusal(Exception):
    def __init__(self, status, message=""):
        super().__init__(message)
        self.status, self.message = status, message


class Server(http.server.ThreadingHTTPServer):
    """Routes requests one at a time to methods of a subclass, takes them down, and may kill who asks."""
    daemon_threads = True
    routes = []  # (method, pattern of the path, name of the method of Server)

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.log = []  # (method, path, body, status, answer)
        self.before = lambda: None
        self.after = lambda: None
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, method, target, headers, body):
        path, _, query = target.partition("?")
        for verb, pattern, name in self.routes:
            found = re.fullmatch(pattern, path)
            if verb == method and found:
                words = [urllib.parse.unquote(w) for w in found.groups()]
                try:
                    self.authenticate(headers)
                    return 200, getattr(self, name)(*words, body=body, headers=headers,
                                                    query=dict(urllib.parse.parse_qsl(query)))
                except Refusal as refusal:
                    return refusal.status, {"message": refusal.message}
        return 404, {"message": "no such route"}

    def writes(self):
        return [f"{m} {p}" for m, p, *_ in self.log if m != "GET"]


class Handler(http.server.BaseHTTPRequestHandler):
    def handle_any(self):
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.server.lock:
            self.server.before()
            body = json.loads(text) if text else None
            status, answer = self.server.answer(self.command, self.path, self.headers, body)
            self.server.log.append((self.command, self.path, body, status, answer))
            self.server.after()
        said = json.dumps(answer).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)
        except OSError:
            pass  # who asked was killed

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def log_message(self, *args):
        pass


class Grafana(Server):
    routes = [
        ("GET", "/api/health", "health"), ("GET", "/api/user", "me"),
        ("GET", "/api/users/lookup", "lookup"), ("GET", r"/api/users/(\d+)/orgs", "user_orgs"),
        ("POST", "/api/admin/users", "create_user"), ("PUT", r"/api/admin/users/(\d+)/password", "set_password"),
        ("PUT", r"/api/admin/users/(\d+)/permissions", "set_permissions"),
        ("GET", "/api/orgs", "orgs_by_name"), ("POST", "/api/orgs", "create_org"),
        ("GET", r"/api/orgs/(\d+)/users", "members"), ("POST", r"/api/orgs/(\d+)/users", "add_member"),
        ("PATCH", r"/api/orgs/(\d+)/users/(\d+)", "set_role"),
        ("DELETE", r"/api/orgs/(\d+)/users/(\d+)", "remove_member"),
        ("GET", "/api/datasources", "datasources"), ("POST", "/api/datasources", "create_datasource"),
        ("PUT", "/api/datasources/uid/([^/]+)", "put_datasource"),
        ("DELETE", "/api/datasources/uid/([^/]+)", "remove_datasource"),
        ("GET", "/api/folders/([^/]+)", "folder"), ("POST", "/api/folders", "create_folder"),
        ("GET", "/api/dashboards/uid/([^/]+)", "dashboard"), ("POST", "/api/dashboards/db", "save_dashboard"),
    ]

    def __init__(self, admin_password, auto_assign_org=True):
        self.auto_assign_org = auto_assign_org
        self.users = {1: {"id": 1, "login": "admin", "password": admin_password, "isGrafanaAdmin": True}}
        self.orgs = {1: {"id": 1, "name": "Main Org."}}
        self.roles = {1: {1: "Admin"}}  # organisation -> user -> role
        self.sources, self.folders, self.boards = {1: {}}, {1: set()}, {1: {}}
        self.wrong, self.unready, self.asking, self.inside = {}, 0, None, 1
        super().__init__()

    # ---- who asks ----

    def authenticate(self, headers):
        self.asking = None
        if "Authorization" not in headers:
            return
        login, _, password = base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode().partition(":")
        user = self.by_login(login)
        if not user or self.wrong.get(login, 0) >= 5 or user["password"] != password:
            self.wrong[login] = self.wrong.get(login, 0) + 1
            raise Refusal(401, "Invalid username or password")
        self.wrong[login] = 0
        self.asking, self.inside = user, int(headers.get("X-Grafana-Org-Id") or 1)
        if "X-Grafana-Org-Id" in headers and user["id"] not in self.roles.get(self.inside, {}):
            raise Refusal(401, "not a member of the organisation")

    def by_login(self, login):
        return next((u for u in self.users.values() if u["login"] == login), None)

    def admin(self):
        if not self.asking or not self.asking["isGrafanaAdmin"]:
            raise Refusal(403, "server admins only")

    def there(self, table, key, message):
        if int(key) not in table:
            raise Refusal(404, message)
        return table[int(key)]

    # ---- accounts ----

    def health(self, **_):
        if self.unready:
            self.unready -= 1
            raise Refusal(503, "migrating")
        return {"database": "ok"}

    def me(self, **_):
        if not self.asking:
            raise Refusal(401)
        return {k: self.asking[k] for k in ("id", "login", "isGrafanaAdmin")}

    def lookup(self, query, **_):
        self.admin()
        user = self.by_login(query["loginOrEmail"])
        if not user:
            raise Refusal(404, "user not found")
        return {k: user[k] for k in ("id", "login", "isGrafanaAdmin")}

    def user_orgs(self, user, **_):
        self.admin()
        return [{"orgId": org, "name": self.orgs[org]["name"], "role": members[int(user)]}
                for org, members in self.roles.items() if int(user) in members]

    def create_user(self, body, **_):
        self.admin()
        if len(body.get("password", "")) < 4:
            raise Refusal(400, "Password is missing or too short")
        if self.by_login(body["login"]):
            raise Refusal(412, "already exists")
        org, role = body.get("orgId") or 1, "Viewer"
        if not self.auto_assign_org:
            org, role = self.make_org(body["login"] + " alone"), "Admin"
        if org not in self.orgs:
            raise Refusal(400, "organization not found")
        number = max(self.users) + 1
        self.users[number] = {"id": number, "login": body["login"], "password": body["password"],
                              "isGrafanaAdmin": False}
        self.roles[org][number] = role
        return {"id": number, "message": "User created"}

    def set_password(self, user, body, **_):
        self.admin()
        found = self.there(self.users, user, "user not found")
        found["password"] = body["password"]
        self.wrong[found["login"]] = 0
        return {"message": "User password updated"}

    def set_permissions(self, user, body, **_):
        self.admin()
        self.there(self.users, user, "user not found")["isGrafanaAdmin"] = body["isGrafanaAdmin"]
        return {"message": "User permissions updated"}

    # ---- organisations ----

    def make_org(self, name):
        number = max(self.orgs) + 1
        self.orgs[number] = {"id": number, "name": name}
        self.roles[number], self.sources[number], self.folders[number], self.boards[number] = {}, {}, set(), {}
        return number

    def orgs_by_name(self, query, **_):
        self.admin()
        return [o for o in self.orgs.values() if o["name"] == query.get("name", o["name"])]

    def create_org(self, body, **_):
        self.admin()
        if any(o["name"] == body["name"] for o in self.orgs.values()):
            raise Refusal(409, "organization name taken")
        number = self.make_org(body["name"])
        self.roles[number][self.asking["id"]] = "Admin"
        return {"orgId": number, "message": "Organization created"}

    def members(self, org, **_):
        self.admin()
        return [{"orgId": int(org), "userId": u, "login": self.users[u]["login"], "role": r}
                for u, r in self.there(self.roles, org, "organization not found").items()]

    def add_member(self, org, body, **_):
        self.admin()
        user = self.by_login(body["loginOrEmail"])
        if not user:
            raise Refusal(404, "user not found")
        members = self.there(self.roles, org, "organization not found")
        if user["id"] in members:
            raise Refusal(409, "already a member")
        members[user["id"]] = body["role"]
        return {"message": "User added to organization"}

    def last_admin(self, members, user):
        return members.get(user) == "Admin" and list(members.values()).count("Admin") == 1

    def set_role(self, org, user, body, **_):
        self.admin()
        members, user = self.there(self.roles, org, "organization not found"), int(user)
        if self.last_admin(members, user):
            raise Refusal(400, "last admin")
        members[user] = body["role"]
        return {"message": "Organization user updated"}

    def remove_member(self, org, user, **_):
        self.admin()
        members, user = self.there(self.roles, org, "organization not found"), int(user)
        if self.last_admin(members, user):
            raise Refusal(400, "last admin")
        del members[user]
        if not any(user in m for m in self.roles.values()):
            del self.users[user]
        return {"message": "User removed from organization"}

    # ---- in an organisation ----

    def org_admin(self):
        if not self.asking or self.roles[self.inside].get(self.asking["id"]) != "Admin":
            raise Refusal(403, "Admins of the organisation only")

    def datasources(self, **_):
        self.org_admin()
        return list(self.sources[self.inside].values())

    def create_datasource(self, body, **_):
        self.org_admin()
        have = self.sources[self.inside]
        if body["uid"] in have or body["name"] in [d["name"] for d in have.values()]:
            raise Refusal(409, "data source with the same name already exists")
        number = len(have) + 1
        have[body["uid"]] = {**body, "id": number, "orgId": self.inside, "readOnly": False}
        return {"id": number, "name": body["name"], "message": "Datasource added"}

    def put_datasource(self, uid, body, **_):
        self.org_admin()
        if uid not in self.sources[self.inside]:
            raise Refusal(404, "Data source not found")
        found = self.sources[self.inside][uid]
        found |= body
        return {"id": found["id"], "name": found["name"], "message": "Datasource updated"}

    def remove_datasource(self, uid, **_):
        self.org_admin()
        del self.sources[self.inside][uid]
        return {"message": "Data source deleted"}

    def folder(self, uid, **_):
        if uid not in self.folders[self.inside]:
            raise Refusal(404, "folder not found")
        return {"uid": uid, "title": uid}

    def create_folder(self, body, **_):
        self.org_admin()
        if body["uid"] in self.folders[self.inside]:
            raise Refusal(409, "a folder with the same uid exists")
        self.folders[self.inside].add(body["uid"])
        return {"uid": body["uid"], "title": body["title"]}

    def dashboard(self, uid, **_):
        if uid not in self.boards[self.inside]:
            raise Refusal(404, "Dashboard not found")
        return self.boards[self.inside][uid]

    def save_dashboard(self, body, **_):
        self.org_admin()
        board, have = body["dashboard"], self.boards[self.inside]
        if body["folderUid"] not in self.folders[self.inside]:
            raise Refusal(400, "folder not found")
        if board["uid"] in have and not body["overwrite"]:
            raise Refusal(412, "version mismatch")
        version = have[board["uid"]]["dashboard"]["version"] + 1 if board["uid"] in have else 1
        have[board["uid"]] = {"meta": {"folderUid": body["folderUid"]},
                              "dashboard": board | {"id": 7, "version": version}}
        return {"uid": board["uid"], "id": 7, "version": version, "status": "success", "url": ""}


class Kubernetes(Server):
    """Secrets of one namespace, for one account with the rights of a Role."""
    PATH = "/api/v1/namespaces/monitoring/secrets"
    routes = [("GET", PATH + "/([^/]+)", "read"), ("PATCH", PATH + "/([^/]+)", "patch"), ("POST", PATH, "create")]

    def __init__(self, token, role, secrets):
        self.token, self.role = token, role
        self.secrets = {name: {"metadata": {"name": name, "resourceVersion": "1"}} for name in secrets}
        super().__init__()

    def authenticate(self, headers):
        if headers.get("Authorization") != "Bearer " + self.token:
            raise Refusal(401)

    def allowed(self, verb, name):
        if not any(verb in rule["verbs"] and "secrets" in rule["resources"] and
                   name in rule.get("resourceNames", [name]) for rule in self.role["rules"]):
            raise Refusal(403, f"cannot {verb} {name}")
        if name not in self.secrets:
            raise Refusal(404)
        return self.secrets[name]

    def read(self, name, **_):
        return self.allowed("get", name)

    def patch(self, name, body, headers, **_):
        secret = self.allowed("patch", name)
        if headers["Content-Type"] != "application/merge-patch+json":
            raise Refusal(415)
        version = secret["metadata"]["resourceVersion"]
        if body["metadata"].get("resourceVersion", version) != version:
            raise Refusal(409, "the object has been modified")
        return self.put(name, body["data"]["password"])

    def create(self, **_):
        return self.allowed("create", "")

    def put(self, name, encoded):
        secret = self.secrets[name]
        secret["data"] = {"password": encoded} if encoded else {}
        secret["metadata"]["resourceVersion"] = str(int(secret["metadata"]["resourceVersion"]) + 1)
        return secret

    def password(self, user):
        return base64.b64decode(self.secrets["grafana-" + user]["data"]["password"]).decode()
