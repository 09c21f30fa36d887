import assert from "node:assert/strict";
import { posix } from "node:path";
import { test } from "node:test";
import { fixturesSuffix } from "../test-run/files.ts";
import { files, packages, read, report, root } from "./repository.ts";

// The house rules for source files that neither the compiler nor the linter checks. CONTRIBUTING.md has them
// in words.

const code = files.filter((path) => /\.(ts|js|mjs|cjs)$/.test(path));
const typescript = code.filter((path) => path.endsWith(".ts"));
const production = typescript.filter(
  (path) => /^packages\/[^/]+\/src\//.test(path) && !path.endsWith(".test.ts"),
);

/** Breaks of a rule about single lines, each with its place. */
function inLines(paths: readonly string[], wrong: (line: string) => string | null): readonly string[] {
  return paths.flatMap((path) =>
    read(path)
      .split("\n")
      .flatMap((line, index) => {
        const text = wrong(line);
        return text === null ? [] : [`${path}:${index + 1}: ${text}`];
      }),
  );
}

function withoutComments(path: string): readonly string[] {
  return read(path)
    .replace(/\/\*[^]*?\*\//g, (comment) => comment.replace(/[^\n]/g, ""))
    .split("\n")
    .map((line) => line.replace(/(^|\s)\/\/.*$/, ""));
}

test("code files are kebab-case nouns that say what is in them", () => {
  const vague = new Set(["util", "utils", "helper", "helpers", "common", "manager", "shared", "misc"]);
  const breaks = code.flatMap((path) =>
    path.split("/").flatMap((part, index, parts) => {
      const isFile = index === parts.length - 1;
      const name = isFile ? part.replace(/(\.[a-z0-9]+)*\.(ts|js|mjs|cjs)$/, "") : part;
      const words = name.replace(/^\./, "").split("-");
      const vagueWord = words.find((word) => vague.has(word));
      if (vagueWord !== undefined) return [`${path}: "${vagueWord}" says nothing`];
      return /^\.?[a-z0-9]+(-[a-z0-9]+)*$/.test(name) ? [] : [`${path}: "${part}" is not kebab-case`];
    }),
  );
  assert.equal(breaks.length, 0, report("A file is found by its name.", breaks));
});

test("lines have at most 110 columns; those with addresses may have more, and those with texts up to 130", () => {
  const prose = files.filter((path) => /\.(md|yaml|yml|sh)$/.test(path));
  const breaks = inLines([...code, ...prose], (line) => {
    const columns = Array.from(line).length;
    const isComment = /^\s*(\*|\/\/|\/\*|#)/.test(line);
    const hasText = !isComment && /["`]/.test(line);
    const isFree = /https?:\/\//.test(line) || line.startsWith("|") || /oxlint-disable/.test(line);
    return isFree || columns <= (hasText ? 130 : 110) ? null : `${columns} columns`;
  });
  const rule =
    "Two files fit side by side on a screen, and a message that is not cut can be searched for. `npm run format` fills " +
    "comments and documents; code that it leaves alone is to be split by hand.";
  assert.equal(breaks.length, 0, report(rule, breaks));
});

test("files have at most 500 lines, those of tidy at most 300", () => {
  const breaks = typescript.flatMap((path) => {
    const lines = read(path).trimEnd().split("\n").length;
    const limit = path.startsWith("tools/tidy/") ? 300 : 500;
    return lines <= limit ? [] : [`${path}: ${lines} lines, at most ${limit}: split it by noun`];
  });
  assert.equal(breaks.length, 0, report("A file that fits a head can be reviewed.", breaks));
});

test("time and chance come from the ports, outside host and sim", () => {
  const banned: readonly (readonly [RegExp, string])[] = [
    [/\bnew Date\(\s*\)/, "new Date() without an argument"],
    [/\bDate\.now\b/, "Date.now"],
    [/\bMath\.random\b/, "Math.random"],
    [/\bperformance\.now\b/, "performance.now"],
    [/\bprocess\.(hrtime|uptime)\b/, "process.hrtime"],
  ];
  const breaks = production
    .filter((path) => !/^packages\/(host|sim)\//.test(path))
    .flatMap((path) =>
      withoutComments(path).flatMap((line, index) =>
        banned.filter(([pattern]) => pattern.test(line)).map(([, name]) => `${path}:${index + 1}: ${name}`),
      ),
    );
  const rule =
    "The simulator can only replay what takes its time from the Clock port and chance from Random.";
  assert.equal(breaks.length, 0, report(rule, breaks));
});

test("what is left to do has an issue", () => {
  const breaks = inLines(code, (line) =>
    /\b(TO[D]O|FIX[M]E|X{3})\b/.test(line) && !/#\d+/.test(line) ? line.trim() : null,
  );
  assert.equal(
    breaks.length,
    0,
    report("A note in the code alone is forgotten: name its issue (#12).", breaks),
  );
});

test("fixtures hold no tests", () => {
  const fixtures = typescript.filter((path) => path.endsWith(fixturesSuffix));
  const breaks = inLines(fixtures, (line) => /^\s*(test|it|describe|suite)\(/.exec(line)?.[0] ?? null);
  assert.equal(breaks.length, 0, report(`What is named …${fixturesSuffix} is not run as a test.`, breaks));
});

test("no file names a folder of somebody's machine or a registry", () => {
  const breaks = inLines(files, (line) => {
    const path = /(?<![\w.:/-])\/(home|root)\/[^\s"'`)]*/.exec(line)?.[0];
    if (path !== undefined) return path;
    if (line.includes(`${root}/`)) return "the folder of this checkout";
    return /https?:\/\/registry\./.exec(line)?.[0] ?? null;
  });
  assert.equal(breaks.length, 0, report("What is committed works on every machine.", breaks));
});

test("what a package's index exports has a docstring", () => {
  const breaks = packages.flatMap((name) => undocumented(`packages/${name}/src/index.ts`, null, new Set()));
  const rule =
    "Who uses a package reads what its exports are, their units and their errors, not their bodies.";
  assert.equal(breaks.length, 0, report(rule, breaks));
});

/**
 * The exports of a file without a comment before them, following what it exports from others. With names,
 * only those. Read from the text, so best effort: a derived type (`typeof`, `Static`) right below its value
 * needs no comment.
 */
function undocumented(path: string, names: ReadonlySet<string> | null, seen: Set<string>): readonly string[] {
  const key = `${path} ${names === null ? "*" : [...names].join()}`;
  if (seen.has(key) || !files.includes(path)) return [];
  seen.add(key);
  const text = read(path);
  const reexports = [...text.matchAll(/^export (?:type )?(\*|\{[^}]*\}) from "(\.[^"]+)";/gm)].flatMap(
    ([, what = "", from = ""]) => {
      const exported =
        what === "*" ? null : new Set([...what.matchAll(/(\w+)(?: as \w+)?\s*[,}]/g)].map((m) => m[1] ?? ""));
      return undocumented(posix.join(posix.dirname(path), from), exported, seen);
    },
  );
  const lines = text.split("\n");
  let documented = "";
  const own = lines.flatMap((line, index) => {
    const pattern =
      /^export (?:declare |abstract |async )*(function\*?|class|interface|type|const|let) (\w+)(.*)/;
    const match = pattern.exec(line);
    if (match === null) return [];
    const [, kind = "", name = "", rest = ""] = match;
    const derived = kind === "type" && /\((typeof|keyof)|= (typeof|keyof|Static)\b/.test(rest);
    const overload = name === documented;
    const commented = (lines[index - 1] ?? "").trimEnd().endsWith("*/");
    if (commented) documented = name;
    if (commented || derived || overload || (names !== null && !names.has(name))) return [];
    return [`${path}:${index + 1}: ${name}`];
  });
  return [...reexports, ...own];
}
