import type { ConfigurationStore } from "@flocker/control";
import type { Incarnation } from "./node.ts";

/**
 * Ends what a control service was just doing when it went down in the middle of it: nobody hears of it any
 * more.
 */
export class ControlIsDown extends Error {
  override readonly name = "ControlIsDown";

  constructor() {
    super("The control service has gone down in the middle of this.");
  }
}

/**
 * The store as one incarnation of the control service has it: what it commits is an effect, at which a crash
 * may lie, and once it is down it changes nothing any more. What a commit has answered is durable.
 */
export function storeOf(incarnation: Incarnation, store: ConfigurationStore): ConfigurationStore {
  const effect = <Value>(label: string, change: () => Value): Value => {
    const outcome = incarnation.perform(label, change);
    if (outcome === undefined) throw new ControlIsDown();
    return outcome.value;
  };
  return {
    ...methodsOf(store),
    commit: (request) => effect(`commits for ${request.author}`, () => store.commit(request)),
    saveOwnerships: (ownerships) => {
      if (ownerships.length === 0) return;
      effect(`saves ${ownerships.length} ownerships`, () => store.saveOwnerships(ownerships));
    },
    saveNode: (node) => effect(`saves the node ${node.name}`, () => store.saveNode(node)),
  };
}

/** A store's methods as properties of an object, so that single ones can be replaced. */
export function methodsOf(store: ConfigurationStore): ConfigurationStore {
  return {
    clusterId: store.clusterId,
    current: () => store.current(),
    ownerships: () => store.ownerships(),
    nodes: () => store.nodes(),
    commit: (request) => store.commit(request),
    saveOwnerships: (ownerships) => store.saveOwnerships(ownerships),
    saveNode: (node) => store.saveNode(node),
    readAt: (revision) => store.readAt(revision),
    history: (afterRevision, limit) => store.history(afterRevision, limit),
    watch: (onCommit) => store.watch(onCommit),
    backup: (path) => store.backup(path),
    close: () => store.close(),
  };
}
