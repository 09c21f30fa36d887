// The control service is not needed to serve: agents go on without it, and finish what they had begun.
import assert from "node:assert/strict";
import { readFile, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { pollUntil } from "@flocker/cli/local";
import { systemClock } from "@flocker/host";
import {
  createDataset,
  fileOn,
  move,
  ready,
  servedBy,
  settled,
  settleTimeoutMs,
  startRig,
  whenDone,
  type Rig,
} from "./rig.ts";

async function untilServedBy(rig: Rig, dataset: string, name: string): Promise<void> {
  const result = await pollUntil(systemClock, {
    waitingFor: `${name} to serve the dataset`,
    timeoutMs: settleTimeoutMs,
    ask: async () => ((await servedBy(rig, dataset)).join() === name ? true : undefined),
  });
  assert.ok(result.ok, result.ok ? "" : result.problem.message);
}

test("without the control service agents serve, mount what they own, and finish a move past its unmount", async (t) => {
  const rig = await startRig(t, { nodeCount: 2 });
  const [a, b] = [rig.node(0), rig.node(1)];
  const kept = await createDataset(rig, "kept", a);
  const moving = await createDataset(rig, "moving", a);
  await writeFile(fileOn(a, kept, "file"), "kept");
  await writeFile(fileOn(a, moving, "file"), "moving");

  const unmounted = whenDone(a, "unmount", 1, () =>
    rig.cluster.control.stop("SIGKILL").then(() => undefined),
  );
  await move(rig, moving, b);
  await unmounted;
  await untilServedBy(rig, moving, b.name);
  assert.equal(
    await readFile(fileOn(b, moving, "file"), "utf8"),
    "moving",
    "the move was finished without it",
  );
  assert.equal(
    await readFile(fileOn(a, kept, "file"), "utf8"),
    "kept",
    "the other dataset was served all the time",
  );

  await a.agent.stop("SIGKILL");
  // As after a reboot: nothing is mounted until the agent has looked.
  await unlink(join(a.mountRoot, kept));
  a.agent.start();
  await untilServedBy(rig, kept, a.name);
  await writeFile(fileOn(a, kept, "file"), "written without a control service");

  rig.cluster.control.start();
  await ready(rig);
  await settled(rig, moving, b);
  await settled(rig, kept, a);
  assert.equal(await readFile(fileOn(a, kept, "file"), "utf8"), "written without a control service");
});

test("a handoff does not start without the control service, so that no lease is missed", async (t) => {
  const rig = await startRig(t, { nodeCount: 2 });
  const [a, b] = [rig.node(0), rig.node(1)];
  const dataset = await createDataset(rig, "stays", a);
  await b.agent.stop("SIGKILL");
  await move(rig, dataset, b);
  await rig.cluster.control.stop("SIGKILL");
  b.agent.start();
  // The source has learned of the move, the target is back; only the control service is missing.
  const described = whenDone(a, "describe", 1, () => Promise.resolve());
  await described;
  await a.agent.stop("SIGKILL");
  a.agent.start();
  await whenDone(a, "describe", 1, () => Promise.resolve());
  assert.deepEqual(await servedBy(rig, dataset), [a.name], "the source serves on");
  rig.cluster.control.start();
  await ready(rig);
  await settled(rig, dataset, b);
});
