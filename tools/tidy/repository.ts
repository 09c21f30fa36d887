import { execFileSync } from "node:child_process";
import { lstatSync, readFileSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";

/** The repository's root folder. */
export const root: string = resolve(import.meta.dirname, "../..");

const notOurs = /^(package-lock\.json$|LICENSE$)|\/testdata\//;
const ignoredFolders = new Set(["node_modules", "dist", ".git", ".cache", ".flocker"]);

/** Every file that is or could be committed, as paths from the root; generated and foreign ones left out. */
export const files: readonly string[] = listFiles().filter((path) => !notOurs.test(path));

/** The packages' folder names. */
export const packages: readonly string[] = [
  ...new Set(files.flatMap((path) => /^packages\/([^/]+)\/package\.json$/.exec(path)?.[1] ?? [])),
].sort();

/** A file's text. */
export function read(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

/**
 * A JSON file's value, trusted to have that shape. As in a tsconfig, it may have comments and trailing
 * commas.
 */
export function readJson<Shape>(path: string): Shape {
  const text = read(path)
    .replace(/^\s*\/\/.*$/gm, "")
    .replace(/,(?=\s*[}\]])/g, "");
  return JSON.parse(text) as Shape;
}

/** Breaks of a rule, each as `place: what is wrong`, made into one message with the rule's reason. */
export function report(rule: string, breaks: readonly string[]): string {
  return `${rule}\n${breaks.map((text) => `  ${text}`).join("\n")}\n`;
}

/** The rows of the first Markdown table after a heading, as cells without their backticks. */
export function tableUnder(path: string, heading: string): readonly (readonly string[])[] {
  const lines = read(path).split("\n");
  const start = lines.findIndex((line) => line.startsWith("#") && line.replace(/^#+\s*/, "") === heading);
  if (start === -1) throw new Error(`${path} has no heading "${heading}", under which a table is read`);
  const first = lines.findIndex((line, index) => index > start && line.startsWith("|"));
  if (first === -1) throw new Error(`${path} has no table under "${heading}"`);
  const after = lines.findIndex((line, index) => index > first && !line.startsWith("|"));
  const rows = lines.slice(first + 2, after === -1 ? undefined : after);
  return rows.map((row) =>
    row
      .replace(/^\||\|$/g, "")
      .split("|")
      .map((cell) => cell.replaceAll("`", "").trim()),
  );
}

function listFiles(): readonly string[] {
  try {
    const args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    const output = execFileSync("git", args, {
      cwd: root,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    const paths = new Set(output.split("\0").filter((path) => path !== "" && isFile(path)));
    return [...paths].toSorted(compareTexts);
  } catch {
    // A source archive has no git: everything in it counts.
    return walk("");
  }
}

/** Not what was deleted without a commit, and no link to a folder. */
function isFile(path: string): boolean {
  return lstatSync(join(root, path), { throwIfNoEntry: false })?.isFile() ?? false;
}

function compareTexts(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function walk(folder: string): readonly string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory()) return ignoredFolders.has(entry.name) ? [] : walk(path);
    return entry.isFile() ? [path] : [];
  });
}
