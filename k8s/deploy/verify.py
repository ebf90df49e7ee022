#!/usr/bin/env python3
"""Decides whether a deployed model serves as it should; exit code 1 says that it does not, and why.

    verify.py --model FILE [--previous FILE] [--answers_only]

First the answers: the rows of probe.csv through GATEWAY_URL, each to the very number that `ridge predict` makes
of the artifact FILE. While a canary gets a part of the requests, answers of the previous artifact count too, and
some must be the new one's.

Then, for VERIFY_SECONDS, every VERIFY_INTERVAL: the answers again, and of Prometheus the error ratio (at most
MAX_ERROR_RATIO) and the 95th percentile of the latency (at most MAX_LATENCY seconds) of this version in this
namespace over VERIFY_WINDOW seconds. The probes make traffic, so a version of which Prometheus knows nothing, or
nothing any more, cannot be watched: that fails, too. At the end a table for the run's page.

GATEWAY_URL and PROMETHEUS_URL may have {namespace} in them. Knows nothing of Kubernetes.
"""
import argparse
import csv
import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
MODEL_NAME = "california-housing"
CANARY_TRIES = 200


class Breach(Exception):
    """What the deployment did wrong, for people."""


def setting(name, default=None):
    value = os.environ.get(name) or default
    if value is None:
        sys.exit(f"{name}: expected a value")
    return value


def url_of(name):
    url = setting(name).rstrip("/")
    return url.replace("{namespace}", "kubeflow-" + setting("USER_ID")) if "{namespace}" in url else url


def ask(url, body=None, token=None, timeout=10):
    """The answer as JSON with every number as it was written, so that numbers compare exactly."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"} if body else {})
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return json.load(answer, parse_float=str, parse_int=str)


def expected(model):
    """What `ridge predict` makes of the probe rows, as text."""
    out = subprocess.run(["build/ridge", "predict", "--model", model, "--data", HERE / "probe.csv"],
                         check=True, stdout=subprocess.PIPE, text=True).stdout
    return [float(row[-1]) for row in list(csv.reader(out.splitlines()))[1:]]


def answers(gateway, rows):
    body = json.dumps({"instances": rows}).encode()
    try:
        answer = ask(f"{gateway}/v1/models/{MODEL_NAME}:predict", body)
    except (OSError, ValueError) as error:  # HTTPError is an OSError
        raise Breach(f"predict: {error}") from error
    return [float(p) for p in answer["predictions"]]


def check_answers(gateway, rows, new, old):
    """One answer has to be the new model's; with a canary under way, one of some."""
    for _ in range(CANARY_TRIES if old else 1):
        got = answers(gateway, rows)
        if got == new:
            return
        if got != old:
            raise Breach(f"predictions: expected {new}, got {got}")
    raise Breach(f"predictions: none of {CANARY_TRIES} answers was the new model's")


class Prometheus:
    def __init__(self, version, window):
        self.url = url_of("PROMETHEUS_URL")
        self.token = os.environ.get("PROMETHEUS_TOKEN")
        label = version.replace("\\", "\\\\").replace('"', '\\"')
        of = f'namespace="kubeflow-{setting("USER_ID")}",model_name="{MODEL_NAME}",version="{label}"'
        total = f"sum(rate(model_prediction_total{{{of}}}[{window}s]))"
        errors = f'sum(rate(model_prediction_total{{{of},status="error"}}[{window}s]))'
        self.ratio = f"({errors} or 0 * {total}) / ({total} > 0)"
        self.latency = f"histogram_quantile(0.95, sum by (le) (rate(model_prediction_latency_bucket{{{of}}}[{window}s]))) >= 0"

    def value(self, query):
        """A number, or None where Prometheus has none."""
        url = f"{self.url}/api/v1/query?" + urllib.parse.urlencode({"query": query})
        try:
            result = ask(url, token=self.token)["data"]["result"]
        except (OSError, ValueError, KeyError) as error:
            print(f"Prometheus: {error}", flush=True)
            return None
        return float(result[0]["value"][1]) if result else None


def watch(gateway, rows, new, old, version, seen):
    seconds, interval = float(setting("VERIFY_SECONDS", "600")), float(setting("VERIFY_INTERVAL", "15"))
    window = int(setting("VERIFY_WINDOW", "120"))
    limits = {"error ratio": float(setting("MAX_ERROR_RATIO", "0.05")),
              "latency p95, s": float(setting("MAX_LATENCY", "0.1"))}
    prometheus = Prometheus(version, window)
    queries = {"error ratio": prometheus.ratio, "latency p95, s": prometheus.latency}
    began = time.monotonic()
    # Before the window has passed it still has in it what another image did under the same version.
    if seconds < window + interval:
        sys.exit(f"VERIFY_SECONDS: expected at least VERIFY_WINDOW and VERIFY_INTERVAL, {window + interval:g}")
    last = dict.fromkeys(queries)  # when there was a figure
    while (passed := time.monotonic() - began) < seconds:
        check_answers(gateway, rows, new, old)
        for name, query in queries.items() if passed >= window else ():
            value = prometheus.value(query)
            if value is None:
                continue
            last[name] = passed
            worst, limit = max(seen.get(name, (0.0, 0))[0], value), limits[name]
            seen[name] = worst, limit
            print(f"{passed:6.1f} s  {name} {value:.4g} (at most {limit:g})", flush=True)
            if not value <= limit:
                raise Breach(f"{name}: {value:.4g}, expected at most {limit:g}")
        time.sleep(interval)
    for name in queries:
        if last[name] is None or seconds - last[name] > max(window, interval):
            raise Breach(f"{name}: Prometheus has no figure for version {version}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--previous")
    parser.add_argument("--answers_only", action="store_true")
    options = parser.parse_args()
    gateway = url_of("GATEWAY_URL")
    with open(HERE / "probe.csv", newline="") as file:
        rows = [[float(cell) for cell in row] for row in list(csv.reader(file))[1:]]
    version = json.loads(pathlib.Path(options.model).read_bytes())["version"]
    new = expected(options.model)
    old = expected(options.previous) if options.previous else None
    seen, why = {}, None
    try:
        check_answers(gateway, rows, new, old)
        print(f"answers: {len(rows)} rows to the bit, version {version}", flush=True)
        if not options.answers_only:
            watch(gateway, rows, new, old, version, seen)
    except Breach as breach:
        why = str(breach)
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        with open(path, "a") as page:
            page.write(f"Version `{version}`: {why or 'serves as it should'}\n\n")
            for name, (worst, limit) in seen.items():
                page.write(f"- {name}: at worst {worst:.4g}, allowed {limit:g}\n")
    if why:
        sys.exit(f"{'::error::' if os.environ.get('GITHUB_ACTIONS') else ''}{why}")


if __name__ == "__main__":
    main()
