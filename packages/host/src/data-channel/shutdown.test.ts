import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import test from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { ProblemError, failure, success } from "@flocker/core";
import { systemClock } from "../clock.ts";
import { silentLog } from "../log.ts";
import {
  answeringNode,
  dataChannelRig,
  observedBody,
  receiveRequest,
  testDataset,
} from "../testing/data-channel-rig.ts";
import { makeTestCertificates, testCredentials } from "../testing/test-certificates.ts";
import { dataChannelServer } from "./server.ts";

const never = new AbortController().signal;
const describe = { kind: "describe", dataset: testDataset } as const;

function* endless(): Generator<Uint8Array> {
  for (;;) yield Buffer.alloc(256 * 1024, 5);
}

test("a server that closes stops its handlers, tells the senders why, and takes nothing new", async () => {
  let bodyProblem: unknown;
  let started: () => void = () => undefined;
  const running = new Promise<void>((resolve) => (started = resolve));
  await using rig = await dataChannelRig({
    limits: { closeMs: 20_000 },
    handler: async (_from, _request, body, abort) => {
      started();
      try {
        for await (const _ of body) continue;
      } catch (error) {
        bodyProblem = error;
      }
      assert.ok(abort.aborted);
      return failure("transfer-interrupted", "Stopped.", "");
    },
  });
  const body = observedBody(endless());
  const asked = rig.peers.ask(rig.peer, receiveRequest, { body, abort: never });
  await running;
  const startedAt = performance.now();
  await rig.close();
  assert.ok(performance.now() - startedAt < 10_000, "it need not wait for its bound");
  const reply = await asked;
  assert.equal(!reply.ok && reply.problem.code, "transfer-interrupted");
  assert.match(reply.ok ? "" : reply.problem.message, /is stopping/);
  assert.ok(body.closed);
  assert.ok(bodyProblem instanceof ProblemError);
  const late = await rig.peers.ask(rig.peer, describe, { abort: never });
  assert.equal(!late.ok && late.problem.code, "peer-unreachable");
});

test("a handler that does not stop delays the closing only by its bound", async () => {
  let started: () => void = () => undefined;
  const running = new Promise<void>((resolve) => (started = resolve));
  let finish: () => void = () => undefined;
  const finished = new Promise<void>((resolve) => (finish = resolve));
  await using rig = await dataChannelRig({
    limits: { closeMs: 100 },
    handler: async () => {
      started();
      await finished;
      return success({ kind: "promote" });
    },
  });
  const asked = rig.peers.ask(rig.peer, receiveRequest, { body: observedBody(endless()), abort: never });
  await running;
  const startedAt = performance.now();
  await rig.close();
  assert.ok(performance.now() - startedAt < 10_000);
  assert.equal((await asked).ok, false);
  assert.ok(rig.log.entries().some((entry) => entry.event === "data-channel-handlers-left"));
  finish();
});

test("who comes when too many are there is told that the node is busy, and may come again", async () => {
  let finish: () => void = () => undefined;
  const finished = new Promise<void>((resolve) => (finish = resolve));
  let running = 0;
  await using rig = await dataChannelRig({
    limits: { maximumRequests: 2 },
    handler: async () => {
      running += 1;
      await finished;
      return success({ kind: "describe", record: null, snapshots: [], unchangedSince: null });
    },
  });
  const ask = () => rig.peers.ask(rig.peer, describe, { abort: never });
  const first = [ask(), ask()];
  for (let tries = 0; tries < 500 && running < 2; tries += 1) await delay(10);
  const refused = await ask();
  assert.equal(!refused.ok && refused.problem.code, "peer-busy");
  finish();
  for (const reply of await Promise.all(first)) assert.ok(reply.ok);
  assert.ok((await ask()).ok);
});

test("what a handler throws becomes the answer: a problem as it is, anything else as our mistake", async () => {
  const problem = failure("command-failed", "The command failed.", "See its output.").problem;
  let thrown: Error = new ProblemError(problem);
  await using rig = await dataChannelRig({ handler: () => Promise.reject(thrown) });
  assert.deepEqual(await rig.peers.ask(rig.peer, describe, { abort: never }), { ok: false, problem });
  thrown = new TypeError("secret detail");
  const reply = await rig.peers.ask(rig.peer, describe, { abort: never });
  assert.equal(!reply.ok && reply.problem.code, "internal");
  assert.doesNotMatch(reply.ok ? "" : reply.problem.message, /secret/);
  assert.ok(rig.log.entries().some((entry) => entry.event === "data-channel-handler-threw"));
});

test("a broken assertion in a handler ends the process, as everywhere", () => {
  const rig = new URL("../testing/data-channel-rig.ts", import.meta.url).href;
  const program = `
    import { assert } from "@flocker/core";
    import { dataChannelRig, testDataset } from ${JSON.stringify(rig)};
    const rig = await dataChannelRig({ handler: async () => assert(false, "pigs fly") });
    const abort = new AbortController().signal;
    await rig.peers.ask(rig.peer, { kind: "describe", dataset: testDataset }, { abort });
    process.exit(0);
  `;
  const run = spawnSync(process.execPath, ["--conditions=source", "--input-type=module", "-e", program], {
    cwd: import.meta.dirname,
    encoding: "utf8",
    timeout: 60_000,
  });
  assert.equal(run.status, 1);
  assert.match(run.stderr, /this must hold: pigs fly/);
});

test("an answer that is too long is said to be, not cut", async () => {
  const snapshots = Array.from({ length: 100_000 }, (_, index) => `snapshot-guid-${index}`.padEnd(50, "-"));
  await using rig = await dataChannelRig({
    handler: () =>
      Promise.resolve(success({ kind: "describe", record: null, snapshots, unchangedSince: null })),
  });
  const reply = await rig.peers.ask(rig.peer, describe, { abort: never });
  assert.match(reply.ok ? "" : reply.problem.message, /too long/);
});

test("an occupied port and a certificate of another role are refused at the start", async () => {
  const certificates = makeTestCertificates();
  const options = {
    host: "127.0.0.1",
    port: 0,
    credentials: testCredentials(certificates.node(answeringNode)),
    handler: () => Promise.resolve(success({ kind: "promote" as const })),
    log: silentLog,
    clock: systemClock,
  };
  const first = await dataChannelServer(options);
  assert.ok(first.ok);
  const second = await dataChannelServer({ ...options, port: first.value.port });
  assert.equal(!second.ok && second.problem.code, "port-in-use");
  await first.value.close();
  for (const files of [certificates.control(), certificates.user("alice")]) {
    const refused = await dataChannelServer({ ...options, credentials: testCredentials(files) });
    assert.equal(!refused.ok && refused.problem.code, "certificate-role");
  }
});
