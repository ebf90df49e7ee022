#!/usr/bin/env python3
"""Asks a running Prometheus everything the Grafana dashboards ask, as Grafana would.

    panels.py --url http://127.0.0.1:9090 [--range 300] [--scrape 15] [--set namespace=kubeflow-user01]...

A query passes if it succeeds without a warning and has a number in its answer; MAY_BE_EMPTY names those that
may have none, and why. --range is the time range in seconds up to now, --scrape the scrape interval. Prints
a table and `N passed, N failed`.
"""
import argparse
import json
import math
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import dashboards

NONE_FIRES = "no alert may be pending or firing"
MAY_BE_EMPTY = {
    ("quality", "Drift alerts A"): NONE_FIRES,
    ("fleet", "Firing alerts A"): NONE_FIRES,
    ("service", "Where the time goes C"): "nobody may have asked for an explanation",
}
CHOICES = ("namespace", "user_id", "model_name", "version")


def duration(seconds):
    return f"{round(seconds * 1000)}ms"


class Prometheus:
    """The HTTP API of one Prometheus over one time range, with Grafana's variables for it."""

    def __init__(self, url, seconds, scrape, chosen):
        self.url = url.rstrip("/") + "/api/v1/"
        self.end = time.time()
        self.start = self.end - seconds
        self.step = max(seconds / 200, scrape)
        self.values = {name: ".+" for name in CHOICES} | dict(chosen) | {
            "__range": duration(seconds), "__interval": duration(self.step),
            "__rate_interval": duration(max(self.step + scrape, 4 * scrape))}

    def get(self, path, parameters):
        """Returns the data of the answer, or raises ValueError: an error, a warning, no JSON."""
        url = self.url + path + "?" + urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise ValueError(error.read().decode(errors="replace").strip()) from error
        notes = answer.get("warnings", []) + answer.get("infos", [])
        if answer.get("status") != "success" or notes:
            raise ValueError("; ".join(notes) or answer.get("error", "no success"))
        return answer["data"]

    def ask(self, query):
        """A list of label values for a variable, else of series {metric, values: [[time, text]...]}."""
        expr = dashboards.substitute(query.expr, self.values)
        if query.kind == "label":
            return self.get(f"label/{query.label}/values",
                            {"match[]": expr, "start": self.start, "end": self.end})
        if query.kind == "instant":
            data = self.get("query", {"query": expr, "time": self.end})
            return [{"metric": s["metric"], "values": [s["value"]]} for s in data["result"]]
        return self.get("query_range", {"query": expr, "start": self.start, "end": self.end,
                                        "step": self.step})["result"]


def numbers(answer):
    """How many finite numbers (or label values) an answer has."""
    return sum(1 if isinstance(s, str) else sum(math.isfinite(float(v)) for _, v in s["values"])
               for s in answer)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--range", type=float, default=300)
    parser.add_argument("--scrape", type=float, default=15)
    parser.add_argument("--set", action="append", default=[], type=lambda s: s.split("=", 1))
    return parser


def main():
    options = arguments().parse_args()
    prometheus = Prometheus(options.url, options.range, options.scrape, options.set)
    passed = failed = 0
    for name, board in dashboards.load().items():
        for query in dashboards.queries(board):
            reason = MAY_BE_EMPTY.get((name, query.place))
            try:
                answer = prometheus.ask(query)
                found = numbers(answer)
                verdict = "ok" if found else f"empty: {reason}" if reason else "FAILED: empty"
                size = f"{len(answer):4} {found:6}"
            except (OSError, ValueError) as error:
                size, verdict = " " * 11, f"FAILED: {error}"
            bad = verdict.startswith("FAILED")
            passed, failed = passed + (not bad), failed + bad
            print(f"{name:8} {query.place:34} {query.kind:8} {size}  {verdict}")
    print(f"{passed} passed, {failed} failed")
    return failed != 0 or passed == 0


if __name__ == "__main__":
    sys.exit(main())
