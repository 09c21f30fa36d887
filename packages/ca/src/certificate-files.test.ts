import assert from "node:assert/strict";
import { chmod, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import {
  authorityPaths,
  createFiles,
  readAuthorityFiles,
  readOptionalTextFile,
  readTextFile,
  replaceFiles,
} from "./certificate-files.ts";
import { problemOf, temporaryFolder, value } from "./certificate-fixtures.test.ts";

test("new files are readable by their owner alone, whatever the umask", async (t) => {
  const folder = await temporaryFolder(t);
  for (const umask of [0o000, 0o022, 0o777]) {
    const old = process.umask(umask);
    t.after(() => process.umask(old));
    const path = join(folder, `${umask}`);
    value(await createFiles([{ path, text: "secret" }]));
    process.umask(old);
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    assert.equal(await readFile(path, "utf8"), "secret");
  }
});

for (const taken of ["a.key", "a.crt"]) {
  test(`with ${taken} there already, nothing is written and it is left as it was`, async (t) => {
    const folder = await temporaryFolder(t);
    await writeFile(join(folder, taken), "old");
    const files = ["a.key", "a.crt"].map((name) => ({ path: join(folder, name), text: "new" }));
    const problem = problemOf(await createFiles(files));
    assert.equal(problem.code, "file-exists");
    assert.match(problem.message, new RegExp(taken));
    assert.deepEqual(await readdir(folder), [taken]);
    assert.equal(await readFile(join(folder, taken), "utf8"), "old");
  });
}

test("a folder that is missing is named, and the other file is not left behind", async (t) => {
  const folder = await temporaryFolder(t);
  const files = [
    { path: join(folder, "a.key"), text: "x" },
    { path: join(folder, "missing", "a.crt"), text: "x" },
  ];
  const problem = problemOf(await createFiles(files));
  assert.equal(problem.code, "file-unreadable");
  assert.match(problem.message, /missing\/a\.crt/);
  assert.match(problem.remedy, /folder/);
  assert.deepEqual(await readdir(folder), []);
});

test("replaced files are kept under their other name", async (t) => {
  const folder = await temporaryFolder(t);
  const at = (name: string) => join(folder, name);
  value(await createFiles([{ path: at("a.crt"), text: "old" }]));
  value(await replaceFiles([{ path: at("a.crt"), text: "new", keptAs: at("a.crt.old-1") }]));
  assert.deepEqual((await readdir(folder)).toSorted(), ["a.crt", "a.crt.old-1"]);
  assert.equal(await readFile(at("a.crt"), "utf8"), "new");
  assert.equal(await readFile(at("a.crt.old-1"), "utf8"), "old");
  assert.equal((await stat(at("a.crt"))).mode & 0o777, 0o600);
});

test("a kept file of an interrupted attempt is no obstacle, one of something else is", async (t) => {
  const folder = await temporaryFolder(t);
  const at = (name: string) => join(folder, name);
  await writeFile(at("a.crt"), "old");
  await writeFile(at("a.crt.old-1"), "old");
  value(await replaceFiles([{ path: at("a.crt"), text: "new", keptAs: at("a.crt.old-1") }]));
  assert.equal(await readFile(at("a.crt"), "utf8"), "new");
  const problem = problemOf(
    await replaceFiles([{ path: at("a.crt"), text: "newer", keptAs: at("a.crt.old-1") }]),
  );
  assert.equal(problem.code, "file-exists");
  assert.equal(await readFile(at("a.crt"), "utf8"), "new");
  assert.equal(await readFile(at("a.crt.old-1"), "utf8"), "old");
  assert.deepEqual((await readdir(folder)).toSorted(), ["a.crt", "a.crt.old-1"]);
});

test("where the second file cannot be replaced, the first has its old content again", async (t) => {
  const folder = await temporaryFolder(t);
  const at = (name: string) => join(folder, name);
  await writeFile(at("a.key"), "old key");
  const problem = problemOf(
    await replaceFiles([
      { path: at("a.key"), text: "new key", keptAs: at("a.key.old-1") },
      { path: at("a.crt"), text: "new", keptAs: at("a.crt.old-1") },
    ]),
  );
  assert.equal(problem.code, "file-unreadable");
  assert.equal(await readFile(at("a.key"), "utf8"), "old key");
  // A folder in the place of the second file makes its replacement fail after that of the first.
  await mkdir(at("b.crt"));
  const later = problemOf(
    await replaceFiles([
      { path: at("a.key"), text: "new key", keptAs: at("a.key.old-2") },
      { path: at("b.crt"), text: "new", keptAs: at("b.crt.old-2") },
    ]),
  );
  assert.equal(later.code, "file-unreadable");
  assert.equal(await readFile(at("a.key"), "utf8"), "old key");
  assert.ok(!(await readdir(folder)).some((name) => name.endsWith(".new") || name.endsWith(".restored")));
});

test("unreadable files are problems that name the file; a missing optional one is none", async (t) => {
  const folder = await temporaryFolder(t);
  const missing = problemOf(await readAuthorityFiles(folder));
  assert.equal(missing.code, "file-unreadable");
  assert.match(missing.message, /cluster\.crt failed: there is no such file/);
  await writeFile(authorityPaths(folder).certificate, "x");
  assert.match(problemOf(await readAuthorityFiles(folder)).message, /cluster\.key/);
  assert.match(problemOf(await readTextFile(folder, "the file")).message, /it is a folder/);
  assert.equal(value(await readOptionalTextFile(join(folder, "nothing"), "the key")), undefined);
});

test(
  "a file without permission is said to be so",
  { skip: process.getuid?.() === 0 ? "root may read everything" : false },
  async (t) => {
    const path = join(await temporaryFolder(t), "a.key");
    await writeFile(path, "x");
    await chmod(path, 0);
    const problem = problemOf(await readTextFile(path, "the key"));
    assert.match(problem.message, /permission denied/);
  },
);
