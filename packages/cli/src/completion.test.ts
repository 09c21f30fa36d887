import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { systemClock } from "@flocker/host";
import { flocker, recordingTerminal, temporaryFolder } from "./cli-fixtures.test.ts";
import { complete } from "./completion.ts";
import { buildProgram } from "./program.ts";

const program = buildProgram(
  {
    terminal: recordingTerminal().terminal,
    env: {},
    workingFolder: "/",
    homeFolder: "/",
    clock: systemClock,
    interrupted: new AbortController().signal,
    finish: () => undefined,
  },
  "1.0.0",
);

function words(...typed: string[]): readonly string[] {
  const completion = complete(program, typed);
  assert.equal(completion.kind, "words");
  return completion.kind === "words" ? completion.words : [];
}

test("commands are completed, also below others; hidden ones are not", () => {
  assert.deepEqual(words("mo"), ["move"]);
  assert.ok(words("").includes("list"));
  assert.ok(!words("").includes("__complete"));
  assert.deepEqual(words("ca", "re"), ["renew", "revoke"]);
});

test("options are completed, and the values that some can have", () => {
  assert.deepEqual(words("move", "--wa"), ["--wait"]);
  assert.deepEqual(words("wait", "--for", ""), ["converged", "mounted"]);
  assert.deepEqual(words("wait", "--for=m"), ["--for=mounted"]);
  assert.deepEqual(words("completion", ""), ["bash", "zsh"]);
});

test("datasets, nodes and files stand where they belong", () => {
  assert.deepEqual(complete(program, ["move", ""]), { kind: "datasets", deleted: false });
  assert.deepEqual(complete(program, ["move", "pg1", ""]), { kind: "nodes" });
  assert.deepEqual(complete(program, ["move", "--wait", "--timeout", "5m", "pg1", ""]), { kind: "nodes" });
  assert.deepEqual(complete(program, ["mv", "--json", ""]), { kind: "datasets", deleted: false });
  assert.deepEqual(complete(program, ["undelete", ""]), { kind: "datasets", deleted: true });
  assert.deepEqual(complete(program, ["delete", "a", "b", ""]), { kind: "datasets", deleted: false });
  assert.deepEqual(complete(program, ["create", "x", "-n", ""]), { kind: "nodes" });
  assert.deepEqual(complete(program, ["apply", "-f", ""]), { kind: "files" });
  assert.deepEqual(complete(program, ["ca", "show", ""]), { kind: "files" });
  assert.deepEqual(complete(program, ["list", "--key", ""]), { kind: "files" });
  assert.deepEqual(complete(program, ["move", "--", "-x", ""]), { kind: "nodes" });
});

test("where nothing can be known, nothing is said, and it is no failure", async (t) => {
  assert.deepEqual(words("create", ""), []);
  assert.deepEqual(words("move", "a", "b", "c"), []);
  const offline = await flocker(["__complete", "--", "move", ""], { folder: await temporaryFolder(t) });
  assert.deepEqual(offline, { exitCode: 0, out: "", error: "" });
});

test("bash completes with the script", async (t) => {
  const folder = await temporaryFolder(t);
  const { out: script } = await flocker(["completion", "bash"]);
  const answer = '#!/bin/sh\nprintf "%s\\n" "$@" >"$0.args"\nprintf "list\\nlease pool\\n"\n';
  await writeFile(join(folder, "flocker"), answer, { mode: 0o755 });
  const line = `PATH="${folder}:$PATH"; ${script}
COMP_WORDS=(flocker l); COMP_CWORD=1; _flocker; printf '%s|' "\${COMPREPLY[@]}"`;
  const { stdout } = await promisify(execFile)("bash", ["-c", line]);
  assert.equal(stdout, "list|lease pool|");
  assert.equal(await readFile(join(folder, "flocker.args"), "utf8"), "__complete\n--\nl\n");
});

test("zsh completes with the script", async (t) => {
  const folder = await temporaryFolder(t);
  const { out: script } = await flocker(["completion", "zsh"]);
  const answer = '#!/bin/sh\nprintf "%s\\n" "$@" >"$0.args"\nprintf "list\\nlease pool\\n"\n';
  await writeFile(join(folder, "flocker"), answer, { mode: 0o755 });
  // Outside of a completion there is no compadd: this one shows what it is given.
  const line = `path=("${folder}" $path); compdef() { :; }; compadd() { printf '%s|' "$@"; }
${script}
words=(flocker show l); CURRENT=3; _flocker`;
  try {
    const { stdout } = await promisify(execFile)("zsh", ["-fc", line]);
    assert.equal(stdout, "--|list|lease pool|");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    t.skip("zsh is not installed");
    return;
  }
  assert.equal(await readFile(join(folder, "flocker.args"), "utf8"), "__complete\n--\nshow\nl\n");
});
