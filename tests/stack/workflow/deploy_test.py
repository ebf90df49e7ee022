#!/usr/bin/env python3
"""Runs the committed cd-deploy, step by step, against a real ridged, and looks at who serves in the end.

deploy_test.py [CASE...]. The stand-ins of README.md make image, registry and cluster; a Prometheus that says what a
case wants stands for the real one, which `make stack` has.
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

from verify_test import ROOT, serving

HERE = pathlib.Path(__file__).resolve().parent
NAMESPACE = "kubeflow-user01"
BUNDLED = ROOT / "model/california-housing.json"
ROLES = {name: "x" for name in ("AWS_READ_ROLE", "AWS_BUILD_ROLE", "AWS_DEPLOY_ROLE", "AWS_REGION", "EKS_CLUSTER")}
RETRAINED = """defaults: { run: { shell: bash } }
on: workflow_dispatch
permissions: { contents: read, id-token: write }
jobs:
  retrained:
    runs-on: x
    steps:
      - { run: mkdir out && cp "$MODEL" out/model.json, env: { MODEL: "${{ vars.MODEL }}" } }
      - { uses: actions/upload-artifact@0000000000000000000000000000000000000000, with: { name: m, path: out } }
  deploy:
    needs: retrained
    uses: ./.github/workflows/cd-deploy.yaml
    with: { user_id: user01, artifact: m, reason: test }
"""


def train(path, target):
    """A small model of the features of the bundled one."""
    names = (ROOT / "k8s/deploy/probe.csv").read_text().splitlines()[0].split(",")
    rows = [[(i * p) % 13 for p in range(2, 2 + len(names))] + [i % 9 / 2] for i in range(80)]
    table = path.with_suffix(".csv")
    table.write_text("\n".join(",".join(map(str, row)) for row in [[*names, target], *rows]) + "\n")
    subprocess.run([ROOT / "build/ridge", "train", "--data", table, "--target", target, "--features", "linear", "--name",
                    "california-housing", "--version", path.stem, "--out", path], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return path


def sha256_of(path):
    return json.loads(path.read_bytes())["sha256"]


class Deploy(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.models = pathlib.Path(tempfile.mkdtemp())
        cls.addClassCleanup(shutil.rmtree, cls.models)
        cls.first, cls.second = train(cls.models / "first.json", "MedHouseVal"), train(cls.models / "second.json", "MedHouseVal")
        cls.other_target = train(cls.models / "other.json", "Rent")

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.dir)
        self.cluster = self.dir / "cluster" / NAMESPACE
        self.cluster.mkdir(parents=True)
        self.environment = {**os.environ, "STACK_CLUSTER": str(self.dir / "cluster"), "STACK_REGISTRY": str(self.dir / "registry"),
                            "GITHUB_RUN_ID": "7"}

    def seed(self, model):
        """An image with this model, in service before the run."""
        return subprocess.run([sys.executable, HERE / "stand-ins/seed.py", model, NAMESPACE], env=self.environment,
                              check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def serve(self, model):
        """A ridged that watches the namespace's artifact, as one does in a pod whose image is replaced."""
        if not (self.cluster / "model.json").exists():
            shutil.copyfile(model, self.cluster / "model.json")
        log = self.dir / "ridged.log"
        with open(log, "wb") as out:
            ridged = subprocess.Popen([ROOT / "build/ridged", f"--model_dir={self.cluster}", "--watch_interval=1", "--host=127.0.0.1",
                                       "--model_name=california-housing", "--http_port=0", "--metrics_port=0", "--drain_delay=0"], stderr=out)
        self.addCleanup(lambda: (ridged.terminate(), ridged.wait()))
        end = time.monotonic() + 20
        while not (ready := [line for line in log.read_text().splitlines() if '"event":"ready"' in line]):
            self.assertLess(time.monotonic(), end, log.read_text())
            time.sleep(0.02)
        self.url = f"http://127.0.0.1:{json.loads(ready[0])['http_port']}"
        (self.cluster / "url").write_text(self.url)

    def served(self):
        with urllib.request.urlopen(self.url + "/metrics") as page:
            return next(line.split('sha256="')[1][:64] for line in page.read().decode().splitlines() if line.startswith("model_info{"))

    def image(self):
        path = self.cluster / "image"
        return path.read_text() if path.exists() else ""

    def begin(self, ratio="0", retrained=None, user="user01", environment=(), **settings):
        """Starts a run; finish() waits for it. ratio is what Prometheus says of errors, None nothing."""

        def prometheus(path, body, headers):
            value = "0.001" if "histogram_quantile" in path else ratio
            return 200, {"data": {"result": [] if value is None else [{"value": [0, value]}]}}

        server = serving(prometheus)
        url = server.__enter__()
        (self.dir / "cluster/monitoring").mkdir(exist_ok=True)
        (self.dir / "cluster/monitoring/prometheus_port").write_text(url.rsplit(":", 1)[1])
        self.addCleanup(server.__exit__, None, None, None)
        workflow = "cd-deploy.yaml"
        if retrained:
            workflow = str(self.dir / "retrained.yaml")
            pathlib.Path(workflow).write_text(RETRAINED)
        given = {"vars": {**ROLES, "GATEWAY_URL": self.url, "PROMETHEUS_URL": url, "VERIFY_SECONDS": "1.5", "VERIFY_INTERVAL": "0.2",
                          "VERIFY_WINDOW": "1", "READY_SECONDS": "20", "MODEL": str(retrained), **settings},
                 "inputs": {} if retrained else {"user_id": user, "reason": "test"}}
        for name, value in given.items():
            (self.dir / name).write_text(json.dumps(value))
        return subprocess.Popen(["node", HERE / "run.mjs", "--workflow", workflow, "--work", self.dir / "work", "--log", self.dir / "log",
                                 "--vars", self.dir / "vars", "--inputs", self.dir / "inputs"], env={**self.environment, **dict(environment)})

    def finish(self, process):
        process.wait(timeout=240)
        run = json.loads((self.dir / "work/run.json").read_text())
        self.steps = {(job["name"].split(" / ")[-1], step["name"]): step["conclusion"] for job in run["jobs"] for step in job["steps"]}
        self.jobs = {job["name"].split(" / ")[-1]: job["conclusion"] for job in run["jobs"]}
        self.log = (self.dir / "log").read_text()
        self.assertEqual(process.returncode, 0 if run["conclusion"] == "success" else 1)
        return run["conclusion"]

    def run_workflow(self, **given):
        return self.finish(self.begin(**given))

    def test_a_first_deployment_serves_the_bundled_model(self):
        self.serve(self.first)
        self.assertEqual(self.run_workflow(), "success", self.log)
        self.assertEqual(self.served(), sha256_of(BUNDLED))
        self.assertIn('"outcome": "in service"', self.log)

    def test_a_change_of_the_code_keeps_the_users_model(self):
        before = self.seed(self.first)
        self.serve(self.first)
        self.assertEqual(self.run_workflow(), "success", self.log)
        self.assertNotEqual(self.image(), before)
        self.assertEqual(self.served(), sha256_of(self.first))

    def test_the_retrained_model_is_what_is_served(self):
        self.seed(self.first)
        self.serve(self.first)
        self.assertEqual(self.run_workflow(retrained=self.second), "success", self.log)
        self.assertEqual(self.served(), sha256_of(self.second))

    def test_prometheus_is_found_through_the_cluster_where_no_address_is_given(self):
        self.seed(self.first)
        self.serve(self.first)
        self.assertEqual(self.run_workflow(retrained=self.second, PROMETHEUS_URL=""), "success", self.log)
        self.assertIn("latency p95", self.log)

    def test_a_breach_ends_with_the_old_digest_served_and_the_run_failed(self):
        before = self.seed(self.first)
        self.serve(self.first)
        self.assertEqual(self.run_workflow(retrained=self.second, ratio="0.2"), "failure")
        self.assertEqual((self.image(), self.served()), (before, sha256_of(self.first)))
        self.assertEqual(self.jobs["deploy-kserve"], "success")
        self.assertEqual(self.steps["verify-deployment", "Put the previous digest back, and prove it"], "success", self.log)
        self.assertIn("error ratio: 0.2, expected at most 0.05", self.log)
        self.assertIn(f'"outcome": "put back: {before}"', self.log)

    def test_a_version_that_cannot_be_watched_is_put_back(self):
        before = self.seed(self.first)
        self.serve(self.first)
        self.assertEqual(self.run_workflow(retrained=self.second, ratio=None), "failure")
        self.assertEqual((self.image(), self.served()), (before, sha256_of(self.first)))

    def test_one_that_does_not_get_ready_is_put_back(self):
        before = self.seed(self.first)
        self.serve(self.first)  # which refuses a model of another target
        self.assertEqual(self.run_workflow(retrained=self.other_target, READY_SECONDS="4"), "failure")
        self.assertIn("is not ready after 4 s", self.log)
        self.assertEqual((self.image(), self.served()), (before, sha256_of(self.first)))
        self.assertIn('"outcome": "put back', self.log)

    def test_a_first_deployment_that_breaches_fails_and_says_that_it_stays(self):
        self.serve(self.first)
        self.assertEqual(self.run_workflow(ratio="0.2"), "failure")
        self.assertIn("nothing was in service before", self.log)
        self.assertIn('"outcome": "not verified and not put back', self.log)

    def test_an_image_without_a_digest_gives_way_to_one_with(self):
        self.serve(self.first)
        (self.cluster / "image").write_text("ridged:0.1.0")
        self.assertEqual(self.run_workflow(retrained=self.second), "success", self.log)
        self.assertEqual(self.served(), sha256_of(self.second))
        self.assertIn("ridged:0.1.0 has no digest to go back to", self.log)

    def test_an_image_that_another_branch_signed_is_not_deployed(self):
        before = self.seed(self.first)
        self.serve(self.first)
        self.assertEqual(self.run_workflow(retrained=self.second, environment={"GITHUB_REF": "refs/heads/other"}), "failure")
        self.assertEqual(self.steps["deploy-kserve", "Verify who built it"], "failure")
        self.assertEqual((self.image(), self.served()), (before, sha256_of(self.first)))
        self.assertEqual(self.jobs["verify-deployment"], "skipped")
        self.assertIn('"outcome": "not deployed"', self.log)

    def test_a_cancelled_run_still_verifies_what_it_has_deployed(self):
        before = self.seed(self.first)
        self.serve(self.first)
        process = self.begin(retrained=self.second, ratio="0.2", VERIFY_SECONDS="8", VERIFY_WINDOW="6")
        end = time.monotonic() + 200
        while "answers: 8 rows to the bit" not in ((self.dir / "log").read_text() if (self.dir / "log").exists() else ""):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(self.finish(process), "failure")
        self.assertEqual((self.image(), self.served()), (before, sha256_of(self.first)))

    def test_who_is_not_listed_gets_nothing(self):
        self.serve(self.first)
        for user in ("user99", "user01\nuser99", "user01; touch owned", "$(shell touch owned)", "$(touch owned)", "../user01", ".*"):
            shutil.rmtree(self.dir / "work", ignore_errors=True)
            self.assertEqual(self.run_workflow(user=user), "failure")
            self.assertEqual(self.steps["build-and-push", "Check the inputs"], "failure")
            self.assertEqual((self.image(), list(self.dir.rglob("owned"))), ("", []))

    def canaries(self):
        """The share that each applied kustomization gives, as the real kustomize renders it, and its image's end."""
        found = []
        folder = ROOT / "build/deploy/test"
        folder.mkdir(parents=True, exist_ok=True)
        for applied in sorted((self.cluster / "applied").iterdir()):
            shutil.copyfile(applied, folder / "kustomization.yaml")
            text = subprocess.run([ROOT / "build/kustomize", "build", folder], check=True, stdout=subprocess.PIPE, text=True).stdout
            service = next(d for d in text.split("\n---\n") if "kind: InferenceService\n" in d)
            share = [line.split()[-1] for line in service.splitlines() if "canaryTrafficPercent" in line]
            image = next(line.split()[-1] for line in service.splitlines() if line.strip().startswith("image: "))
            self.assertRegex(image, "^registry.invalid/ridged@sha256:[0-9a-f]{64}$")
            self.assertIn(f"namespace: {NAMESPACE}\n", service)
            found.append((int(share[0]) if share else None, image))
        return found

    def test_standard_mode_applies_the_digest_and_nothing_else(self):
        self.seed(self.first)
        self.serve(self.first)
        self.assertEqual(self.run_workflow(retrained=self.second), "success", self.log)
        self.assertEqual(self.canaries(), [(None, self.image())])

    def test_knative_mode_gives_a_tenth_first_and_then_all(self):
        self.seed(self.first)
        self.serve(self.first)
        self.assertEqual(self.run_workflow(retrained=self.second, DEPLOYMENT_MODE="Knative"), "success", self.log)
        self.assertEqual(self.canaries(), [(10, self.image()), (None, self.image())])

    def test_knative_mode_takes_all_away_before_it_goes_back(self):
        before = self.seed(self.first)
        self.serve(self.first)
        self.assertEqual(self.run_workflow(retrained=self.second, DEPLOYMENT_MODE="Knative", ratio="0.2"), "failure")
        shares = self.canaries()
        self.assertEqual([share for share, _ in shares], [10, 0, None])
        self.assertEqual((shares[-1][1], self.image()), (before, before))
        self.assertEqual(shares[0][1], shares[1][1])


class Request(unittest.TestCase):
    """k8s/deploy/request.sh retrain, with GitHub's list of runs as a case wants it."""

    def request(self, lists, **changed):
        """lists: what each further call says, as (id, title); the last one is repeated."""
        self.asked = 0

        def api(path, body, headers):
            self.assertTrue(path.startswith("/repos/o/r/actions/workflows/retrain-model.yaml/runs?"), path)
            runs = lists[min(self.asked, len(lists) - 1)]
            self.asked += 1
            return 200, {"workflow_runs": [{"id": i, "display_title": title} for i, title in runs]}

        with serving(api) as url:
            environment = {"PATH": f"{HERE}/stand-ins/bin:{os.environ['PATH']}", "GITHUB_API_URL": url, "GITHUB_REPOSITORY": "o/r",
                           "GITHUB_RUN_ID": "1000", "GH_TOKEN": "t", "USER_ID": "user01", "DRIFT_SCORE": "0.12", "DRIFT_REASON": "mae 0.7",
                           "CORRELATION_ID": "id-12345678", "STAND_IN_PERMISSIONS": '{"actions": "read"}', **changed}
            done = subprocess.run(["sh", "k8s/deploy/request.sh", "retrain"], cwd=ROOT, env=environment, timeout=60,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.returncode, done.stdout

    MINE = (1000, "Retrain user01 (id-12345678)")

    def test_the_only_bearer_goes_on(self):
        self.assertEqual(self.request([[self.MINE, (999, "Retrain user01 (other-id-123)")]])[0], 0)

    def test_the_younger_of_two_ends_itself(self):
        code, out = self.request([[self.MINE, (999, "Retrain user01 (id-12345678)")]])
        self.assertEqual(code, 1)
        self.assertIn("run 999 already bears id-12345678", out)

    def test_the_older_of_two_goes_on(self):
        self.assertEqual(self.request([[self.MINE, (1001, "Retrain user01 (id-12345678)")]])[0], 0)

    def test_a_list_that_lags_is_asked_again(self):
        code, _ = self.request([[], [self.MINE, (999, "Retrain user01 (id-12345678)")]])
        self.assertEqual((code, self.asked), (1, 2))

    def test_what_is_not_sound_is_refused_before_github_is_asked(self):
        for name, values in {
            "USER_ID": ["", "user99", "user0.", "user01 ", "user01\n"],
            "DRIFT_SCORE": ["", "high", "-1", "nan", "1;", "0.1\n2", "9" * 40],
            "DRIFT_REASON": ["", "a\nb", "x" * 201, "\x1b[31m"],
            "CORRELATION_ID": ["", "short", "a b c d e f", "x" * 65, "12345678\n", "$(touch owned)"],
        }.items():
            for value in values:
                code, out = self.request([[self.MINE]], **{name: value})
                self.assertEqual((code, self.asked), (1, 0), f"{name}={value!r}: {out}")
                self.assertIn("expected", out)


if __name__ == "__main__":
    unittest.main()
