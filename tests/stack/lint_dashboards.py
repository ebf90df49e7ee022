#!/usr/bin/env python3
"""Lints the Grafana dashboards: the rules of Grafana's dashboard-linter under its names, and some of ours.

Queries are checked by promtool (PROMTOOL names another). EXCEPTIONS says where a rule does not hold, and
why; an exception that nothing needs is a fault too. Prints the faults and `N passed, N failed`, a rule of a
dashboard being one check.
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import dashboards

REPLICAS = "replicas are summed on purpose; a fixed job selects them, and instances show as legends"
EXCEPTIONS = {
    "template-job": REPLICAS,
    "template-instance": REPLICAS,
    "target-job": REPLICAS,
    "target-instance": REPLICAS,
}

# Grafana's unit ids that a service like this one may need.
UNITS = set("""none short percent percentunit bool bool_yes_no bool_on_off bytes decbytes bits Bps binBps bps
ns µs ms s m h d dtdurations dtdhms dateTimeAsIso dateTimeFromNow cps ops reqps rps wps iops rowsps eps
currencyUSD""".split())

VALUES = {"namespace": ".+", "user_id": ".+", "model_name": ".+", "version": ".+", "__rate_interval": "1m",
          "__interval": "15s", "__range": "1h"}
RATES = {"rate", "irate", "increase"}


def named(board, name):
    return [v for v in dashboards.variables(board) if v["name"] == name]


def query_variables(board):
    return [v for v in dashboards.variables(board) if v["type"] == "query"]


def panel_queries(board):
    return [q for q in dashboards.queries(board) if q.panel]


def template_datasource(board):
    sources = [v for v in dashboards.variables(board) if v["type"] == "datasource"]
    if len(sources) != 1:
        yield f"expected one data source variable, got {len(sources)}"
    for v in sources:
        if (v["name"], v["label"], v["query"]) != ("datasource", "Data Source", "prometheus"):
            yield f"expected datasource, \"Data Source\", prometheus, got {v['name']}, {v['label']}, {v['query']}"


def template_target(name):
    def rule(board):
        ok = [v for v in named(board, name) if v["multi"] and v["allValue"] == ".+"]
        if len(ok) != 1:
            yield f"expected a variable {name} that takes several values, all being .+"
    return rule


def template_label_promql(board):
    listed = {"$" + v["name"] for v in query_variables(board)}
    for missing in listed - {q.place for q in dashboards.queries(board) if q.kind == "label"}:
        yield f"{missing}: expected label_values(SELECTOR, LABEL)"


def template_on_time_change_reload(board):
    for v in query_variables(board):
        if v.get("refresh") != 2:
            yield f"${v['name']}: expected refresh 2 (on time range), got {v.get('refresh')}"


def template_choice(board):
    for v in query_variables(board):
        if not (v["multi"] and v["includeAll"] and v["allValue"] == ".+" and v["label"]):
            yield f"${v['name']}: expected a label, several values, and All as .+"
    missing = {"namespace", "user_id", "model_name", "version"} - {v["name"] for v in query_variables(board)}
    if missing:
        yield f"expected variables {', '.join(sorted(missing))}"


def panel_datasource(board):
    holders = [(p["title"], p) for p in board["panels"]]
    holders += [(q.place, t) for q in panel_queries(board) for t in q.panel["targets"]]
    holders += [(v["name"], v) for v in query_variables(board)]
    holders += [(n["name"], n) for n in board["annotations"]["list"]]
    for name, holder in holders:
        if holder.get("datasource") != {"type": "prometheus", "uid": "$datasource"}:
            yield f"{name}: expected the data source $datasource, got {holder.get('datasource')}"


def panel_title_description(board):
    for p in board["panels"]:
        if not p.get("title") or not p.get("description"):
            yield f"panel {p['id']} {p.get('title', '')!r}: expected a title and a description"


def panel_units(board):
    for p in board["panels"]:
        config = p["fieldConfig"]
        units = [config["defaults"].get("unit")]
        units += [x["value"] for o in config["overrides"] for x in o["properties"] if x["id"] == "unit"]
        for unit in units:
            if unit not in UNITS:
                yield f"{p['title']}: expected a unit id of Grafana's, got {unit}"


def panel_no_targets(board):
    for p in board["panels"]:
        if not p.get("targets"):
            yield f"{p['title']}: expected a query"


def target_promql(board):
    """One rule file with every query, since promtool is slow to start."""
    asked = list(dashboards.queries(board))
    rules = [{"record": f"query_{i}", "expr": dashboards.substitute(q.expr, VALUES)}
             for i, q in enumerate(asked)]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "queries.yml")
        path.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
        run = subprocess.run([os.environ.get("PROMTOOL", "promtool"), "check", "rules", path], text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if run.returncode:
        wrong = {int(n) for n in re.findall(r"query_(\d+)", run.stdout)}
        for i in sorted(wrong) or [0]:
            yield f"{asked[i].place}: expected PromQL, got {asked[i].expr!r}\n{run.stdout}"


def target_rate_interval(board):
    for q in panel_queries(board):
        for s in dashboards.selectors(q.expr):
            if s.range and RATES & set(s.functions[-1:]) and s.range != "$__rate_interval":
                yield f"{q.place}: expected {s.name}[$__rate_interval], got [{s.range}]"


def target_matcher(label):
    def rule(board):
        for q in panel_queries(board):
            for s in dashboards.selectors(q.expr):
                if not re.search(rf'\b{label}=~?"\${label}"', s.matchers):
                    yield f"{q.place}: expected a matcher of {label} in {s.name}"
    return rule


def target_counter_agg(board):
    for q in panel_queries(board):
        for s in dashboards.selectors(q.expr):
            # model_window_*_sum are gauges: sums over a window, which fall too.
            counter = re.search(r"_(total|bucket|count|sum)$", s.name) and ":" not in s.name \
                and not s.name.startswith("model_window_")
            if counter and not RATES & set(s.functions):
                yield f"{q.place}: expected a rate or increase of the counter {s.name}"


def uneditable_dashboard(board):
    if board.get("editable") is not False:
        yield "expected editable false: a provisioned dashboard is changed in its file"


def schema_version(board):
    if board.get("schemaVersion") != 42:
        yield f"expected schemaVersion 42, got {board.get('schemaVersion')}"


def unique_ids(board):
    ids = [p["id"] for p in board["panels"]]
    if len(set(ids)) != len(ids):
        yield "expected panel ids that differ"
    for p in board["panels"]:
        refs = [t["refId"] for t in p.get("targets", [])]
        if len(set(refs)) != len(refs):
            yield f"{p['title']}: expected refIds that differ"


def grid(board):
    taken = {}
    for p in board["panels"]:
        g = p["gridPos"]
        if g["x"] < 0 or g["x"] + g["w"] > 24 or min(g["w"], g["h"]) < 1:
            yield f"{p['title']}: expected a place within 24 columns, got {g}"
        for cell in ((x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])):
            if cell in taken:
                yield f"{p['title']}: expected a place of its own, got one of {taken[cell]}"
                break
            taken[cell] = p["title"]


def tenant_matchers(board):
    """What a reader picks must reach every series: a forgotten one mixes users."""
    for q in panel_queries(board):
        for s in dashboards.selectors(q.expr):
            for label in ("namespace", "user_id"):
                if f'{label}=~"${label}"' not in s.matchers:
                    yield f"{q.place}: expected {label}=~\"${label}\" in {s.name}"


def recorded_names(board):
    rules = dashboards.FOLDER.parent.joinpath("rules/recording.yml").read_text()
    records = set(re.findall(r"- record: (\S+)", rules))
    for q in dashboards.queries(board):
        for s in dashboards.selectors(q.expr):
            if ":" in s.name and s.name not in records:
                yield f"{q.place}: expected a recorded series, got {s.name}"


RULES = {
    "template-datasource": template_datasource,
    "template-job": template_target("job"),
    "template-instance": template_target("instance"),
    "template-label-promql": template_label_promql,
    "template-on-time-change-reload": template_on_time_change_reload,
    "template-choice": template_choice,
    "panel-datasource": panel_datasource,
    "panel-title-description": panel_title_description,
    "panel-units": panel_units,
    "panel-no-targets": panel_no_targets,
    "target-promql": target_promql,
    "target-rate-interval": target_rate_interval,
    "target-job": target_matcher("job"),
    "target-instance": target_matcher("instance"),
    "target-counter-agg": target_counter_agg,
    "uneditable-dashboard": uneditable_dashboard,
    "schema-version": schema_version,
    "unique-ids": unique_ids,
    "grid": grid,
    "tenant-matchers": tenant_matchers,
    "recorded-names": recorded_names,
}


def main():
    boards = dashboards.load()
    passed = failed = 0
    needed = set()
    for name, board in boards.items():
        for rule, check in RULES.items():
            faults = list(check(board))
            if faults and rule in EXCEPTIONS:
                needed.add(rule)
                continue
            passed, failed = (passed, failed + 1) if faults else (passed + 1, failed)
            for fault in faults:
                print(f"{name}: {rule}: {fault}")
    for what in ("uid", "title"):
        if not boards or len({b[what] for b in boards.values()}) != len(boards):
            print(f"expected dashboards of which no two have the same {what}")
            failed += 1
    for rule in EXCEPTIONS.keys() - needed:
        print(f"{rule}: expected no exception, since nothing needs it")
        failed += 1
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
