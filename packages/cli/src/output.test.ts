import assert from "node:assert/strict";
import { test } from "node:test";
import { recordingTerminal } from "./cli-fixtures.test.ts";
import { printable, printProblem, renderTable } from "./output.ts";

test("columns are as wide as their longest value, two spaces apart, without trailing spaces", () => {
  const lines = renderTable(
    { colour: false },
    [
      { title: "NAME", value: (row: readonly string[]) => row[0] ?? "" },
      { title: "SIZE", value: (row) => row[1] ?? "", alignRight: true },
      { title: "NOTE", value: (row) => row[2] ?? "" },
    ],
    [
      ["a", "1", ""],
      ["büro-α", "1000000", "x"],
    ],
  );
  assert.deepEqual(lines, ["NAME       SIZE  NOTE", "a             1", "büro-α  1000000  x"]);
});

test("colour changes no widths and is left out where it is not wanted", () => {
  const columns = [{ title: "A", value: (row: string) => row, colour: () => "red" as const }];
  assert.deepEqual(renderTable({ colour: false }, columns, ["x"]), ["A", "x"]);
  const [, line] = renderTable({ colour: true }, columns, ["x"]);
  assert.equal(line, "\u001b[31mx\u001b[39m");
});

test("what comes from elsewhere cannot play tricks on the terminal", () => {
  assert.equal(printable("a\u001b[2Jb\nc\u202ed"), "a\\x1b[2Jb\\x0ac\\u{202e}d");
  assert.equal(printable("two\nlines", true), "two\nlines");
  const [, line] = renderTable({ colour: false }, [{ title: "A", value: (row: string) => row }], ["x\ny"]);
  assert.equal(line, "x\\x0ay");
});

test("a problem is told with its remedy, or as JSON", () => {
  const problem = {
    code: "bad-request",
    message: "It is wrong.",
    remedy: "Do better.",
    field: "size",
  } as const;
  const people = recordingTerminal();
  printProblem(people.terminal, problem, false);
  assert.deepEqual(people.written(), { out: "", error: "error: It is wrong. (size)\n  Do better.\n" });
  const programs = recordingTerminal();
  printProblem(programs.terminal, problem, true);
  assert.deepEqual(JSON.parse(programs.written().error), { problem });
});
