import { agentProtocolVersion, compareEpochs, firstEpoch } from "@flocker/core";
import type {
  AgentToControl,
  ControlToAgent,
  DatasetId,
  DatasetReport,
  Link,
  NodeId,
  Ownership,
  SliceDataset,
  SliceNode,
} from "@flocker/core";
import { controlNodeName } from "../world.ts";
import type { NodePorts, World } from "../world.ts";

interface Session {
  readonly link: Link;
  sequence: number;
}

/**
 * Just enough of a control service to lead agents by hand: it tells every agent everything, believes what they report,
 * and forgets nothing when it crashes.
 */
export class ScriptedControl {
  readonly #wishes = new Map<DatasetId, NodeId>();
  readonly #ownership = new Map<DatasetId, Ownership>();
  readonly #reports = new Map<NodeId, Map<DatasetId, DatasetReport>>();
  readonly #nodes = new Map<NodeId, SliceNode>();
  readonly #sessions = new Map<NodeId, Session>();

  constructor(world: World) {
    world.node(controlNodeName).start((ports) => {
      this.#sessions.clear();
      for (const [node, known] of this.#nodes) this.#nodes.set(node, { ...known, live: false });
      ports.serveLinks((link, from) => {
        void this.#converse(ports, link, from.node, from.host);
      });
    });
  }

  /** Says where a dataset's primary copy should be; the first time is its birth. */
  want(dataset: DatasetId, primary: NodeId): void {
    this.#wishes.set(dataset, primary);
    const unborn: Ownership = { dataset, epoch: firstEpoch, owner: primary, born: false, since: 0 };
    if (!this.#ownership.has(dataset)) this.#ownership.set(dataset, unborn);
    this.#tell([dataset]);
  }

  /** Whether the dataset is mounted exactly where it should be, as the agents report it, with no reason left. */
  isConverged(dataset: DatasetId): boolean {
    const primary = this.#wishes.get(dataset);
    for (const [node, reports] of this.#reports) {
      const report = reports.get(dataset);
      const mounted = (report?.copy?.mountedAt ?? null) !== null;
      if (mounted !== (node === primary) || (report?.reasons.length ?? 0) > 0) return false;
      if (report?.activity !== null && report !== undefined) return false;
    }
    return primary !== undefined && this.#reports.has(primary);
  }

  report(node: NodeId, dataset: DatasetId): DatasetReport | undefined {
    return this.#reports.get(node)?.get(dataset);
  }

  async #converse(ports: NodePorts, link: Link, node: NodeId, host: string): Promise<void> {
    const session: Session = { link, sequence: 0 };
    for await (const message of link.messages()) {
      this.#take(ports, session, node, host, message as AgentToControl);
    }
    if (this.#sessions.get(node) !== session) return;
    this.#sessions.delete(node);
    this.#learnNode(ports, node, { live: false });
  }

  #take(ports: NodePorts, session: Session, node: NodeId, host: string, message: AgentToControl): void {
    const send = (reply: ControlToAgent): void => session.link.send(reply);
    switch (message.kind) {
      case "hello":
        this.#sessions.get(node)?.link.close();
        send({ kind: "welcome", protocol: agentProtocolVersion, version: "script", clusterId: "script" });
        this.#sessions.set(node, session);
        this.#learnNode(ports, node, {
          live: true,
          name: message.name,
          host,
          port: message.dataAddress.port,
        });
        this.#sendSlice(node, session, [...this.#wishes.keys()], true);
        return;
      case "state":
        for (const report of message.datasets) this.#learn(node, report);
        for (const dataset of message.gone) this.#reports.get(node)?.delete(dataset);
        send({ kind: "state-acknowledged", sequence: message.sequence });
        this.#tell([...message.datasets.map((report) => report.dataset), ...message.gone]);
        return;
      case "heartbeat":
        send({ kind: "heartbeat" });
        return;
      case "progress":
      case "slice-acknowledged":
        return;
    }
  }

  #learnNode(
    ports: NodePorts,
    node: NodeId,
    news: { readonly live: boolean; readonly name?: string; readonly host?: string; readonly port?: number },
  ): void {
    const known = this.#nodes.get(node);
    const dataAddress =
      news.host === undefined || news.port === undefined
        ? (known?.dataAddress ?? null)
        : { host: news.host, port: news.port };
    const name = news.name ?? known?.name ?? node;
    this.#nodes.set(node, { node, name, dataAddress, live: news.live, lastSeenAt: ports.clock.now() });
    this.#tell([]);
  }

  #learn(node: NodeId, report: DatasetReport): void {
    const reports = this.#reports.get(node) ?? new Map<DatasetId, DatasetReport>();
    reports.set(report.dataset, report);
    this.#reports.set(node, reports);
    const record = report.copy?.record;
    const owned = this.#ownership.get(report.dataset);
    if (record?.role !== "primary" || owned === undefined) return;
    const age = compareEpochs(record.epoch, owned.epoch);
    if (age < 0 || (age === 0 && owned.born)) return;
    this.#ownership.set(report.dataset, { ...owned, epoch: record.epoch, owner: node, born: true });
  }

  #tell(datasets: readonly DatasetId[]): void {
    for (const [node, session] of this.#sessions) this.#sendSlice(node, session, datasets, false);
  }

  #sendSlice(node: NodeId, session: Session, datasets: readonly DatasetId[], complete: boolean): void {
    session.sequence += 1;
    const message: ControlToAgent = {
      kind: "slice",
      sequence: session.sequence,
      revision: this.#wishes.size,
      complete: complete ? { begins: true, ends: true } : null,
      datasets: datasets.flatMap((dataset) => this.#entry(node, dataset)),
      removed: [],
      nodes: [...this.#nodes.values()],
    };
    session.link.send(message);
  }

  #entry(node: NodeId, dataset: DatasetId): SliceDataset[] {
    const primary = this.#wishes.get(dataset);
    if (primary === undefined) return [];
    const offers = [...this.#reports].flatMap(([from, reports]) => {
      const record = reports.get(dataset)?.copy?.record;
      if (record?.role !== "relinquished" || record.successor !== node) return [];
      return record.snapshot === undefined ? [] : [{ from, epoch: record.epoch, snapshot: record.snapshot }];
    });
    return [
      {
        dataset,
        desired: { primary, maximumSizeBytes: null, deletion: null },
        ownership: this.#ownership.get(dataset) ?? null,
        conflict: false,
        lease: null,
        relinquishedToYou: offers.at(-1) ?? null,
      },
    ];
  }
}
