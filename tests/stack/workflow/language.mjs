// The language of workflows, by GitHub's own packages: a file is read and checked against GitHub's schema by
// @actions/workflow-parser, an expression is evaluated by @actions/expressions. What is known here besides is
// which keys the runner carries out; a file that says more is refused, never half understood.
import { readFileSync } from "node:fs";
import { register } from "node:module";
import path from "node:path";

register("./json_modules.mjs", import.meta.url);
const { parseWorkflow, convertWorkflowTemplate, NoOperationTraceWriter, isBasicExpression, isMapping, isSequence } =
  await import("@actions/workflow-parser");
const { Lexer, Parser, Evaluator, data } = await import("@actions/expressions");

export class Refused extends Error {}

const KEYS = {
  workflow: ["name", "run-name", "on", "permissions", "concurrency", "defaults", "env", "jobs"],
  job: ["name", "needs", "if", "runs-on", "container", "timeout-minutes", "environment", "permissions", "outputs",
    "env", "strategy", "steps"],
  call: ["name", "needs", "if", "permissions", "strategy", "uses", "with", "secrets"],
  step: ["id", "name", "if", "env", "uses", "with", "run", "continue-on-error", "timeout-minutes"],
};
const CONTEXTS = ["github", "inputs", "vars", "secrets", "needs", "strategy", "matrix", "job", "runner", "env", "steps"];
const STATUS = ["success", "failure", "cancelled", "always"].map((name) => ({ name, minArgs: 0, maxArgs: 0 }));

function members(token, known, where) {
  const found = {};
  for (let i = 0; i < token.count; i++) {
    const { key, value } = token.get(i);
    if (!known.includes(key.value)) throw new Refused(`${where}: ${key.value} is not carried out here`);
    found[key.value] = value;
  }
  return found;
}

// A workflow: {file, name, on, jobs: [{id, if, steps: [{if, ...}], ...}], ...}, every value a token for value().
// Conditions are as GitHub's parser completes them: success() && ... unless they ask for a status themselves.
export async function readWorkflow(file) {
  const source = { name: path.basename(file), content: readFileSync(file, "utf8") };
  const { context, value: root } = parseWorkflow(source, new NoOperationTraceWriter());
  const template = root && (await convertWorkflowTemplate(context, root));
  const errors = [...context.errors.getErrors(), ...(template?.errors ?? [])].map((e) => e.message ?? e.Message);
  if (errors.length) throw new Refused(`${source.name}: ${errors.join("; ")}`);
  const workflow = members(root, KEYS.workflow, source.name);
  if (JSON.stringify(workflow.defaults?.toJSON()) !== '{"type":2,"map":[{"Key":"run","Value":{"type":2,"map":[{"Key":"shell","Value":"bash"}]}}]}')
    throw new Refused(`${source.name}: expected defaults: run: shell: bash`);
  workflow.file = source.name;
  workflow.events = template.events;
  workflow.jobs = template.jobs.map((converted, i) => {
    const where = `${source.name}: ${converted.id.value}`;
    const token = workflow.jobs.get(i).value;
    const called = converted.type === "reusableWorkflowJob";
    const job = members(token, called ? KEYS.call : KEYS.job, where);
    job.id = converted.id.value;
    job.if = converted.if;
    job.needs = (converted.needs ?? []).map((need) => need.value);
    if (called) return job;
    job.steps = converted.steps.map((step, n) => ({ ...members(job.steps.get(n), KEYS.step, `${where}[${n}]`), if: step.if }));
    return job;
  });
  return workflow;
}

// An expression's value as plain data. status: which of the status functions say yes.
function evaluate(expression, contexts, status) {
  const tokens = new Lexer(expression).lex().tokens;
  const tree = new Parser(tokens, CONTEXTS, STATUS).parse();
  const known = JSON.parse(JSON.stringify(contexts), data.reviver);
  const functions = new Map(
    STATUS.map((info) => [info.name, { ...info, call: () => new data.BooleanData(status[info.name]) }])
  );
  const result = new Evaluator(tree, known, functions).evaluate();
  return JSON.parse(JSON.stringify(result, data.replacer) ?? "null");
}

const NONE = { success: false, failure: false, cancelled: false, always: true };

// What a token says, its expressions evaluated: text, number, truth, list or object.
export function value(token, contexts, status = NONE) {
  if (token === undefined) return undefined;
  if (isBasicExpression(token)) return evaluate(token.expression, contexts, status);
  if (isSequence(token)) return Array.from({ length: token.count }, (_, i) => value(token.get(i), contexts, status));
  if (isMapping(token)) {
    const found = {};
    for (let i = 0; i < token.count; i++) found[value(token.get(i).key, contexts)] = value(token.get(i).value, contexts);
    return found;
  }
  return token.value ?? token.toString();
}

export const text = (v) => (v === null || v === undefined ? "" : String(v));
export const truthy = (v) => !(v === false || v === 0 || v === "" || v === null || v === undefined);
