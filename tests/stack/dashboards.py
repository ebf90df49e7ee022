"""Grafana dashboards as data: their queries, Grafana's variables, and just enough PromQL to look into it."""
import collections
import json
import pathlib
import re

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "k8s/monitoring/dashboards"

# place: where a reader finds it. kind: "range", "instant", or "label" for a variable (expr is then the
# selector and label what is listed).
Query = collections.namedtuple("Query", "place expr kind legend label panel", defaults=("", "", None))
# functions: the calls around a selector, outermost first.
Selector = collections.namedtuple("Selector", "name matchers range functions")


def load(folder=FOLDER):
    return {path.stem: json.loads(path.read_text()) for path in sorted(pathlib.Path(folder).glob("*.json"))}


def variables(board):
    return board["templating"]["list"]


def queries(board):
    """Everything a dashboard asks a Prometheus."""
    for variable in variables(board):
        if variable["type"] == "query":
            call = re.fullmatch(r"label_values\((.*), *(\w+)\)", variable["query"]["query"])
            if call:
                yield Query("$" + variable["name"], call[1], "label", label=call[2])
    for note in board["annotations"]["list"]:
        yield Query("annotation " + note["name"], note["expr"], "range")
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield Query(f"{panel['title']} {target['refId']}", target["expr"],
                        "instant" if target.get("instant") else "range",
                        legend=target.get("legendFormat", ""), panel=panel)


def substitute(text, values):
    """Replaces $name and ${name}, as Grafana does; an unknown name is left and will not parse."""
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda m: values.get(m[1] or m[2], m[0]), text)


def selectors(expr):
    """Yields the series selectors of a PromQL expression that parses."""
    tokens = re.findall(r'"(?:\\.|[^"\\])*"|[A-Za-z_:][\w:]*|\d[\w.]*|\$\w+|\S', expr)
    grouping = {"by", "without", "on", "ignoring", "group_left", "group_right"}
    operators = {"and", "or", "unless", "bool", "offset", "inf", "nan"}
    calls, call, i = [], "", 0

    def until(close):
        nonlocal i
        start = i
        while tokens[i] != close:
            i += 1
        return "".join(tokens[start + 1:i])

    while i < len(tokens):
        token, following = tokens[i], tokens[i + 1] if i + 1 < len(tokens) else ""
        if token in grouping:
            i += 1
            if following == "(":
                until(")")
        elif token == "(":
            calls.append(call)
            call = ""
        elif token == ")":
            calls.pop()
        elif re.match(r"[A-Za-z_:]", token) and token.lower() not in operators:
            if following == "(" or following in ("by", "without"):
                call = token
            else:
                matchers = span = ""
                if following == "{":
                    i += 1
                    matchers = until("}")
                if i + 1 < len(tokens) and tokens[i + 1] == "[":
                    i += 1
                    span = until("]")
                yield Selector(token, matchers, span, tuple(calls))
        i += 1
