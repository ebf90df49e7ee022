// The runner must not be kinder than GitHub: what fails there has to fail here.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const HEAD = "defaults: { run: { shell: bash } }\npermissions: { contents: read, actions: read }\n";
const SHA = "0".repeat(40);

// Runs a workflow's text; further files of .github/workflows by name. Returns what became of it.
function start(text, { files = {}, inputs, vars, secrets, env = {} } = {}) {
  const root = mkdtempSync(path.join(os.tmpdir(), "runner-"));
  const at = (name) => path.join(root, name);
  mkdirSync(at(".github/workflows"), { recursive: true });
  for (const [name, content] of Object.entries({ "main.yaml": text, ...files }))
    writeFileSync(at(`.github/workflows/${name}`), HEAD + content);
  execFileSync("git", ["init", "-q"], { cwd: root });
  writeFileSync(at("tracked"), "tracked\n");
  execFileSync("git", ["add", "tracked"], { cwd: root });
  const given = Object.entries({ inputs, vars, secrets }).filter(([, v]) => v);
  for (const [name, v] of given) writeFileSync(at(name), JSON.stringify(v));
  const child = spawn(process.execPath, [path.join(HERE, "run.mjs"), "--root", root, "--workflow", "main.yaml",
    "--work", at("work"), "--log", at("log"), ...given.flatMap(([name]) => [`--${name}`, at(name)])],
    { env: { PATH: process.env.PATH, ...env }, stdio: ["ignore", "ignore", "pipe"] });
  let complaint = "";
  child.stderr.on("data", (d) => (complaint += d));
  const read = (name) => (existsSync(at(name)) ? readFileSync(at(name), "utf8") : "");
  const ended = new Promise((resolve) => child.on("close", (code) => {
    const run = JSON.parse(read("work/run.json") || "null");
    const result = { code, complaint, log: read("log"), run, jobs: {}, steps: {} };
    for (const job of run?.jobs ?? []) {
      result.jobs[job.name] = job.conclusion;
      for (const step of job.steps) result.steps[step.name] = step.conclusion;
    }
    rmSync(root, { recursive: true });
    resolve(result);
  }));
  return { child, ended, read, root };
}

const run = (...given) => start(...given).ended;
const job = (steps, more = "") => `on: workflow_dispatch\njobs:\n  one:\n    runs-on: ubuntu-24.04\n${more}    steps:\n${steps}`;

test("a failing step fails the run, and what follows it says its condition", async () => {
  const r = await run(job(`      - { name: fails, run: exit 3 }
      - { name: plain, run: "true" }
      - { name: always, if: always(), run: "true" }
      - { name: failure, if: failure(), run: "true" }
      - { name: success, if: success() || env.X == 'y', run: "true" }
`));
  assert.equal(r.code, 1);
  assert.equal(r.run.conclusion, "failure");
  assert.deepEqual(r.steps, { fails: "failure", plain: "skipped", always: "success", failure: "success", success: "skipped" });
});

test("a failure on the left of a pipe or before the last line is a failure", async () => {
  assert.equal((await run(job("      - { run: exit 1 | cat }\n"))).code, 1);
  assert.equal((await run(job('      - { run: "false\\ntrue" }\n'))).code, 1);
});

test("a job behind one that failed or was skipped is skipped, unless it asks for always", async () => {
  const r = await run(`on: workflow_dispatch
jobs:
  a: { runs-on: x, steps: [{ run: exit 1 }] }
  b: { needs: a, runs-on: x, steps: [{ run: "true" }] }
  c: { needs: b, runs-on: x, steps: [{ run: "true" }] }
  d: { needs: [a, c], if: always(), runs-on: x, steps: [{ run: 'test "$A$C" = failureskipped', env: { A: "\${{ needs.a.result }}", C: "\${{ needs.c.result }}" } }] }
  e: { if: "false", runs-on: x, steps: [{ run: "true" }] }
  f: { needs: e, runs-on: x, steps: [{ run: "true" }] }
`);
  assert.deepEqual(r.jobs, { a: "failure", b: "skipped", c: "skipped", d: "success", e: "skipped", f: "skipped" });
  assert.equal(r.code, 1);
});

test("an action that is not in the table fails its job before a step runs", async () => {
  const r = await run(job(`      - { name: before, run: "true" }\n      - uses: some/action@${SHA}\n`));
  assert.equal(r.jobs.one, "failure");
  assert.deepEqual(r.steps, {});
});

test("an action without a commit fails", async () => {
  assert.equal((await run(job("      - uses: actions/checkout@v7\n"))).jobs.one, "failure");
  assert.equal((await run(job(`      - uses: actions/checkout@${SHA}\n      - run: grep tracked tracked\n`))).jobs.one, "success");
});

test("an input that a stand-in does not know fails, and so does a command", async () => {
  assert.equal((await run(job(`      - { uses: actions/checkout@${SHA}, with: { ref: x } }\n`))).code, 1);
  const ready = "export STAND_IN_ROLE=x && mkdir -p ~/.kube && touch ~/.kube/config && ";
  for (const command of ["docker push x", "kubectl delete pod x", "cosign attest x", "aws s3 ls", "gh run list"]) {
    const r = await run(job(`      - run: ${ready}${command}\n`), { env: { STACK_CLUSTER: "/x", STACK_REGISTRY: "/x" } });
    assert.equal(r.code, 1, command);
    assert.match(r.log, /not known|invalid choice/, command);
  }
});

test("outputs go from steps to jobs, several lines whole, and variables to later steps", async () => {
  const r = await run(`on: workflow_dispatch
jobs:
  a:
    runs-on: x
    outputs: { one: "\${{ steps.s.outputs.one }}", two: "\${{ steps.s.outputs.two }}" }
    steps:
      - id: s
        run: |
          echo one=1=1 >>"$GITHUB_OUTPUT"
          printf 'two<<END\\nx\\ny\\nEND\\n' >>"$GITHUB_OUTPUT"
          echo LATER=yes >>"$GITHUB_ENV"
      - run: test "$LATER" = yes
  b:
    needs: a
    runs-on: x
    steps:
      - run: test "$ONE" = 1=1 && test "$TWO" = $'x\\ny'
        env: { ONE: "\${{ needs.a.outputs.one }}", TWO: "\${{ needs.a.outputs.two }}" }
`);
  assert.equal(r.code, 0, r.log);
});

test("artifacts reach later jobs, bear one name once, and are missed", async () => {
  const up = `{ uses: actions/upload-artifact@${SHA}, with: { name: n, path: out, if-no-files-found: error } }`;
  const down = `{ uses: actions/download-artifact@${SHA}, with: { name: n, path: in/here } }`;
  const two = (first, second) => `on: workflow_dispatch
jobs:
  a: { runs-on: x, steps: [${first}] }
  b: { needs: a, if: always(), runs-on: x, steps: [${second}] }
`;
  const made = '{ run: "mkdir out && echo 7 >out/file" }';
  assert.equal((await run(two(`${made}, ${up}`, `${down}, { run: grep 7 in/here/file }`))).code, 0);
  assert.equal((await run(two(`${made}, ${up}, ${up}`, down))).jobs.a, "failure");
  const missed = await run(two(up, down));
  assert.deepEqual(missed.jobs, { a: "failure", b: "failure" });
});

const CALLED = `on:
  workflow_call:
    inputs: { who: { required: true, type: string }, why: { default: none, type: string } }
    secrets: { S: { required: false } }
jobs:
  deep:
    runs-on: x
    permissions: { PERMISSION }
    environment: "env-\${{ inputs.who }}"
    steps:
      - run: test "$WHO/$WHY/$S/$E" = me/none/passed/inner
        env: { WHO: "\${{ inputs.who }}", WHY: "\${{ inputs.why }}", S: "\${{ secrets.S }}", E: "\${{ secrets.E }}" }
`;
const CALLER = `on: workflow_dispatch
jobs:
  call:
    uses: ./.github/workflows/called.yaml
    with: { who: me }
    secrets: { S: "\${{ secrets.OUTER }}" }
  after: { needs: call, runs-on: x, steps: [{ run: 'test -z "$E"', env: { E: "\${{ secrets.E }}" } }] }
`;
const SECRETS = { OUTER: "passed", environments: { "env-me": { E: "inner" } } };

test("a called workflow has its inputs, the secrets it is given and those of its environment, and no others", async () => {
  const good = { "called.yaml": CALLED.replace("PERMISSION", "contents: read") };
  const r = await run(CALLER, { files: good, secrets: SECRETS });
  assert.deepEqual(r.jobs, { "call / deep": "success", after: "success" }, r.log);
  const failing = { "called.yaml": good["called.yaml"].replace("me/none", "you/none") };
  const f = await run(CALLER, { files: failing, secrets: SECRETS });
  assert.deepEqual(f.jobs, { "call / deep": "failure", after: "skipped" });
  assert.equal(f.code, 1);
});

test("a called workflow cannot have more rights than its caller", async () => {
  const files = { "called.yaml": CALLED.replace("PERMISSION", "id-token: write") };
  const r = await run(CALLER, { files, secrets: SECRETS });
  assert.notEqual(r.code, 0);
  assert.match(r.log + r.complaint, /id-token: write, which its caller does not have/);
});

test("a secret is not in the log, nor in another environment", async () => {
  const text = job('      - run: \'echo "[$S]"\'\n        env: { S: "${{ secrets.E }}" }\n', "    environment: env-me\n");
  const r = await run(text, { secrets: SECRETS });
  assert.match(r.log, /\[\*\*\*\]/);
  assert.match((await run(text.replace("env-me", "env-you"), { secrets: SECRETS })).log, /\[\]/);
});

test("a step sees nothing of the caller's environment", async () => {
  assert.equal((await run(job('      - run: test -z "$LEAK"\n'), { env: { LEAK: "x" } })).code, 0);
});

test("a matrix runs every combination, or stops at the first that fails", async () => {
  const text = (fast) => job('      - { run: test "$V" != 2, env: { V: "${{ matrix.v }}" } }\n', `    strategy: { fail-fast: ${fast}, matrix: { v: [1, 2, 3] } }\n`);
  assert.deepEqual((await run(text(false))).jobs, { "one (1)": "success", "one (2)": "failure", "one (3)": "success" });
  assert.deepEqual((await run(text(true))).jobs, { "one (1)": "success", "one (2)": "failure" });
});

test("inputs are those of the trigger", async () => {
  const text = 'on: { workflow_dispatch: { inputs: { a: { required: true, type: string } } } }\nrun-name: "run (${{ inputs.a }})"\n' +
    "jobs: { one: { runs-on: x, steps: [{ run: 'true' }] } }\n";
  assert.equal((await run(text, { inputs: { a: "x" } })).run.name, "run (x)");
  assert.equal((await run(text)).code, 2);
  assert.match((await run(text, { inputs: { a: "x", b: "y" } })).complaint, /Unexpected inputs provided: b/);
});

test("what GitHub refuses or the runner does not carry out is refused, not skipped", async () => {
  assert.equal((await run(job("      - { runs: x }\n"))).code, 2);
  assert.equal((await run(job("      - { run: x }\n", "    neds: a\n"))).code, 2);
  assert.match((await run(job("      - { run: x, shell: python }\n"))).complaint, /shell is not carried out/);
  assert.match((await run(job("      - { run: x }\n", "    services: { a: { image: b } }\n"))).complaint, /services is not carried out/);
});

test("a step that takes too long is killed with all it started", async () => {
  const r = await run(job('      - { name: slow, timeout-minutes: 0.005, run: sleep 600 | cat }\n      - { name: after, if: failure(), run: "true" }\n'));
  assert.deepEqual(r.steps, { slow: "failure", after: "success" });
});

test("a cancelled run stops its step, and what asks for it still runs", async () => {
  const running = start(job(`      - { name: slow, run: echo begun && sleep 600 }
      - { name: plain, run: "true" }
      - { name: back, if: failure() || cancelled(), run: "true" }
`));
  while (!running.read("log").includes("begun")) await new Promise((r) => setTimeout(r, 20));
  running.child.kill("SIGTERM");
  const r = await running.ended;
  assert.deepEqual(r.steps, { slow: "cancelled", plain: "skipped", back: "success" });
  assert.equal(r.run.conclusion, "cancelled");
  assert.equal(r.code, 1);
});

test("a job that always runs is not cancelled with its run", async () => {
  const running = start(`on: workflow_dispatch
jobs:
  a: { runs-on: x, steps: [{ run: "true" }] }
  b: { needs: a, if: always(), runs-on: x, steps: [{ run: "echo begun; for i in $(seq 500); do [ ! -e ../../../go ] || exit 0; sleep 0.02; done; exit 1" }, { run: "true" }] }
  c: { needs: b, runs-on: x, steps: [{ run: "true" }] }
`);
  while (!running.read("log").includes("begun")) await new Promise((r) => setTimeout(r, 20));
  running.child.kill("SIGTERM");
  writeFileSync(path.join(running.root, "work/go"), "");
  const r = await running.ended;
  assert.deepEqual(r.jobs, { a: "success", b: "success", c: "skipped" });
  assert.equal(r.run.conclusion, "cancelled");
});
