import assert from "node:assert/strict";
import { test } from "node:test";
import { proseColumns, wrapComments, wrapMarkdown } from "./prose.ts";

const long = "word ".repeat(30).trim();

function longest(text: string): number {
  return Math.max(...text.split("\n").map((line) => line.length));
}

test("a comment that is too long is filled anew, words and order kept", () => {
  const text = `  /**\n   * ${long}\n   * and the rest of it.\n   */\n  const x = 1;\n`;
  const wrapped = wrapComments(text);
  assert.ok(longest(wrapped) <= proseColumns);
  const words = (source: string): string => source.replace(/\n {3}\* /g, " ");
  assert.equal(words(wrapped), words(text));
});

test("a doc comment on one line is unfolded where it does not fit, and left where it does", () => {
  assert.match(wrapComments(`/** ${long} */\n`), /^\/\*\*\n \* word [^]*word\n \*\/\n$/);
  assert.equal(wrapComments("/** Short. */\n"), "/** Short. */\n");
});

test("what fits is not touched", () => {
  const text = "// A short line.\n// Another, which would fit on the first.\n";
  assert.equal(wrapComments(text), text);
});

test("list items keep their margin and do not flow into each other", () => {
  const wrapped = wrapComments(`// Of two:\n// - ${long}\n// - the other\n`);
  assert.match(wrapped, /^\/\/ Of two:\n\/\/ - word [^\n]*\n\/\/ {3}word[^\n]*\n\/\/ - the other\n$/);
});

test("code, code with a comment beside it, diagrams and instructions to tools are left alone", () => {
  const lines = [
    `const a = "${"x".repeat(120)}";`,
    `const b = 1; // ${long}`,
    ` *     ${"-".repeat(120)}`,
    `// oxlint-disable-next-line some-rule -- ${long}`,
  ];
  assert.equal(wrapComments(lines.join("\n")), lines.join("\n"));
});

test("Markdown paragraphs are filled; tables, headings, code and links stay whole", () => {
  const table = `| ${long} |`;
  const code = "```\n" + long + "\n```";
  const link = `[${"a link ".repeat(10).trim()}](somewhere)`;
  const wrapped = wrapMarkdown(`# ${long}\n\n${table}\n\n${code}\n\n${long} ${link} end\n`);
  assert.ok(wrapped.includes(`# ${long}\n`) && wrapped.includes(table) && wrapped.includes(code));
  assert.ok(wrapped.includes(link));
  assert.ok(!wrapped.includes(`${long} ${link}`));
});

test("no line begins with what would make it a list item", () => {
  const text = "word ".repeat(21).trim() + " and - then 1. more " + long;
  for (const line of wrapMarkdown(text).split("\n")) assert.doesNotMatch(line, /^(-|\d+\.) /);
});

test("wrapping twice changes nothing more", () => {
  const once = wrapMarkdown(`- ${long} ${long}\n  ${long}\n\n${long} ${long}\n`);
  assert.equal(wrapMarkdown(once), once);
});
