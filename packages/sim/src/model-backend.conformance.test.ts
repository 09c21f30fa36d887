// The model backend passes what every backend passes, with and without live snapshots.
import type { Backend, Capabilities, DatasetId, Result } from "@flocker/core";
import { failure } from "@flocker/core";
import { backendConformance } from "@flocker/agent/backend-conformance";
import type { BackendHarness, BackendNode } from "@flocker/agent/backend-conformance";
import { defaultModelDiskOptions } from "./model-disk.ts";
import { World } from "./world.ts";
import type { WorldNode } from "./world.ts";

/** The suite awaits its calls without knowing of simulated time, so the world is driven meanwhile. */
function harness(abilities: Partial<Capabilities>): BackendHarness {
  const capabilities = { ...defaultModelDiskOptions.capabilities, ...abilities };
  const world = new World({ seed: 1, disk: { capabilities } });
  const stop = world.scheduler.drive((error) => {
    throw error;
  });
  return {
    nodes: [conforming(world.node("a")), conforming(world.node("b")), conforming(world.node("c"))],
    dispose: async () => stop(),
  };
}

function conforming(node: WorldNode): BackendNode {
  const { disk } = node;
  const pathOf = (dataset: DatasetId, path: string): string => `${disk.mountPoint(dataset)}/${path}`;
  const insist = (result: Result<void>): void => {
    if (!result.ok) throw new Error(`${result.problem.code}: ${result.problem.message}`);
  };
  return {
    get backend() {
      return answeringAfterDeath(node);
    },
    reopen: async () => {
      node.machine.crash("program");
      node.restart();
    },
    // Each byte is one character in latin1, so any bytes can be text.
    write: async (dataset, path, content) =>
      insist(disk.write(pathOf(dataset, path), Buffer.from(content).toString("latin1"))),
    remove: async (dataset, path) => insist(disk.remove(pathOf(dataset, path))),
    files: async (dataset) =>
      new Map(
        [...(disk.copies.get(dataset)?.mounted === true ? (disk.peek(dataset) ?? []) : [])].map(
          ([path, text]): [string, Uint8Array] => [path, Buffer.from(text, "latin1")],
        ),
      ),
    hold: async (dataset) => {
      const who = "postgres[412]";
      const release = disk.hold(dataset, who);
      return { who, release: async () => release() };
    },
    breakRecord: async (dataset) => {
      disk.breakCopy(dataset, failure("storage-unreadable", "The record is damaged.", "Restore it.").problem);
      return async () => disk.breakCopy(dataset, null);
    },
    breakStorage: async () => {
      disk.breakStorage(failure("storage-unreadable", "The disk is gone.", "Put it back.").problem);
      return async () => disk.breakStorage(null);
    },
    fillDisk: async () => {
      const release = disk.fill(2 ** 20);
      return async () => release();
    },
  };
}

/** A call whose agent has died never ends here, but the suite waits for it: so its death is the answer. */
function answeringAfterDeath(node: WorldNode): Backend {
  const { incarnation } = node.machine;
  const { backend } = node.ports;
  const death = new Promise<Result<void>>((resolve) => {
    incarnation.onDown(() =>
      resolve(failure("transfer-interrupted", "The agent has died.", "It is started again by itself.")),
    );
  });
  return {
    ...backend,
    receive: (request, stream, abort) => Promise.race([backend.receive(request, stream, abort), death]),
  };
}

backendConformance("model (live snapshots)", async () => harness({ liveSnapshots: true }));
backendConformance("model (snapshots while unmounted)", async () => harness({ liveSnapshots: false }));
backendConformance("model (resumable)", async () => harness({ resume: true }));
