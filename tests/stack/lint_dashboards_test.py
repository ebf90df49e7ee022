#!/usr/bin/env python3
"""Breaks a dashboard in one way for each rule of the linter and expects that rule to say so."""
import copy
import sys

import dashboards
import lint_dashboards


def variable(board, name):
    return next(v for v in dashboards.variables(board) if v["name"] == name)


def expr(old, new):
    def breaks(board):
        target = next(t for p in board["panels"] for t in p["targets"] if old in t["expr"])
        target["expr"] = target["expr"].replace(old, new)
    return breaks


def panel(**change):
    return lambda board: board["panels"][1].update(change)


BROKEN = [
    ("template-datasource", lambda b: variable(b, "datasource").update(label="Source")),
    ("template-datasource", lambda b: dashboards.variables(b).append(variable(b, "datasource"))),
    ("template-label-promql", lambda b: variable(b, "version")["query"].update(query="up")),
    ("template-on-time-change-reload", lambda b: variable(b, "version").update(refresh=1)),
    ("template-choice", lambda b: variable(b, "version").update(allValue=".*")),
    ("template-choice", lambda b: dashboards.variables(b).remove(variable(b, "user_id"))),
    ("panel-datasource", panel(datasource={"type": "prometheus", "uid": "prometheus"})),
    ("panel-datasource", lambda b: b["panels"][0]["targets"][0].pop("datasource")),
    ("panel-title-description", panel(description="")),
    ("panel-units", lambda b: b["panels"][0]["fieldConfig"]["defaults"].update(unit="seconds")),
    ("panel-units", lambda b: b["panels"][0]["fieldConfig"]["defaults"].pop("unit")),
    ("panel-no-targets", panel(targets=[])),
    ("target-promql", expr("sum", "sum of")),
    ("target-promql", lambda b: variable(b, "version")["query"].update(query="label_values(up{, version)")),
    ("target-promql", lambda b: b["annotations"]["list"][0].update(expr="1 +")),
    ("target-rate-interval", expr("[$__rate_interval]", "[5m]")),
    ("target-counter-agg", expr("rate(", "sum_over_time(")),
    ("uneditable-dashboard", lambda b: b.update(editable=True)),
    ("schema-version", lambda b: b.update(schemaVersion=38)),
    ("unique-ids", panel(id=1)),
    ("unique-ids", lambda b: b["panels"][2]["targets"].append(b["panels"][2]["targets"][0])),
    ("grid", panel(gridPos={"x": 1, "y": 0, "w": 4, "h": 4})),
    ("grid", panel(gridPos={"x": 22, "y": 900, "w": 4, "h": 4})),
    ("tenant-matchers", expr('user_id=~"$user_id"', 'user_id=~".+"')),
    ("recorded-names", expr("model_prediction_total", "model:model_prediction_total:rate1m")),
]
UNBROKEN = set(lint_dashboards.RULES) - set(lint_dashboards.EXCEPTIONS)


def main():
    whole = dashboards.load()["service"]
    passed = failed = 0
    for rule, breaks in BROKEN:
        board = copy.deepcopy(whole)
        breaks(board)
        before, after = (list(lint_dashboards.RULES[rule](b)) for b in (whole, board))
        if before or not after:
            print(f"{rule}: expected no fault before and one after, got {before} and {after}")
            failed += 1
        else:
            passed += 1
    for rule in UNBROKEN - {rule for rule, _ in BROKEN}:
        print(f"{rule}: expected a dashboard that breaks it")
        failed += 1
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
