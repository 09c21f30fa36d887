import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryFolder } from "./cli-fixtures.test.ts";
import { parseServer, resolveSettings, type SettingsSources } from "./client-settings.ts";

async function settings(sources: Partial<SettingsSources> & { homeFolder: string }) {
  return resolveSettings({ flags: {}, env: {}, workingFolder: "/work-folder", ...sources });
}

async function homeWith(folder: string, yaml: string): Promise<void> {
  await mkdir(join(folder, ".config", "flocker"), { recursive: true });
  await writeFile(join(folder, ".config", "flocker", "client.yaml"), yaml);
}

test("the file is read, and names in it are relative to it", async (t) => {
  const homeFolder = await temporaryFolder(t);
  await homeWith(
    homeFolder,
    "server: https://c.example:5000\ncertificate: alice.crt\nkey: /keys/alice.key\n",
  );
  const result = await settings({ homeFolder });
  const beside = (name: string): string => join(homeFolder, ".config", "flocker", name);
  assert.ok(result.ok);
  assert.deepEqual(result.value, {
    host: "c.example",
    port: 5000,
    serverName: undefined,
    files: {
      clusterCertificateFile: beside("cluster.crt"),
      certificateFile: beside("alice.crt"),
      keyFile: "/keys/alice.key",
    },
  });
});

test("an option wins over the environment, and that over the file", async (t) => {
  const homeFolder = await temporaryFolder(t);
  await homeWith(
    homeFolder,
    "server: file.example\ncertificate: file.crt\nkey: file.key\nserver-name: file\n",
  );
  const env = { FLOCKER_SERVER: "env.example", FLOCKER_CERTIFICATE: "env.crt", FLOCKER_KEY: "" };
  const result = await settings({ homeFolder, env, flags: { server: "flag.example" } });
  assert.ok(result.ok);
  assert.equal(result.value.host, "flag.example");
  assert.equal(result.value.files.certificateFile, "/work-folder/env.crt");
  assert.equal(result.value.files.keyFile, join(homeFolder, ".config", "flocker", "file.key"));
  assert.equal(result.value.serverName, "file");
});

test("another file can be named, by option or environment, and must then be there", async (t) => {
  const homeFolder = await temporaryFolder(t);
  await writeFile(join(homeFolder, "other.yaml"), "server: other.example\n");
  const named = await settings({ homeFolder, workingFolder: homeFolder, flags: { config: "other.yaml" } });
  assert.ok(named.ok);
  assert.equal(named.value.host, "other.example");
  const missing = await settings({ homeFolder, env: { FLOCKER_CONFIG: join(homeFolder, "missing.yaml") } });
  assert.ok(!missing.ok);
  assert.equal(missing.problem.code, "file-unreadable");
});

test("without any setting it is said how to make one", async (t) => {
  const homeFolder = await temporaryFolder(t);
  const result = await settings({ homeFolder });
  assert.ok(!result.ok);
  assert.match(result.problem.remedy, /--server HOST, set FLOCKER_SERVER, or write .*client\.yaml/);
});

test("a key that is unknown or no text is named with its line", async (t) => {
  const homeFolder = await temporaryFolder(t);
  await homeWith(homeFolder, "server: c\ncertifikate: x\n");
  const unknown = await settings({ homeFolder });
  assert.ok(!unknown.ok);
  assert.match(unknown.problem.message, /line 2.*did you mean certificate/s);
  await homeWith(homeFolder, "server: [a]\n");
  assert.equal((await settings({ homeFolder })).ok, false);
});

test("a server is a host, with a port if it is not the usual one", () => {
  const parsed = (text: string) => {
    const result = parseServer(text);
    return result.ok ? `${result.value.host} ${result.value.port}` : result.problem.code;
  };
  assert.equal(parsed("c.example"), "c.example 4523");
  assert.equal(parsed("c.example:443"), "c.example 443");
  assert.equal(parsed("https://c.example:443/"), "c.example 443");
  assert.equal(parsed("https://c.example:5000/"), "c.example 5000");
  assert.equal(parsed("192.0.2.1:5000"), "192.0.2.1 5000");
  assert.equal(parsed("[::1]:5000"), "::1 5000");
  assert.equal(parsed("https://[2001:db8::1]"), "2001:db8::1 4523");
  for (const bad of [
    "",
    "http://c",
    "c:x",
    "c:0",
    "c:70000",
    "https://c/path",
    "https://u:p@c",
    "a b",
    "https://c?x",
  ]) {
    assert.equal(parsed(bad), "configuration-invalid", bad);
  }
});
