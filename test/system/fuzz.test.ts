import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";

const tool = join(import.meta.dirname, "..", "..", "tools", "fuzz.ts");

test("no generated request is answered with 5xx, ends a process, or is remembered (10,000: npm run fuzz)", async () => {
  const argv = ["--conditions=source", tool, "--requests=1500"];
  const { stdout } = await promisify(execFile)(process.execPath, argv).catch((error: unknown) =>
    assert.fail(`${(error as { readonly stdout?: string }).stdout ?? String(error)}`),
  );
  // Some of all kinds have come through, so that it is no test of the door alone.
  for (const status of [200, 201, 400, 404, 405, 409]) assert.match(stdout, new RegExp(`\\b${status}: \\d`));
});
