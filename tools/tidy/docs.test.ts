import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join, posix } from "node:path";
import { test } from "node:test";
import { problemCodes, reasonCodes } from "@flocker/core";
import { files, read, readJson, report, root, tableUnder } from "./repository.ts";

// The documents tell the truth as far as a machine can see: codes, links, commands, the form of the decision
// records.

const documents = files.filter((path) => path.endsWith(".md"));
const decisions = files.filter((path) => path.startsWith("docs/decisions/"));

function codesIn(path: string, heading: string): readonly string[] {
  return tableUnder(path, heading).map(([code = ""]) => code);
}

test("every problem code is explained in docs/reference/errors.md, in the order of the source, and no other", () => {
  const rule =
    "Whoever meets an error looks up its code: packages/core/src/model/problem.ts and the table must agree.";
  assert.deepEqual(codesIn("docs/reference/errors.md", "Errors"), [...problemCodes], rule);
});

test("every reason code is explained in docs/reference/reasons.md, in the order of the source, and no other", () => {
  const rule =
    "Whoever waits looks up the reason: packages/core/src/model/reason.ts and the table must agree.";
  assert.deepEqual(codesIn("docs/reference/reasons.md", "Reasons"), [...reasonCodes], rule);
});

test("each explained code says what it means, what causes it and what helps", () => {
  const tables = [
    ["docs/reference/errors.md", "Errors"],
    ["docs/reference/reasons.md", "Reasons"],
  ] as const;
  const breaks = tables.flatMap(([path, heading]) =>
    tableUnder(path, heading)
      .filter((cells) => cells.length !== 4 || cells.some((cell) => cell.length < 4))
      .map((cells) => `${path}: ${cells[0]}`),
  );
  assert.equal(breaks.length, 0, report("A code without a remedy leaves its reader alone.", breaks));
});

test("decision records have context, decision and consequences, and numbers without gaps", () => {
  const breaks = decisions.flatMap((path, index) => {
    const text = read(path);
    const number = String(index + 1).padStart(4, "0");
    const wrong: string[] = [];
    if (!new RegExp(`^docs/decisions/${number}-[a-z0-9-]+\\.md$`).test(path)) {
      wrong.push(`the file's name does not begin with ${number}`);
    }
    if (!text.startsWith(`# ${number} `)) wrong.push(`the heading does not begin with "# ${number} "`);
    const sections = [...text.matchAll(/^## (.+)$/gm)].map((match) => match[1] ?? "");
    for (const section of ["Context", "Decision", "Consequences"]) {
      if (!sections.includes(section)) wrong.push(`no section "${section}"`);
    }
    return wrong.map((what) => `${path}: ${what}`);
  });
  assert.ok(decisions.length > 0, "There are decision records.");
  const rule = "A decision can be questioned later only if it says what it was made for.";
  assert.equal(breaks.length, 0, report(rule, breaks));
});

test("links between documents lead somewhere", () => {
  const breaks = documents.flatMap((path) => {
    const text = read(path).replace(/^```[^]*?^```/gm, "");
    return [...text.matchAll(/\[[^\]]*\]\(([^)\s]+)\)/g)].flatMap(([, target = ""]) => {
      if (/^[a-z]+:/.test(target)) return [];
      const [file = "", anchor] = target.split("#");
      const place = file === "" ? path : posix.join(posix.dirname(path), file);
      if (!existsSync(join(root, place))) return [`${path}: ${target} does not exist`];
      if (anchor === undefined || !place.endsWith(".md")) return [];
      return anchorsOf(place).includes(anchor) ? [] : [`${path}: ${target}: no such heading`];
    });
  });
  assert.equal(breaks.length, 0, report("A dead link costs its reader the trust in the rest.", breaks));
});

test("files that documents name exist", () => {
  const breaks = documents.flatMap((path) =>
    [...read(path).matchAll(/`((?:packages|docs|tools|test|bench)\/[\w./-]+)`/g)].flatMap(([, name = ""]) =>
      existsSync(join(root, name)) ? [] : [`${path}: ${name}`],
    ),
  );
  assert.equal(breaks.length, 0, report("A document that names a file is read to find it.", breaks));
});

test("commands that the documents name exist as npm scripts", () => {
  const { scripts } = readJson<{ scripts: Readonly<Record<string, string>> }>("package.json");
  const breaks = documents.flatMap((path) =>
    [...read(path).matchAll(/\bnpm (?:run ([\w:-]+)|(start|test))\b/g)].flatMap(([command, named, short]) =>
      (named ?? short ?? "") in scripts ? [] : [`${path}: ${command}`],
    ),
  );
  assert.equal(breaks.length, 0, report("A newcomer types what the documents say.", breaks));
});

/** The anchors that headings get, as GitHub makes them. */
function anchorsOf(path: string): readonly string[] {
  return [...read(path).matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, "")
      .replace(/\s/g, "-"),
  );
}
