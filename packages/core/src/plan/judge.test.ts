// What an agent answers to another that wants to go on with an interrupted transfer.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { PartialReceive } from "../model/copy.ts";
import { copy, dataset, epoch, nodeB, slice, nodeA } from "../testing/plan-fixtures.ts";
import { judgeReceive, type Judgement } from "./judge.ts";

const held = { guid: "s1", name: "flocker-s1", createdAt: 1 };
const snapshot = { guid: "s2", name: "flocker-s2", createdAt: 2 };
const partial: PartialReceive = { dataset, snapshot: "s2", base: null, token: "half" };

function verdict(
  left: PartialReceive | null,
  resume: string | undefined,
  base: string | null = null,
): string {
  const record = { dataset, epoch: epoch(0), role: "replica" } as const;
  const judgement: Judgement = {
    local: { kind: "copy", copy: copy({ record, snapshots: [held], unchangedSince: "s1" }) },
    partial: left,
    slice: slice(nodeA),
    promised: null,
    from: nodeB,
  };
  const judged = judgeReceive(judgement, {
    kind: "receive",
    dataset,
    epoch: epoch(0),
    base,
    snapshot,
    maximumSizeBytes: null,
    estimatedBytes: null,
    ...(resume === undefined ? {} : { resume }),
  });
  return judged.kind === "refuse" ? judged.problem.code : judged.kind;
}

test("the rest of a stream is taken only by who has exactly what comes before it", () => {
  assert.equal(verdict(partial, "half"), "accept");
  assert.equal(verdict(null, "half"), "resume-token-dead");
  assert.equal(verdict({ ...partial, token: "more" }, "half"), "resume-token-dead");
  assert.equal(verdict({ ...partial, snapshot: "s3" }, "half"), "resume-token-dead");
  assert.equal(verdict({ ...partial, base: "s1" }, "half"), "resume-token-dead");
  assert.equal(verdict({ ...partial, base: "s1" }, "half", "s1"), "accept");
});

test("a stream from its beginning is taken whatever an interrupted one has left", () => {
  assert.equal(verdict(partial, undefined), "accept");
});
