import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { promisify } from "node:util";
import { keyTypes } from "@flocker/ca";
import { clockShiftedBy, flocker, temporaryFolder } from "../cli-fixtures.test.ts";

const dayMs = 86_400_000;
const uuid = "1f0e2d3c-4b5a-4968-8776-554433221100";

async function initialised(t: TestContext): Promise<string> {
  const folder = await temporaryFolder(t);
  const made = await flocker(["ca", "init", "mycluster"], { folder });
  assert.equal(made.exitCode, 0, made.error);
  return folder;
}

test("init says what the original said, and nothing else, on the standard output", async (t) => {
  const folder = await temporaryFolder(t);
  const made = await flocker(["ca", "init", "mycluster"], { folder });
  assert.equal(
    made.out,
    "Created cluster.key and cluster.crt. Please keep cluster.key secret, as anyone who can access it will be able to " +
      "control your cluster.\n",
  );
  assert.match(made.error, /valid until 20\d\d-/);
  assert.deepEqual((await readdir(folder)).toSorted(), ["cluster.crt", "cluster.key"]);
});

test("nothing is ever overwritten", async (t) => {
  const folder = await initialised(t);
  const before = await readFile(join(folder, "cluster.key"), "utf8");
  const again = await flocker(["ca", "init", "other"], { folder });
  assert.equal(again.exitCode, 4);
  assert.match(again.error, /^error: The file .*cluster\.key exists already/);
  assert.equal(await readFile(join(folder, "cluster.key"), "utf8"), before);
});

test("each kind of certificate gets the original's file names and sentences, for its owner alone", async (t) => {
  const folder = await initialised(t);
  const node = await flocker(["ca", "node", "--uuid", uuid], { folder });
  assert.equal(
    node.out,
    `Created ${uuid}.crt. Copy it over to /etc/flocker/node.crt on your node machine and make sure to chmod 0600 it.\n`,
  );
  const user = await flocker(["ca", "user", "alice"], { folder });
  assert.equal(
    user.out,
    "Created alice.crt. You can now give it to your API enduser so they can access the control service API.\n",
  );
  const control = await flocker(["ca", "control", "c.example", "::1"], { folder });
  assert.match(
    control.out,
    /^Created control-c\.example\.crt and control-c\.example\.key\. .*rename.*chmod 0600.*\n$/,
  );
  const names = [
    `${uuid}.crt`,
    `${uuid}.key`,
    "alice.crt",
    "alice.key",
    "control-c.example.crt",
    "control-c.example.key",
  ];
  for (const name of names) assert.equal((await stat(join(folder, name))).mode & 0o777, 0o600, name);
  const { stdout } = await promisify(execFile)("openssl", [
    "verify",
    "-x509_strict",
    "-CAfile",
    join(folder, "cluster.crt"),
    ...names.filter((name) => name.endsWith(".crt")).map((name) => join(folder, name)),
  ]);
  assert.equal(stdout.match(/: OK/g)?.length, 3);
});

test("the authority and the output may be in other folders", async (t) => {
  const folder = await initialised(t);
  await mkdir(join(folder, "out"));
  const made = await flocker(["ca", "user", "alice", "--ca", folder, "-o", join(folder, "out"), "--json"], {
    folder: "/",
  });
  assert.equal(made.exitCode, 0, made.error);
  const facts = JSON.parse(made.out) as Record<string, unknown>;
  assert.equal(facts["certificate"], join(folder, "out", "alice.crt"));
  assert.equal(facts["name"], "alice");
  assert.deepEqual((await readdir(join(folder, "out"))).toSorted(), ["alice.crt", "alice.key"]);
});

test("a folder without authority, or a missing output folder, is named", async (t) => {
  const folder = await initialised(t);
  const empty = await temporaryFolder(t);
  const without = await flocker(["ca", "node"], { folder: empty });
  assert.equal(without.exitCode, 1);
  assert.match(without.error, /cluster\.crt failed: there is no such file/);
  const missing = await flocker(["ca", "user", "alice", "-o", "missing"], { folder });
  assert.equal(missing.exitCode, 1);
  assert.match(missing.error, /missing\/alice\.key/);
});

test("renewing in place keeps the old certificate and says both ends", async (t) => {
  const folder = await initialised(t);
  await flocker(["ca", "user", "alice", "--days", "10"], { folder });
  const before = await readFile(join(folder, "alice.crt"), "utf8");
  const key = await readFile(join(folder, "alice.key"), "utf8");
  const renewed = await flocker(["ca", "renew", "alice.crt"], { folder });
  assert.equal(renewed.exitCode, 0, renewed.error);
  assert.match(
    renewed.out,
    /^Renewed alice\.crt\. It was valid until \S+ and is now valid until \S+ \(1825 days\)\.\n$/,
  );
  const kept = (await readdir(folder)).find((name) => name.startsWith("alice.crt.old-")) ?? "";
  assert.equal(await readFile(join(folder, kept), "utf8"), before);
  assert.notEqual(await readFile(join(folder, "alice.crt"), "utf8"), before);
  assert.equal(await readFile(join(folder, "alice.key"), "utf8"), key);
});

test("renewing with a new key keeps the old key, too", async (t) => {
  const folder = await initialised(t);
  await flocker(["ca", "user", "alice"], { folder });
  const key = await readFile(join(folder, "alice.key"), "utf8");
  const renewed = await flocker(["ca", "renew", "alice.crt", "--new-key", "--json"], { folder });
  assert.equal(renewed.exitCode, 0, renewed.error);
  const { kept } = JSON.parse(renewed.out) as { kept: string[] };
  assert.equal(await readFile(kept[0] ?? "", "utf8"), key);
  assert.notEqual(await readFile(join(folder, "alice.key"), "utf8"), key);
  const again = await flocker(["ca", "renew", "alice.crt"], { folder });
  assert.equal(again.exitCode, 0, "the new pair belongs together");
});

test("a renewal can go into another folder; a certificate that came back without its key can be renewed", async (t) => {
  const folder = await initialised(t);
  await flocker(["ca", "node", "--uuid", uuid], { folder });
  const back = await temporaryFolder(t);
  await writeFile(join(back, "node.crt"), await readFile(join(folder, `${uuid}.crt`)));
  const inPlace = await flocker(["ca", "renew", join(back, "node.crt"), "--ca", folder, "--new-key"], {
    folder: back,
  });
  assert.equal(inPlace.exitCode, 1);
  assert.match(inPlace.error, /There is no .*node\.key/);
  assert.deepEqual(await readdir(back), ["node.crt"]);
  await mkdir(join(back, "new"));
  const renewed = await flocker(["ca", "renew", "node.crt", "--ca", folder, "-o", "new"], { folder: back });
  assert.equal(renewed.exitCode, 0, renewed.error);
  assert.deepEqual(await readdir(join(back, "new")), ["node.crt"]);
});

test("show lists every certificate with its role, and warns of what expires", async (t) => {
  const folder = await initialised(t);
  await flocker(["ca", "user", "alice", "--days", "20"], { folder });
  await flocker(["ca", "control", "c.example"], { folder });
  const shown = await flocker(["ca", "show"], { folder });
  assert.equal(shown.exitCode, 0);
  const lines = shown.out.split("\n");
  assert.match(lines[0] ?? "", /^FILE +ROLE +NAME +HOSTS +KEY +SIGNED +EXPIRES +DAYS LEFT$/);
  assert.match(shown.out, /^alice\.crt +user +alice +- +ec-p256 +yes +\S+ +19$/m);
  assert.match(shown.out, /^cluster\.crt +ca +mycluster +/m);
  assert.match(shown.out, /^control-c\.example\.crt +control +control-service +control-service,c\.example /m);
  assert.equal(shown.error, "warning: alice.crt expires in 19 days. Renew it with flocker ca renew.\n");
  const later = await flocker(["ca", "show", "alice.crt"], { folder, clock: clockShiftedBy(30 * dayMs) });
  assert.match(later.error, /alice\.crt has expired/);
});

test("show says which certificates another authority has signed", async (t) => {
  const [one, two] = [await initialised(t), await initialised(t)];
  await flocker(["ca", "user", "alice"], { folder: one });
  const file = join(one, "alice.crt");
  const shown = await flocker(["ca", "show", file], { folder: two });
  assert.match(shown.out, / NO /);
  assert.match(shown.error, /was not signed by the authority/);
  const json = await flocker(["ca", "show", file, "--ca", two, "--json"], { folder: one });
  const [facts] = (JSON.parse(json.out) as { certificates: { signed_by_authority: boolean }[] }).certificates;
  assert.equal(facts?.signed_by_authority, false);
});

test("one unreadable certificate does not hide the others, and shows in the exit code", async (t) => {
  const folder = await initialised(t);
  await writeFile(join(folder, "a.crt"), "nonsense");
  const shown = await flocker(["ca", "show"], { folder });
  assert.match(shown.out, /cluster\.crt/);
  assert.match(shown.error, /no PEM certificate in a\.crt/);
  assert.equal(shown.exitCode, 7);
  const nothing = await flocker(["ca", "show"], { folder: await temporaryFolder(t) });
  assert.equal(nothing.exitCode, 3);
});

test("bad names and options are usage errors, as JSON for programs", async (t) => {
  const folder = await initialised(t);
  assert.equal((await flocker(["ca", "user", "../x"], { folder })).exitCode, 2);
  assert.equal((await flocker(["ca", "user"], { folder })).exitCode, 2);
  assert.equal((await flocker(["ca", "user", "x", "--days", "0"], { folder })).exitCode, 2);
  assert.equal((await flocker(["ca", "user", "x", "--key-type", "dsa"], { folder })).exitCode, 2);
  const json = await flocker(["ca", "node", "--uuid", "5", "--json"], { folder });
  assert.equal(json.out, "");
  assert.equal((JSON.parse(json.error) as { problem: { code: string } }).problem.code, "bad-request");
  const wrong = await flocker(["ca", "user", "x", "--dayz", "3"], { folder });
  assert.match(wrong.error, /Did you mean --days/);
  assert.match(wrong.error, /flocker ca user --help/);
});

test("the kinds of key that the help names are those that can be made", async () => {
  const help = await flocker(["ca", "user", "--help"]);
  assert.equal(help.exitCode, 0);
  const named = /choices:\s+([^)]*?),\s+default/s.exec(help.out)?.[1]?.replaceAll(/["\s]/g, "").split(",");
  assert.deepEqual(named, [...keyTypes]);
  assert.match(help.out, /Examples:\n/);
});
