#!/usr/bin/env node
// Runs a committed workflow on this machine, step by step, with stand-ins for GitHub's actions and for the
// programs that need a cloud. README.md says what is replaced by what.
//
//   run.mjs --workflow NAME --work DIR [--inputs FILE] [--vars FILE] [--secrets FILE] [--log FILE] [--root DIR]
//
// NAME is a file of .github/workflows of --root (this project), or a path. --inputs, --vars and --secrets are
// JSON objects; the latter two may have `environments`, an object of further ones by environment. DIR, which
// must not be there, gets everything: run.json (conclusion, jobs, steps, times; rewritten after each step),
// artifacts, the jobs' workspaces. GITHUB_RUN_ID, GITHUB_REPOSITORY, GITHUB_API_URL, GITHUB_TOKEN,
// GITHUB_EVENT_NAME and GITHUB_REF come from the environment; STACK_CLUSTER and STACK_REGISTRY are passed on to the stand-ins, nothing else is.
//
// Exit code: 0 the run succeeded, 1 it did not, 2 it could not be started. SIGTERM cancels the run.
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { appendFileSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { ACTIONS } from "./actions.mjs";
import { Refused, readWorkflow, text, truthy, value } from "./language.mjs";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const BASH = ["bash", "--noprofile", "--norc", "-eo", "pipefail"]; // GitHub's for `shell: bash`
const JOB_MINUTES = 360;

const options = parseArgs({
  options: Object.fromEntries(
    ["workflow", "work", "inputs", "vars", "secrets", "log", "root"].map((name) => [name, { type: "string" }])
  ),
}).values;
const root = path.resolve(options.root ?? path.join(HERE, "../../.."));
const work = path.resolve(options.work);
const json = (file) => (file ? JSON.parse(readFileSync(file, "utf8")) : {});
const settings = { vars: json(options.vars), secrets: json(options.secrets) };

const run = { workflow: path.basename(options.workflow), run_id: process.env.GITHUB_RUN_ID ?? "1", conclusion: null, jobs: [] };
const masks = [];
let cancelled = false; // the run
let stays = () => false; // whether the job that runs is one that a cancelled run keeps
let child = null;

function log(line) {
  for (const secret of masks) line = line.replaceAll(secret, "***");
  if (options.log) appendFileSync(options.log, line);
  else process.stdout.write(line);
}

function save() {
  writeFileSync(path.join(work, "run.json.new"), JSON.stringify(run, null, 1));
  renameSync(path.join(work, "run.json.new"), path.join(work, "run.json"));
}

const now = () => new Date().toISOString();

// A job's or the repository's settings: those of its environment win.
function of(environment, kind) {
  const { environments = {}, ...plain } = settings[kind];
  return { ...plain, ...(environment ? environments[environment] : {}) };
}

function github(workflow) {
  const repository = process.env.GITHUB_REPOSITORY ?? "owner/name";
  return {
    repository,
    repository_owner: repository.split("/")[0],
    run_id: run.run_id,
    run_number: "1",
    run_attempt: "1",
    sha: "0".repeat(40),
    ref: process.env.GITHUB_REF ?? "refs/heads/main",
    actor: "stack",
    workflow: workflow.name?.value ?? workflow.file,
    event_name: process.env.GITHUB_EVENT_NAME ?? "workflow_dispatch",
    server_url: "https://github.com",
    api_url: process.env.GITHUB_API_URL ?? "",
    token: process.env.GITHUB_TOKEN ?? "token-of-the-run",
  };
}

// The inputs as a trigger of the file takes them.
function takeInputs(definitions = {}, given, where) {
  for (const name of Object.keys(given)) if (!(name in definitions)) throw new Refused(`${where}: Unexpected inputs provided: ${name}`);
  return Object.fromEntries(
    Object.entries(definitions).map(([name, definition]) => {
      const wanted = given[name] ?? value(definition.default) ?? definition.default ?? "";
      if (definition.required && wanted === "") throw new Refused(`${where}: input ${name} is required`);
      if (typeof wanted !== "string") throw new Refused(`${where}: input ${name}: expected text`);
      return [name, wanted];
    })
  );
}

// GITHUB_OUTPUT and GITHUB_ENV: name=value, or name<<MARK, lines, MARK.
function pairs(file) {
  const found = {};
  const lines = readFileSync(file, "utf8").split("\n");
  for (let i = 0; i < lines.length; i++) {
    const at = lines[i].search(/=|<</);
    if (at < 0) {
      if (lines[i]) throw new Error(`${lines[i]}: expected NAME=VALUE`);
    } else if (lines[i][at] === "=") found[lines[i].slice(0, at)] = lines[i].slice(at + 1);
    else {
      const end = lines.indexOf(lines[i].slice(at + 2), i + 1);
      if (end < 0) throw new Error(`${lines[i]}: expected an end`);
      found[lines[i].slice(0, at)] = lines.slice(i + 1, end).join("\n");
      i = end;
    }
  }
  return found;
}

function execute(script, env, cwd, milliseconds) {
  return new Promise((resolve) => {
    child = spawn(BASH[0], [...BASH.slice(1), script], { cwd, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
    const { pid } = child;
    child.stop = (signal) => {
      try {
        process.kill(-pid, signal);
      } catch {
        // It has ended.
      }
    };
    let late = false;
    const timer = setTimeout(() => ((late = true), child?.stop("SIGKILL")), milliseconds);
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", log);
    child.on("close", (code) => {
      clearTimeout(timer);
      child = null;
      resolve(late ? "timed_out" : code === 0 ? "success" : "failure");
    });
  });
}

async function runAction(step, inputs, job) {
  const [name, version] = step.uses.value.split("@");
  if (!/^[0-9a-f]{40}$/.test(version)) throw new Error(`${name}: expected a commit, got ${version}`);
  const outputs = await ACTIONS[name](inputs, job);
  return { conclusion: "success", outputs };
}

async function runScript(step, job, contexts, env, left) {
  const id = randomUUID();
  const file = (kind) => path.join(job.temp, `${id}.${kind}`);
  writeFileSync(file("sh"), text(value(step.run, contexts)));
  for (const kind of ["output", "env", "path"]) writeFileSync(file(kind), "");
  const conclusion = await execute(
    file("sh"),
    { ...env, GITHUB_OUTPUT: file("output"), GITHUB_ENV: file("env"), GITHUB_PATH: file("path"), GITHUB_STEP_SUMMARY: path.join(work, "summary.md") },
    job.workspace,
    Math.min(left, 60_000 * (value(step["timeout-minutes"], contexts) ?? JOB_MINUTES))
  );
  Object.assign(job.env, pairs(file("env")));
  return { conclusion, outputs: pairs(file("output")) };
}

function stepName(step, contexts) {
  if (step.name) return text(value(step.name, contexts));
  return step.uses ? `Run ${step.uses.value}` : `Run ${text(value(step.run, contexts)).split("\n")[0]}`;
}

// Of a job's steps; returns its conclusion. A failed step fails the job; what runs after it says its condition.
async function runSteps(definition, job, record, contexts) {
  const gone = () => cancelled && !stays();
  const deadline = Date.now() + 60_000 * (value(definition["timeout-minutes"], contexts) ?? JOB_MINUTES);
  let conclusion = "success";
  for (const step of definition.steps) {
    if (step.uses && !(step.uses.value.split("@")[0] in ACTIONS)) {
      log(`##[error]${step.uses.value}: this action is not in the table of stand-ins\n`);
      return "failure";
    }
  }
  for (const step of definition.steps) {
    const status = { success: conclusion === "success" && !gone(), failure: conclusion === "failure", cancelled: gone(), always: true };
    contexts.job = { status: gone() ? "cancelled" : conclusion };
    contexts.env = { ...job.workflowEnv, ...job.definedEnv, ...job.env };
    const stepRecord = { name: stepName(step, contexts), conclusion: null, started_at: now() };
    record.steps.push(stepRecord);
    let result = { conclusion: "skipped", outputs: {} };
    try {
      if (truthy(value(step.if, contexts, status))) {
        log(`\n##[step] ${record.name} / ${stepRecord.name}\n`);
        save();
        const stepEnv = value(step.env, contexts) ?? {};
        const env = Object.fromEntries(
          Object.entries({ ...job.base, ...contexts.env, ...stepEnv }).map(([name, v]) => [name, text(v)])
        );
        const inputs = Object.fromEntries(Object.entries(value(step.with, contexts) ?? {}).map(([k, v]) => [k, text(v)]));
        result = step.uses
          ? await runAction(step, inputs, job)
          : await runScript(step, job, contexts, env, Math.max(deadline - Date.now(), 1));
      }
    } catch (error) {
      log(`##[error]${error.message}\n`);
      result = { conclusion: "failure", outputs: {} };
    }
    if (result.conclusion === "timed_out") {
      log("##[error]it took too long\n");
      result.conclusion = "failure";
    }
    if (result.conclusion === "failure" && gone() && status.success) result.conclusion = "cancelled";
    const forgiven = result.conclusion === "failure" && truthy(value(step["continue-on-error"], contexts));
    if (result.conclusion === "failure" && !forgiven) conclusion = "failure";
    if (step.id)
      contexts.steps[step.id.value] = { outcome: result.conclusion, conclusion: forgiven ? "success" : result.conclusion, outputs: result.outputs };
    Object.assign(stepRecord, { conclusion: result.conclusion, completed_at: now() });
    save();
  }
  return gone() && conclusion === "success" ? "cancelled" : conclusion;
}

// permissions: of what is asked for, nothing may exceed what the caller has.
function permissionsOf(token, caller, where) {
  const asked = value(token, {});
  if (!caller) return asked ?? {};
  for (const [name, level] of Object.entries(asked ?? {})) {
    if (level !== "none" && caller[name] !== level && caller[name] !== "write")
      throw new Refused(`${where}: asks for ${name}: ${level}, which its caller does not have`);
  }
  return asked ?? caller;
}

async function runJob(workflow, definition, record, contexts, caller) {
  const environment = text(value(definition.environment, contexts)) || undefined;
  contexts.vars = of(environment, "vars");
  // A called workflow has the secrets that it is given, and those of its jobs' environments.
  const passed = caller.secrets ?? of(undefined, "secrets");
  contexts.secrets = { GITHUB_TOKEN: contexts.github.token, ...passed, ...(environment ? settings.secrets.environments?.[environment] : {}) };
  masks.push(...Object.values(contexts.secrets).filter((s) => typeof s === "string" && s && !masks.includes(s)));
  const folder = path.join(work, "jobs", record.name.replaceAll(/[^\w.-]+/g, "_"));
  const job = {
    root,
    workspace: path.join(folder, "workspace"),
    temp: path.join(folder, "temp"),
    artifacts: path.join(work, "artifacts"),
    permissions: permissionsOf(definition.permissions ?? workflow.permissions, caller.permissions, record.name),
    env: {},
  };
  for (const made of [job.workspace, job.temp, path.join(folder, "home")]) mkdirSync(made, { recursive: true });
  const g = contexts.github;
  job.base = {
    PATH: `${path.join(HERE, "stand-ins/bin")}:${process.env.PATH}`,
    HOME: path.join(folder, "home"),
    LANG: "C.UTF-8",
    TMPDIR: job.temp,
    CI: "true",
    RUNNER_TEMP: job.temp,
    GITHUB_ACTIONS: "true",
    GITHUB_WORKSPACE: job.workspace,
    ...Object.fromEntries(Object.entries(g).filter(([k]) => k !== "token").map(([k, v]) => [`GITHUB_${k.toUpperCase()}`, v])),
    ...Object.fromEntries(["STACK_CLUSTER", "STACK_REGISTRY"].map((k) => [k, process.env[k] ?? ""])),
    STAND_IN_PERMISSIONS: JSON.stringify(job.permissions),
    STAND_IN_IDENTITY: `${g.server_url}/${g.repository}/.github/workflows/${workflow.file}@${g.ref}`,
    STAND_IN_STATE: path.join(folder, "temp"),
  };
  contexts.runner = { os: "Linux", temp: job.temp };
  contexts.steps = {};
  job.workflowEnv = value(workflow.env, contexts) ?? {};
  contexts.env = job.workflowEnv;
  job.definedEnv = value(definition.env, contexts) ?? {};
  const conclusion = await runSteps(definition, job, record, contexts);
  const outputs = value(definition.outputs, contexts) ?? {};
  return { conclusion, outputs };
}

async function callWorkflow(workflow, definition, name, contexts, caller) {
  const uses = definition.uses.value;
  if (!uses.startsWith("./.github/workflows/")) throw new Refused(`${uses}: only workflows of this repository can be called`);
  const called = await readWorkflow(path.join(root, uses));
  const events = called.events.workflow_call;
  if (!events) throw new Refused(`${uses}: has no workflow_call`);
  const secrets = { ...of(undefined, "secrets"), GITHUB_TOKEN: contexts.github.token };
  const passed = value(definition.secrets, { ...contexts, secrets: caller.secrets ?? secrets }) ?? {};
  for (const secret of Object.keys(passed)) if (!(secret in (events.secrets ?? {}))) throw new Refused(`${uses}: takes no secret ${secret}`);
  const inputs = takeInputs(events.inputs, value(definition.with, { ...contexts, vars: of(undefined, "vars") }) ?? {}, uses);
  const permissions = permissionsOf(definition.permissions ?? workflow.permissions, caller.permissions, name);
  const conclusion = await runJobs(called, inputs, { prefix: `${name} / `, permissions, secrets: passed });
  return { conclusion, outputs: {} };
}

// The combinations of a strategy's matrix, as GitHub makes them of lists and `include`.
function combinations(matrix = {}) {
  const { include = [], exclude, ...axes } = matrix;
  if (exclude) throw new Refused("matrix: exclude is not carried out here");
  let all = [{}];
  for (const [name, list] of Object.entries(axes)) all = all.flatMap((c) => list.map((v) => ({ ...c, [name]: v })));
  if (!Object.keys(axes).length && include.length) return include;
  const original = all.map((c) => ({ ...c }));
  for (const extra of include) {
    const fits = all.filter((_, i) => original[i] && Object.entries(extra).every(([k, v]) => !(k in original[i]) || original[i][k] === v));
    if (fits.length) fits.forEach((c) => Object.assign(c, extra));
    else all.push({ ...extra });
  }
  return all;
}

// The jobs of a workflow, one after the other, each behind those it needs. A job whose condition does not ask
// runs if all before it succeeded; skipping is not success.
async function runJobs(workflow, inputs, caller) {
  const done = {};
  const ancestors = (id) => {
    const needs = workflow.jobs.find((job) => job.id === id).needs;
    return new Set(needs.flatMap((need) => [need, ...ancestors(need)]));
  };
  const waiting = [...workflow.jobs];
  while (waiting.length) {
    const at = waiting.findIndex((job) => job.needs.every((need) => done[need]));
    const [definition] = waiting.splice(at, 1);
    const before = [...ancestors(definition.id)].map((id) => done[id].result);
    const status = {
      success: before.every((r) => r === "success") && !cancelled,
      failure: before.includes("failure"),
      cancelled,
      always: true,
    };
    const contexts = {
      github: github(workflow),
      inputs,
      needs: Object.fromEntries(definition.needs.map((id) => [id, done[id]])),
      vars: of(undefined, "vars"),
    };
    const results = [];
    let outputs = {};
    if (truthy(value(definition.if, contexts, status))) {
      stays = () => truthy(value(definition.if, contexts, { success: false, failure: false, cancelled: true, always: true }));
      const strategy = value(definition.strategy, contexts) ?? {};
      for (const matrix of combinations(strategy.matrix)) {
        const base = { ...contexts, matrix, strategy: {} };
        const suffix = Object.keys(matrix).length ? ` (${Object.values(matrix).join(", ")})` : "";
        const name = `${caller.prefix}${definition.name ? text(value(definition.name, base)) : definition.id}${definition.name ? "" : suffix}`;
        if (definition.uses) {
          const result = await callWorkflow(workflow, definition, name, base, caller);
          results.push(result.conclusion);
        } else {
          const record = { name, conclusion: null, started_at: now(), steps: [] };
          run.jobs.push(record);
          let result;
          try {
            result = await runJob(workflow, definition, record, base, caller);
          } catch (error) {
            log(`##[error]${error.message}\n`);
            result = { conclusion: "failure", outputs: {} };
          }
          Object.assign(record, { conclusion: result.conclusion, completed_at: now(), outputs: result.outputs });
          results.push(result.conclusion);
          outputs = result.outputs;
        }
        if (results.at(-1) !== "success" && strategy["fail-fast"] !== false) break;
      }
    } else {
      run.jobs.push({ name: `${caller.prefix}${definition.id}`, conclusion: "skipped", steps: [] });
    }
    const result = ["failure", "cancelled"].find((r) => results.includes(r)) ?? (results.length ? "success" : "skipped");
    done[definition.id] = { result, outputs };
    save();
  }
  const ends = Object.values(done).map((d) => d.result);
  return ["failure", "cancelled"].find((r) => ends.includes(r)) ?? (ends.every((r) => r === "skipped") ? "skipped" : "success");
}

async function main() {
  if (existsSync(work)) throw new Refused(`${work}: is there already`);
  mkdirSync(path.join(work, "artifacts"), { recursive: true });
  const file = options.workflow.includes("/") ? options.workflow : path.join(root, ".github/workflows", options.workflow);
  const workflow = await readWorkflow(file);
  const inputs = takeInputs(workflow.events.workflow_dispatch?.inputs, json(options.inputs), workflow.file);
  run.name = text(value(workflow["run-name"], { inputs, github: github(workflow) })) || workflow.file;
  run.started_at = now();
  save();
  const conclusion = await runJobs(workflow, inputs, { prefix: "" });
  run.conclusion = cancelled && conclusion !== "failure" ? "cancelled" : conclusion;
  run.completed_at = now();
  save();
  log(`\n##[run] ${run.name}: ${run.conclusion}\n`);
  return run.conclusion === "success" ? 0 : 1;
}

process.on("SIGTERM", () => {
  cancelled = true;
  if (!stays()) child?.stop("SIGTERM");
});

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof Refused)) throw error;
  console.error(error.message);
  process.exitCode = 2;
}
