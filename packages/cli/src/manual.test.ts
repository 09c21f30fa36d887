import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import type { Command } from "commander";
import { systemClock } from "@flocker/host";
import { recordingTerminal } from "./cli-fixtures.test.ts";
import { exitCodeMeanings } from "./exit-codes.ts";
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

function visible(command: Command): readonly Command[] {
  const children = command.createHelp().visibleCommands(command);
  return children.filter((child) => child.name() !== "help").flatMap((child) => [child, ...visible(child)]);
}

const manual = await readFile(new URL("../../../docs/reference/command-line.md", import.meta.url), "utf8");

test("the manual has every command, and none that does not exist", () => {
  const listed = [...manual.matchAll(/^\| `flocker ([a-z-]+)/gm)].map((match) => match[1]);
  const existing = visible(program)
    .filter((command) => command.parent === program)
    .map((command) => command.name());
  assert.deepEqual(listed.toSorted(), existing.toSorted());
});

test("the manual has every exit code with its meaning", () => {
  const rows = [...manual.matchAll(/^\| (\d+) +\| (.*?) +\|$/gm)].map(
    (match) => [match[1], match[2]] as const,
  );
  assert.deepEqual(
    rows.map(([code]) => code),
    exitCodeMeanings.map(([code]) => String(code)),
  );
  for (const [index, [, meaning]] of exitCodeMeanings.entries()) {
    assert.ok(rows[index]?.[1]?.replaceAll("`", "").startsWith(meaning), meaning);
  }
});

test("every command has a description and, where it takes anything, examples", () => {
  for (const command of visible(program)) {
    assert.notEqual(command.description(), "", command.name());
    const { terminal, written } = recordingTerminal();
    command.configureOutput({ writeOut: (text) => terminal.out(text) });
    command.outputHelp();
    const example = new RegExp(`^ +(\\$ |bash, ).*flocker .*${command.name()}`, "m");
    assert.match(written().out, example, `${command.name()} --help has an example of itself`);
  }
});
