import type { v2 } from "@flocker/api";
import {
  assert,
  failure,
  parseNodeId,
  success,
  type AgentStore,
  type Era,
  type NodeId,
  type Result,
} from "@flocker/core";

const table = "plugin";
const key = "node";

/** Which node this machine is: configured, or the one whose agent has told this kernel's boot id. */
export class OwnNode {
  readonly #store: AgentStore;
  readonly #era: Era;
  #known: Result<NodeId>;

  constructor(options: {
    readonly store: AgentStore;
    readonly era: Era;
    readonly configured: NodeId | null;
  }) {
    this.#store = options.store;
    this.#era = options.era;
    const noted = options.store.all(table).get(key) as { node: NodeId; era: Era } | undefined;
    this.#known =
      options.configured !== null
        ? success(options.configured)
        : noted?.era === options.era
          ? success(noted.node)
          : unknownYet(options.era);
  }

  get(): Result<NodeId> {
    return this.#known;
  }

  /** Takes in what nodes there are. What is known stays known for this boot. */
  learn(nodes: readonly v2.Node[]): void {
    if (this.#known.ok) return;
    const here = nodes.filter((node) => node.era.toLowerCase() === this.#era);
    const live = here.filter((node) => node.connected);
    const [found, another] = live.length > 0 ? live : here;
    if (found === undefined) this.#known = unknownYet(this.#era);
    else if (another !== undefined) this.#known = ambiguous(here.map((node) => node.node_id));
    else {
      const node = parseNodeId(found.node_id);
      assert(node !== undefined, "the API's node ids are uuids");
      this.#known = success(node);
      this.#store.write([{ table, key, value: { node, era: this.#era } }]);
    }
  }
}

/**
 * It may become known at any time, when the agent or the control service comes: worth waiting for a while.
 */
function unknownYet(era: Era): { ok: false; problem: ReturnType<typeof failure>["problem"] } {
  return failure(
    "control-unreachable",
    `Which node this machine is is not known yet: no agent has told the control service the boot id ${era}.`,
    "Check that this machine's agent runs and has a session (flocker nodes), or name the node in plugin.yml.",
  );
}

function ambiguous(nodes: readonly string[]): ReturnType<typeof failure> {
  return failure(
    "configuration-invalid",
    `Several agents run on this machine: nodes ${nodes.join(", ")}.`,
    "Name the one that this plugin belongs to as node in plugin.yml.",
    "node",
  );
}
