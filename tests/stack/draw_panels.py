#!/usr/bin/env python3
"""Draws each dashboard from a Prometheus's answers, as PNG pages for a person to look at.

    draw_panels.py --url http://127.0.0.1:9090 [--out build/panels] [the options of panels.py]

Needs npm (for uPlot, kept in build/) and Chromium. Stacked panels are drawn as lines.
"""
import json
import pathlib
import re
import subprocess
import sys

import dashboards
import panels

HERE = pathlib.Path(__file__).resolve().parent
MODULES = HERE.parents[1] / "build/stack"
UPLOT = "uplot@1.6.32"


def label(legend, metric):
    return re.sub(r"\{\{(\w+)\}\}", lambda m: metric.get(m[1], ""), legend).strip()


def table_of(panel, answers):
    """Joins the answers on their labels, as Grafana's merge does: one row per label set, header first."""
    renamed = next((t["options"]["renameByName"] for t in panel["transformations"] if t["id"] == "organize"), {})
    keys, rows = [], {}
    for i, answer in enumerate(answers):
        for series in answer:
            metric = {k: v for k, v in series["metric"].items() if k != "__name__"}
            keys += [k for k in metric if k not in keys]
            rows.setdefault(tuple(sorted(metric.items())), {})[i] = series["values"][0][1]
    names = [renamed.get("Value" if len(answers) == 1 else f"Value #{chr(65 + i)}", "?") for i in range(len(answers))]
    body = [[dict(labels).get(k, "") for k in keys]
            + [f"{float(values[i]):.4g}" if i in values else "" for i in range(len(answers))]
            for labels, values in rows.items()]
    return [keys + names] + body


def drawable(panel, queries, answers):
    """A panel as draw_panels.js wants it."""
    times = sorted({t for answer in answers for s in answer for t, _ in s["values"]})
    series = []
    for query, answer in zip(queries, answers):
        for s in answer:
            values = {t: float(v) for t, v in s["values"] if v not in ("NaN", "+Inf", "-Inf")}
            series.append({"label": label(query.legend, s["metric"]), "values": [values.get(t) for t in times]})
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults.get("custom", {})
    return {"type": panel["type"], "title": panel["title"], "grid": panel["gridPos"], "unit": defaults["unit"],
            "min": defaults.get("min"), "max": defaults.get("max"),
            "thresholds": defaults.get("thresholds", {}).get("steps", []),
            "lines": "thresholdsStyle" in custom,
            "soft_min": custom.get("axisSoftMin"), "soft_max": custom.get("axisSoftMax"),
            "mappings": defaults.get("mappings", [{"options": {}}])[0]["options"],
            "times": times, "series": series,
            "table": table_of(panel, answers) if panel["type"] == "table" else None}


def page(board, prometheus):
    asked = [q for q in dashboards.queries(board) if q.panel]
    drawn = []
    for panel in board["panels"]:
        queries = [q for q in asked if q.panel is panel]
        drawn.append(drawable(panel, queries, [prometheus.ask(q) for q in queries]))
    data = json.dumps({"title": board["title"], "panels": drawn}).replace("<", "\\u003c")
    dist = MODULES / "node_modules/uplot/dist"
    return (f"<!doctype html><meta charset=utf-8><style>{(dist / 'uPlot.min.css').read_text()}.uplot {{font-size: 11px}}"
            f".u-legend th {{font-weight: normal}}</style><body>"
            f"<script>{(dist / 'uPlot.iife.min.js').read_text()}</script>"
            f"<script>const BOARD = {data};\n{(HERE / 'draw_panels.js').read_text()}</script>")


def main():
    parser = panels.arguments()
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parents[1] / "build/panels")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if not (MODULES / "node_modules/uplot").exists():
        MODULES.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--silent", "--no-save", "--prefix", MODULES, UPLOT], check=True)
    prometheus = panels.Prometheus(options.url, options.range, options.scrape, options.set)
    for name, board in dashboards.load().items():
        html, png = (options.out.resolve() / f"{name}.{kind}" for kind in ("html", "png"))
        html.write_text(page(board, prometheus))
        height = 54 + 30 * max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in board["panels"])
        subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                        f"--window-size=1600,{height}", f"--screenshot={png}", html.as_uri()],
                       check=True, stderr=subprocess.DEVNULL)
        print(png)


if __name__ == "__main__":
    sys.exit(main())
