#!/usr/bin/env python3
"""Tests k8s/deploy/verify.py against a gateway and a Prometheus that say what a case wants them to say."""
import contextlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading
import unittest
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[3]
MODEL = ROOT / "model/california-housing.json"


@contextlib.contextmanager
def serving(answer):
    """A server on loopback; answer(path, body) gives a status and what becomes JSON."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, value = answer(self.path, body, self.headers)
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def right_answers():
    out = subprocess.run(["build/ridge", "predict", "--model", MODEL, "--data", "k8s/deploy/probe.csv"], cwd=ROOT,
                         check=True, stdout=subprocess.PIPE, text=True).stdout
    return [float(line.split(",")[-1]) for line in out.splitlines()[1:]]


RIGHT = right_answers()
WRONG = [RIGHT[0] * (1 + 2 ** -52), *RIGHT[1:]]  # by the last bit of one


class Verify(unittest.TestCase):
    def verify(self, *arguments, predictions=lambda n: RIGHT, ratio="0", latency="0.001", status=200, silent_after=10**9,
               **settings):
        """Exit code and output; ratio and latency are what Prometheus says, None nothing."""
        self.asked, self.queries, self.tokens = 0, [], set()

        def gateway(path, body, headers):
            self.assertEqual(path, "/kubeflow-user01/v1/models/california-housing:predict")
            self.assertEqual(len(json.loads(body)["instances"]), len(RIGHT))
            self.asked += 1
            return status, {"predictions": predictions(self.asked - 1)}

        def prometheus(path, body, headers):
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(path).query)["query"][0]
            self.queries.append(query)
            self.tokens.add(headers.get("Authorization"))
            value = None if self.asked > silent_after else latency if "histogram_quantile" in query else ratio
            return 200, {"data": {"result": [] if value is None else [{"value": [0, value]}]}}

        with serving(gateway) as g, serving(prometheus) as p:
            environment = {"PATH": os.environ["PATH"], "USER_ID": "user01", "GATEWAY_URL": g + "/{namespace}",
                           "PROMETHEUS_URL": p, "VERIFY_SECONDS": "1.5", "VERIFY_INTERVAL": "0.1", "VERIFY_WINDOW": "1", **settings}
            done = subprocess.run([sys.executable, "k8s/deploy/verify.py", "--model", MODEL, *arguments], cwd=ROOT,
                                  env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        return done.returncode, done.stdout

    def test_what_serves_as_it_should_passes(self):
        code, out = self.verify()
        self.assertEqual(code, 0, out)
        self.assertGreater(self.asked, 3)
        for query in self.queries:
            self.assertIn('namespace="kubeflow-user01",model_name="california-housing",version="1"', query)

    def test_an_answer_off_by_its_last_bit_is_a_breach(self):
        code, out = self.verify(predictions=lambda n: WRONG)
        self.assertEqual(code, 1)
        self.assertIn("predictions: expected", out)
        self.assertEqual(self.verify("--answers_only", predictions=lambda n: WRONG)[0], 1)

    def test_an_answer_that_goes_wrong_later_is_a_breach(self):
        self.assertEqual(self.verify(predictions=lambda n: RIGHT if n < 5 else WRONG)[0], 1)

    def test_too_few_answers_are_a_breach(self):
        self.assertEqual(self.verify(predictions=lambda n: RIGHT[:-1])[0], 1)

    def test_an_error_of_the_gateway_is_a_breach(self):
        self.assertEqual(self.verify(status=503)[0], 1)

    def test_a_gateway_that_is_not_there_is_a_breach(self):
        self.assertEqual(self.verify(GATEWAY_URL="http://127.0.0.1:1")[0], 1)

    def test_errors_above_the_limit_are_a_breach(self):
        code, out = self.verify(ratio="0.06")
        self.assertEqual(code, 1)
        self.assertIn("error ratio: 0.06, expected at most 0.05", out)
        self.assertEqual(self.verify(ratio="0.06", MAX_ERROR_RATIO="0.1")[0], 0)

    def test_latency_above_the_limit_is_a_breach(self):
        self.assertEqual(self.verify(latency="0.2")[0], 1)
        self.assertEqual(self.verify(latency="+Inf")[0], 1)

    def test_not_a_number_is_a_breach(self):
        self.assertEqual(self.verify(ratio="NaN")[0], 1)

    def test_a_version_that_prometheus_does_not_know_is_a_breach(self):
        code, out = self.verify(ratio=None, latency=None)
        self.assertEqual(code, 1)
        self.assertIn("Prometheus has no figure for version 1", out)

    def test_a_version_that_prometheus_loses_is_a_breach(self):
        lost = {"silent_after": 8, "VERIFY_SECONDS": "4"}
        self.assertIn("Prometheus has no figure", self.verify(**lost, VERIFY_WINDOW="0")[1])

    def test_a_prometheus_that_is_not_there_is_a_breach(self):
        self.assertEqual(self.verify(PROMETHEUS_URL="http://127.0.0.1:1")[0], 1)

    def test_prometheus_gets_its_token_and_the_log_does_not(self):
        code, out = self.verify(PROMETHEUS_TOKEN="a-token")
        self.assertEqual((code, self.tokens), (0, {"Bearer a-token"}))
        self.assertNotIn("a-token", out)

    def test_a_window_longer_than_the_watch_is_refused(self):
        self.assertNotEqual(self.verify(VERIFY_WINDOW="2")[0], 0)

    def test_a_canary_may_answer_as_either_but_must_show_the_new_model(self):
        old = ROOT / "build/loop/verify_test.json"
        old.parent.mkdir(parents=True, exist_ok=True)
        rows = "\n".join(f"{i},{-i % 7},{3 * i + i * i % 5}" for i in range(60))
        (old.parent / "rows.csv").write_text("MedInc,HouseAge,y\n" + rows + "\n")
        names = (ROOT / "k8s/deploy/probe.csv").read_text().splitlines()[0].split(",")
        table = [",".join([*names, "y"])] + [",".join(str((i * p) % 13) for p in range(2, 2 + len(names))) + f",{i}" for i in range(60)]
        (old.parent / "rows.csv").write_text("\n".join(table) + "\n")
        subprocess.run(["build/ridge", "train", "--data", old.parent / "rows.csv", "--target", "y", "--features", "linear",
                        "--out", old], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        out = subprocess.run(["build/ridge", "predict", "--model", old, "--data", "k8s/deploy/probe.csv"], cwd=ROOT,
                             check=True, stdout=subprocess.PIPE, text=True).stdout
        before = [float(line.split(",")[-1]) for line in out.splitlines()[1:]]
        tenth = lambda n: RIGHT if n % 10 == 9 else before  # noqa: E731
        self.assertEqual(self.verify("--previous", old, predictions=tenth)[0], 0)
        self.assertEqual(self.verify("--previous", old, predictions=lambda n: before)[0], 1)
        self.assertEqual(self.verify("--previous", old, predictions=lambda n: WRONG if n % 10 == 9 else before)[0], 1)
        self.assertEqual(self.verify(predictions=tenth)[0], 1)


if __name__ == "__main__":
    unittest.main()
