import assert from "node:assert/strict";
import { test } from "node:test";
import { recordingTerminal } from "./cli-fixtures.test.ts";
import { progressOn } from "./progress.ts";

test("on a terminal one line is rewritten, cut to the width, and taken away at the end", () => {
  const { terminal, written } = recordingTerminal(true);
  const progress = progressOn({ ...terminal, columns: 11 });
  progress.show("a", "1 %");
  progress.show("a", "a long line that would wrap");
  progress.end();
  assert.equal(written().error, "\r\u001b[2K1 %\r\u001b[2Ka long li…\r\u001b[2K");
  assert.equal(written().out, "");
});

test("elsewhere only new stages are written, as plain lines", () => {
  const { terminal, written } = recordingTerminal();
  const progress = progressOn(terminal);
  progress.show("moving", "moving 1 %");
  progress.show("moving", "moving 2 %");
  progress.show("mounting", "mounting");
  progress.end();
  assert.equal(written().error, "moving 1 %\nmounting\n");
});
