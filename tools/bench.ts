import { execFileSync, spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";

// Runs the benchmarks one after the other, each in a process of its own: all of bench/, or those whose name
// contains one of the given texts. Ends with an error if one of them does not keep what it is held to. They
// measure what is built, as it is installed: running sources takes memory and time for reading TypeScript.

execFileSync("npm", ["run", "--silent", "build"], { stdio: "inherit" });
const folder = join(import.meta.dirname, "..", "bench");
const filters = process.argv.slice(2);
const names = readdirSync(folder)
  .filter((name) => name.endsWith(".ts"))
  .filter((name) => filters.length === 0 || filters.some((filter) => name.includes(filter)))
  .sort();

let failures = 0;
for (const name of names) {
  console.log(`\n== ${name}`);
  if ((await run(join(folder, name))) !== 0) failures += 1;
}
console.log(`\n${names.length} benchmarks run, ${failures} failed`);
process.exitCode = names.length === 0 || failures > 0 ? 1 : 0;

function run(path: string): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [path], { stdio: ["ignore", "inherit", "inherit"] });
    child.once("close", (code) => resolve(code ?? 1));
  });
}
