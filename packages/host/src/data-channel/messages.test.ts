import assert from "node:assert/strict";
import test from "node:test";
import { success } from "@flocker/core";
import type { PeerRequest } from "@flocker/core";
import fc from "fast-check";
import { receiveRequest, testDataset } from "../testing/data-channel-rig.ts";
import { dataChannelVersion } from "./frames.ts";
import { parseProblem, parseReply, parseRequestHeader } from "./messages.ts";

const header = (request: unknown, rest: object = {}): object => ({
  version: dataChannelVersion,
  silenceMs: 30_000,
  request,
  ...rest,
});
const describe: PeerRequest = { kind: "describe", dataset: testDataset };

test("a request of another version is told apart from a malformed one", () => {
  for (const version of [0, 2, 99]) {
    const parsed = parseRequestHeader({ version, something: "new" });
    assert.equal(!parsed.ok && parsed.problem.code, "protocol-version");
    assert.match(parsed.ok ? "" : parsed.problem.message, new RegExp(`of version ${version}, .* version 1`));
  }
});

for (const [what, value, where] of [
  ["no object", 7, /malformed/],
  ["no version", {}, /malformed/],
  ["a version that is no number", { version: "1" }, /\/version/],
  ["no silence", header(describe, { silenceMs: undefined }), /silenceMs|malformed/],
  ["a silence of nothing", header(describe, { silenceMs: 0 }), /\/silenceMs/],
  ["no request", header(undefined), /malformed/],
  ["an unknown kind", header({ kind: "explode", dataset: testDataset }), /kind "explode"/],
  ["a kind of the language's own", header({ kind: "constructor" }), /kind "constructor"/],
  ["an upper-case dataset", header({ kind: "describe", dataset: testDataset.toUpperCase() }), /\/dataset/],
  ["a path for a dataset", header({ kind: "describe", dataset: "../../etc" }), /\/dataset/],
  ["a negative epoch", header({ ...receiveRequest, epoch: { term: -1, step: 0 } }), /\/epoch\/term/],
  ["half a step", header({ ...receiveRequest, epoch: { term: 1, step: 0.5 } }), /\/epoch\/step/],
  ["an empty guid", header({ ...receiveRequest, base: "" }), /\/base/],
  ["an endless guid", header({ ...receiveRequest, base: "x".repeat(513) }), /\/base/],
  ["a negative size", header({ ...receiveRequest, maximumSizeBytes: -1 }), /\/maximumSizeBytes/],
] as const) {
  test(`a request with ${what} is malformed, and it is said where`, () => {
    const parsed = parseRequestHeader(value);
    assert.ok(!parsed.ok);
    assert.equal(parsed.problem.code, "protocol-violation");
    assert.match(parsed.problem.message, where);
  });
}

test("no value at all makes the reading of messages throw", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      assert.equal(parseRequestHeader(value).ok, false);
      assert.equal(parseRequestHeader(header(value)).ok, false);
      assert.equal(parseReply(value, describe).ok, false);
      assert.equal(parseReply({ ok: true, value }, describe).ok, false);
      assert.equal(typeof parseProblem(value).code, "string");
    }),
  );
});

test("a reply to something else than was asked is no reply", () => {
  const parsed = parseReply(success({ kind: "promote" }), {
    kind: "take-back",
    dataset: testDataset,
    epoch: { term: 1, step: 0 },
  });
  assert.equal(!parsed.ok && parsed.problem.code, "protocol-violation");
});

test("fields that a newer peer adds are no error", () => {
  assert.ok(parseRequestHeader(header({ ...describe, extra: 1 }, { extra: 2 })).ok);
});

test("a refusal comes through as it is, and with a code that is not known yet as a refusal", () => {
  const problem = { code: "no-space", message: "full", remedy: "free some", field: "size" };
  assert.deepEqual(parseReply({ ok: false, problem }, describe), { ok: false, problem });
  const newer = { ...problem, code: "solar-flare" };
  assert.deepEqual(parseReply({ ok: false, problem: newer }, describe), {
    ok: false,
    problem: { ...problem, code: "peer-refused" },
  });
});
