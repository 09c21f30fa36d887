import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { files, root } from "./tidy/repository.ts";
import { wrapComments, wrapMarkdown } from "./wrap/prose.ts";

// Fills comments and documents that are too wide, which the formatter leaves alone. Without arguments all
// files of the repository, else those whose path begins with one of them.

const prefixes = process.argv.slice(2);
const wanted = files.filter(
  (path) => prefixes.length === 0 || prefixes.some((prefix) => path.startsWith(prefix)),
);

for (const path of wanted) {
  const wrap = path.endsWith(".md") ? wrapMarkdown : path.endsWith(".ts") ? wrapComments : undefined;
  if (wrap === undefined) continue;
  const before = readFileSync(join(root, path), "utf8");
  const after = wrap(before);
  if (after === before) continue;
  writeFileSync(join(root, path), after);
  console.log(`wrapped ${path}`);
}
