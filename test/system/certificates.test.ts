import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFile, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { request } from "node:https";
import { join } from "node:path";
import { suite, test } from "node:test";
import { promisify } from "node:util";
import { webcrypto } from "node:crypto";
import { connect } from "node:tls";
import {
  certificateIds,
  initialiseAuthority,
  issueControl,
  issueNode,
  issueUser,
  openAuthority,
  type IssuedCertificate,
} from "@flocker/ca";
import { flockerCommand, pollUntil, type LocalClusterFiles } from "@flocker/cli/local";
import type { Result } from "@flocker/core";
import { systemClock } from "@flocker/host";
import { asVersion1 } from "../../packages/ca/src/certificate-fixtures.test.ts";
import { createDataset, settled, startRig, type Rig } from "./rig.ts";

const timeoutMs = 30_000;

async function flocker(...argv: readonly string[]): Promise<void> {
  const [program = "", ...first] = flockerCommand();
  await promisify(execFile)(program, [...first, ...argv]);
}

/** Puts a file in the place of another at once, as an operator's tools do. */
async function put(from: string, to: string): Promise<void> {
  await copyFile(from, `${to}.arriving`);
  await rename(`${to}.arriving`, to);
}

/** All folders that have a cluster certificate. */
function foldersOf(files: LocalClusterFiles): readonly string[] {
  return [files.controlFolder, files.folder, ...files.nodes.map((node) => node.folder)];
}

/** One request of /v1 over a connection of its own, with the user's files as they are now. */
async function ask(rig: Rig, user = join(rig.cluster.files.folder, "user")): Promise<number> {
  const [ca, cert, key] = await Promise.all([
    readFile(join(rig.cluster.files.folder, "cluster.crt")),
    readFile(`${user}.crt`),
    readFile(`${user}.key`),
  ]);
  return new Promise((resolve, reject) => {
    const { apiPort: port } = rig.cluster.files;
    const options = { host: "127.0.0.1", port, path: "/v1/state/nodes", ca, cert, key, agent: false };
    request(options, (response) => {
      response.resume();
      response.once("end", () => resolve(response.statusCode ?? 0));
    })
      .once("error", reject)
      .end();
  });
}

async function connectedNodes(rig: Rig): Promise<readonly string[]> {
  const answer = await rig.client.api.listNodes({});
  assert.equal(answer.status, 200);
  return answer.body.nodes
    .filter((node) => node.connected)
    .map((node) => node.name)
    .toSorted((a, b) => a.localeCompare(b));
}

async function eventually(waitingFor: string, holds: () => Promise<boolean>): Promise<void> {
  const ask = async (): Promise<true | undefined> => ((await holds()) ? true : undefined);
  const result = await pollUntil(systemClock, { waitingFor, timeoutMs, ask });
  assert.ok(result.ok, result.ok ? "" : result.problem.message);
}

suite("certificates of a running cluster", () => {
  test("the authority is replaced while clients and agents go on", async (t) => {
    const rig = await startRig(t, { nodeCount: 2 });
    const { files } = rig.cluster;
    const dataset = await createDataset(rig, "pg", rig.node(0));
    const next = join(files.folder, "ca-2");
    await mkdir(next);
    await flocker("ca", "rotate", "--ca", files.authorityFolder, "--output", next);
    let asked = 0;
    let stop = false;
    const client = (async () => {
      while (!stop) {
        assert.equal(await ask(rig), 200);
        asked += 1;
      }
    })();
    const reloaded = async (what: string, count: number): Promise<void> => {
      const log = async () =>
        (await readFile(join(files.folder, "logs", "control.log"), "utf8")).split(what).length - 1;
      await eventually(`${what} in the control service's log`, async () => (await log()) >= count);
    };
    for (const folder of foldersOf(files)) await put(join(next, "cluster.crt"), join(folder, "cluster.crt"));
    await reloaded("api-certificate-reloaded", 1);
    // From here on both are trusted; the leaves follow one by one.
    await flocker("ca", "control", "127.0.0.1", "localhost", "--ca", next, "--output", next);
    for (const part of ["key", "crt"])
      await put(
        join(next, `control-127.0.0.1.${part}`),
        join(files.controlFolder, `control-service.${part}`),
      );
    for (const node of files.nodes) {
      await flocker("ca", "node", "--uuid", node.node, "--ca", next, "--output", next);
      for (const part of ["key", "crt"])
        await put(join(next, `${node.node}.${part}`), join(node.folder, `node.${part}`));
    }
    await reloaded("api-certificate-reloaded", 2);
    stop = true;
    await client;
    assert.ok(asked > 10, `${asked} requests were answered meanwhile`);
    await flocker("ca", "user", "local", "--ca", next, "--output", next);
    for (const part of ["key", "crt"])
      await put(join(next, `local.${part}`), join(files.folder, `user.${part}`));
    assert.deepEqual(await connectedNodes(rig), ["node-1", "node-2"]);
    // The old authority goes: only its certificates are refused from now on.
    await mkdir(join(files.folder, "old"));
    const newOnly = join(files.folder, "new-only.crt");
    const [first] = (await readFile(join(next, "cluster.crt"), "utf8")).split(
      /(?<=-----END CERTIFICATE-----\n)/,
    );
    await writeFile(newOnly, first ?? "");
    for (const folder of foldersOf(files)) await put(newOnly, join(folder, "cluster.crt"));
    await reloaded("api-certificate-reloaded", 3);
    assert.equal(await ask(rig), 200);
    await flocker("ca", "user", "late", "--ca", files.authorityFolder, "--output", join(files.folder, "old"));
    await assert.rejects(ask(rig, join(files.folder, "old", "late")));
    // Data move between the nodes with their new certificates.
    const moved = await rig.client.api.updateDataset({
      params: { dataset_id: dataset },
      headers: {},
      body: { primary: rig.node(1).node },
    });
    assert.equal(moved.status, 200);
    await settled(rig, dataset, rig.node(1));
  });

  test("a revoked node is cut off and stays out, a revoked user too, and nobody else", async (t) => {
    const rig = await startRig(t, { nodeCount: 2 });
    const { files } = rig.cluster;
    const [stolen] = files.nodes;
    assert.ok(stolen !== undefined);
    await flocker("ca", "user", "mallory", "--ca", files.authorityFolder, "--output", files.folder);
    const mallory = join(files.folder, "mallory");
    assert.equal(await ask(rig, mallory), 200);
    const revoked = [join(stolen.folder, "node.crt"), `${mallory}.crt`];
    await flocker("ca", "revoke", "--ca", files.authorityFolder, ...revoked);
    for (const folder of [files.controlFolder, files.nodes[1]?.folder ?? ""])
      await put(join(files.authorityFolder, "cluster.crl"), join(folder, "cluster.crl"));
    await eventually(
      "the stolen node's session to end",
      async () => (await connectedNodes(rig)).join() === "node-2",
    );
    await assert.rejects(ask(rig, mallory));
    await eventually("the stolen node to be told why it is not let in", async () =>
      (await readFile(join(files.folder, "logs", "node-1.log"), "utf8")).includes("certificate-revoked"),
    );
    assert.deepEqual(await connectedNodes(rig), ["node-2"]);
    assert.equal(await ask(rig), 200);
  });

  test("a set of the original tool runs a cluster: RSA 4096, X.509 version 1 with extensions", async (t) => {
    const rig = await startRig(t, { nodeCount: 1 });
    const { files } = rig.cluster;
    await rig.cluster.stop();
    await originalSet(files);
    rig.cluster.start();
    // The rig's own client still has the certificates of before.
    await eventually("the agent to be connected", async () => {
      const status = await ask(rig).catch(() => 0);
      const log = await readFile(join(files.folder, "logs", "control.log"), "utf8");
      return status === 200 && log.split('"agent-connected"').length > 2;
    });
    for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const)
      for (const servername of ["control-service", "localhost", "nobody.example.org", undefined])
        assert.equal(await protocolWith(files, { maxVersion, servername }), maxVersion);
  });
});

/**
 * What a client of the original's certificates gets with that version and that name of the server, or none.
 */
async function protocolWith(
  { folder, apiPort }: LocalClusterFiles,
  options: { readonly maxVersion: "TLSv1.2" | "TLSv1.3"; readonly servername: string | undefined },
): Promise<string | null> {
  const { maxVersion, servername } = options;
  const socket = connect({
    host: "127.0.0.1",
    port: apiPort,
    ca: await readFile(join(folder, "cluster.crt")),
    cert: await readFile(join(folder, "user.crt")),
    key: await readFile(join(folder, "user.key")),
    maxVersion,
    ...(servername === undefined ? {} : { servername }),
    checkServerIdentity: () => undefined,
  });
  try {
    return await new Promise((resolve, reject) => {
      socket.once("error", reject);
      socket.once("secureConnect", () => socket.write("GET /v1/version HTTP/1.1\r\nhost: x\r\n\r\n"));
      socket.once("data", (data: Buffer) =>
        data.toString().startsWith("HTTP/1.1 200 OK")
          ? resolve(socket.getProtocol())
          : reject(new Error(data.toString())),
      );
    });
  } finally {
    socket.destroy();
  }
}

/** Replaces all certificates of a cluster by such as the original's `flocker-ca` has made. */
async function originalSet(files: LocalClusterFiles): Promise<void> {
  const context = { crypto: webcrypto, now: Date.now(), ids: certificateIds(webcrypto) };
  const keyType = "rsa-4096";
  const value = (result: Result<IssuedCertificate>): IssuedCertificate => {
    assert.ok(result.ok);
    return result.value;
  };
  const made = value(await initialiseAuthority({ name: "mycluster", keyType }, context));
  const keyPem = made.keyPem ?? "";
  const authority = await openAuthority({ certificatePem: made.certificatePem, keyPem }, context);
  assert.ok(authority.ok);
  const clusterPem = asVersion1(made.certificatePem, keyPem);
  const write = async (folder: string, base: string, leaf: IssuedCertificate): Promise<void> => {
    await writeFile(join(folder, "cluster.crt"), clusterPem);
    await writeFile(join(folder, `${base}.crt`), asVersion1(leaf.certificatePem, keyPem));
    await writeFile(join(folder, `${base}.key`), leaf.keyPem ?? "");
  };
  const hosts = ["127.0.0.1", "localhost"];
  const { value: issuer } = authority;
  await write(
    files.controlFolder,
    "control-service",
    value(await issueControl(issuer, { hosts, keyType }, context)),
  );
  await write(files.folder, "user", value(await issueUser(issuer, { name: "original", keyType }, context)));
  for (const node of files.nodes)
    await write(node.folder, "node", value(await issueNode(issuer, { uuid: node.node, keyType }, context)));
}
