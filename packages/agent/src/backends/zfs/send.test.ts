// What `zfs send -nP` says about the size of a stream.
import assert from "node:assert/strict";
import { test } from "node:test";

import { estimateIn } from "./send.ts";

test("the size of a stream is what is told of it", () => {
  assert.equal(estimateIn("full\ttank/a@b\t4711\nsize\t4711\n"), 4711);
  assert.equal(estimateIn("nothing of the kind"), null);
});

test("a resumed stream whose size has run below zero has no estimate", () => {
  assert.equal(estimateIn("resume token contents:\nsize\t18446744073709512345\n"), null);
});
