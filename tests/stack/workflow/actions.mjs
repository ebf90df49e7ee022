// What is done in place of an action. A closed table: an action that is not in it fails its job. Each is called
// with (inputs, job) and returns its outputs; job.permissions is what the job may do on GitHub.
import { cpSync, existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { execFileSync } from "node:child_process";
import path from "node:path";

function takes(inputs, names) {
  for (const name of Object.keys(inputs)) if (!names.includes(name)) throw new Error(`input ${name}: not known here`);
}

function has(inputs, ...names) {
  for (const name of names) if (!inputs[name]) throw new Error(`input ${name}: expected a value`);
}

function may(job, permission, level) {
  const given = job.permissions[permission];
  if (given !== level && given !== "write") throw new Error(`the job lacks permission ${permission}: ${level}`);
}

// The tracked files as they are, and what was built already, with their times: make builds what has changed.
function checkout(inputs, job) {
  takes(inputs, ["persist-credentials"]);
  may(job, "contents", "read");
  const git = { cwd: job.root, maxBuffer: 1 << 26 };
  const files = execFileSync("git", ["ls-files", "-z"], git).toString().split("\0").filter((f) => f && existsSync(path.join(job.root, f)));
  const built = ["build/ridge", "build/ridged", "build/ridge-relay", "build/release", "build/ui"];
  const list = [...files, ...built.filter((f) => existsSync(path.join(job.root, f)))].join("\n");
  const tar = execFileSync("tar", ["-c", "--exclude=build/release/tests", "-T", "-"], { ...git, input: list, maxBuffer: 1 << 30 });
  execFileSync("tar", ["-x"], { cwd: job.workspace, input: tar });
  return {};
}

function upload(inputs, job) {
  takes(inputs, ["name", "path", "if-no-files-found", "retention-days"]);
  has(inputs, "name", "path");
  const from = path.resolve(job.workspace, inputs.path);
  const to = path.join(job.artifacts, inputs.name);
  if (existsSync(to)) throw new Error(`artifact ${inputs.name}: there already`);
  if (!existsSync(from) || (statSync(from).isDirectory() && readdirSync(from).length === 0)) {
    if (inputs["if-no-files-found"] === "error") throw new Error(`${inputs.path}: no file`);
    return {};
  }
  mkdirSync(to, { recursive: true });
  cpSync(from, statSync(from).isDirectory() ? to : path.join(to, path.basename(from)), { recursive: true });
  return {};
}

function download(inputs, job) {
  takes(inputs, ["name", "path"]);
  has(inputs, "name", "path");
  const from = path.join(job.artifacts, inputs.name);
  if (!existsSync(from)) throw new Error(`artifact ${inputs.name}: not found`);
  cpSync(from, path.resolve(job.workspace, inputs.path), { recursive: true });
  return {};
}

function credentials(inputs, job) {
  takes(inputs, ["role-to-assume", "aws-region"]);
  has(inputs, "role-to-assume", "aws-region");
  may(job, "id-token", "write");
  Object.assign(job.env, { AWS_REGION: inputs["aws-region"], STAND_IN_ROLE: inputs["role-to-assume"] });
  return {};
}

function login(inputs, job) {
  takes(inputs, []);
  if (!job.env.STAND_IN_ROLE) throw new Error("no AWS credentials");
  return { registry: "registry.invalid" };
}

function nothing(inputs) {
  takes(inputs, ["go-version", "cache", "node-version", "package-manager-cache"]);
  return {};
}

export const ACTIONS = {
  "actions/checkout": checkout,
  "actions/upload-artifact": upload,
  "actions/download-artifact": download,
  "actions/setup-go": nothing,
  "actions/setup-node": nothing,
  "aws-actions/configure-aws-credentials": credentials,
  "aws-actions/amazon-ecr-login": login,
  "docker/setup-buildx-action": nothing,
  "sigstore/cosign-installer": nothing,
};
