#!/usr/bin/env python3
"""Fails if a file that git would commit holds a password, token or key. First it looks for its own examples.

Tests make up tokens for the servers they start: in tests/ only what could be real counts, tokens of a known
form, private keys, and Kubernetes Secrets that are written out.
"""
import pathlib
import re
import subprocess
import sys

NAME = r"\w*(?:passw(?:or)?d|token|secret|api_?key|access_?key|credentials?)"
# A value that is none: a reference, a template, a path, a word in capitals to be replaced.
NONE = r"(?![$<{\[(|>&*/.]|(?-i:[A-Z_]+\b)|(?:true|false|null|none|required|same-origin|read|write)\b)"
CODE = {".c", ".h", ".py", ".mjs", ".js"}
VENDOR = "server/predictor/ui/vendor/"

REAL = {
    "a token of GitHub": r"\b(?:gh[opsur]_[A-Za-z0-9]{20,}|github_pat_\w{20,})",
    "an access key of AWS": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "a token of a chat, registry or model service": r"\b(?:xox[abprs]-[\w-]{10,}|glpat-[\w-]{20,}|hf_\w{30,}|dckr_pat_\w{20,})",
    "a service account of Grafana": r"\bgl(?:sa|c)_\w{20,}",
    "a JSON web token": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.",
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY",
}
LITERAL = {
    "a password in an address": r"://[^/\s:@\"']+:[^/\s@\"'${<]+@",
    "a literal on a command line": r"(?:--from-literal[= ]\S+=|\bcurl\b.* (?:-u|--user)[= ]\S+:)" + NONE + r"[^\s\"']",
    "a bearer token": r"\bBearer " + NONE + r"(?=[\w.~+/-]*[0-9-])[\w.~+/-]{8,}",
    "the value of an environment variable": r"(?i)name: [\"']?" + NAME + r"[\"']?\n\s*value: [\"']?" + NONE + r"[^\s\"']",
}
ASSIGNED = r"(?i)\b" + NAME + r"[\"']?[ \t]*(?::|:?=)[ \t]*"


def rules(path):
    yield from REAL.items()
    if path.parts[0] == "tests":
        return
    yield from LITERAL.items()
    quoted = r"[\"']" + NONE + r"[^\s\"']+[\"']"
    yield "a literal", ASSIGNED + (quoted if path.suffix in CODE else f"(?:{quoted}|{NONE}[^\\s\"',#]{{4,}})")


def is_written_secret(path, text):
    """A Kubernetes Secret with its content beside it."""
    documents = re.split(r"(?m)^---\s*$", text) if path.suffix in (".yaml", ".yml") else []
    return any(re.search(r"(?m)^kind: Secret\s*$", d) and re.search(r"(?m)^(?:data|stringData):", d) for d in documents)


def find(path, text):
    """(line, what) of everything in the file."""
    found = [(text.count("\n", 0, m.start()) + 1, what) for what, rule in rules(path) for m in re.finditer(rule, text)]
    return found + ([(1, "a Secret with its content")] if is_written_secret(path, text) else [])


# Built here, or this file would be found itself.
A = "a" * 36
EXAMPLES = [
    ("k8s/x.yaml", "to" + "ken: hunter2hunter2"),
    ("k8s/x.yaml", "- name: GF_SECURITY_ADMIN_PASS" + "WORD\n  value: admin"),
    ("k8s/x.yaml", "kind: Secret\nmetadata: {}\nstringData:\n  a: b"),
    ("k8s/x.yaml", "url: http://admin:" + "admin@grafana:3000"),
    ("k8s/x.sh", "kubectl create secret generic x --from-literal" + "=token=abc"),
    ("k8s/x.sh", "PASS" + "WORD=hunter2"),
    ("k8s/x.sh", "curl -u admin:" + "admin http://grafana"),
    ("README.md", "Authorization: Bear" + "er 3f9a-22bd-0001"),
    ("server/x.c", "const char *pass" + 'word = "hunter2";'),
    ("tests/x.py", "ghp" + "_" + A),
    ("tests/x.c", "-----BEGIN RSA PRIVATE" + " KEY-----"),
    ("README.md", "AKI" + "A" + "ABCDEFGHIJKLMNOP"),
]
HARMLESS = [
    ("k8s/x.yaml", "secretName: ridged-feedback"),
    ("k8s/x.yaml", "password: ${{ secrets.PASSWORD }}"),
    ("k8s/x.yaml", "credentials_file: /etc/alertmanager/secrets/relay-token"),
    ("k8s/x.yaml", "- name: GF_SECURITY_ADMIN_PASSWORD__FILE\n  value: /etc/grafana/password"),
    ("k8s/x.sh", 'password=$(openssl rand -hex 16)'),
    ("server/x.c", "struct token *token = token_new(path, &err);"),
    ("README.md", "Authorization: Bearer TOKEN"),
    ("README.md", "https://example.com:8080/a@b"),
]


def main():
    wrong = [f"not found: {text!r}" for path, text in EXAMPLES if not find(pathlib.Path(path), text)]
    wrong += [f"found: {text!r}" for path, text in HARMLESS if find(pathlib.Path(path), text)]
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    for path in (pathlib.Path(name) for name in names if name and not name.startswith(VENDOR)):
        if path.is_file():
            text = path.read_bytes().decode("utf-8", "replace")
            wrong += [f"{path}:{line}: {what}" for line, what in find(path, text)]
    print("\n".join(wrong) or "no password, token or key in the repository")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
