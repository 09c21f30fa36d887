import {
  assert,
  failure,
  snapshotNamePrefix,
  success,
  unreachable,
  type Abort,
  type Action,
  type ActionAnswer,
  type Backend,
  type ByteStream,
  type Clock,
  type DatasetId,
  type Ids,
  type PeerReply,
  type PeerRequest,
  type Peers,
  type Result,
} from "@flocker/core";

/** What actions need of the outside world. */
export interface ActionPorts {
  readonly backend: Backend;
  readonly peers: Peers;
  readonly clock: Clock;
  readonly ids: Ids;
}

export interface ActionContext {
  readonly abort: Abort;
  readonly onProgress: (doneBytes: number, totalBytes: number | null) => void;
}

const ended: ActionAnswer = { kind: "done" };

/** Carries out one action of the plan: an interpreter without decisions of its own. */
export async function performAction(
  ports: ActionPorts,
  dataset: DatasetId,
  action: Action,
  context: ActionContext,
): Promise<Result<ActionAnswer>> {
  const { backend } = ports;
  switch (action.do) {
    case "create":
      return answered(await backend.create(action.record, action.maximumSizeBytes, action.origin));
    case "mount":
      return answered(await backend.mount(dataset));
    case "unmount":
      return answered(await backend.unmount(dataset));
    case "resize":
      return answered(await backend.resize(dataset, action.maximumSizeBytes));
    case "write-record":
      return answered(await backend.writeRecord(action.record));
    case "trash":
      return answered(await backend.trash(dataset, ports.clock.now()));
    case "restore":
      return answered(await backend.restore(dataset));
    case "destroy":
      return answered(await backend.destroy(dataset));
    case "prune":
      return answered(await backend.destroySnapshots(dataset, action.guids));
    case "discard-partial":
      assert(backend.discardPartial !== undefined, "a backend that shows partials can discard them");
      return answered(await backend.discardPartial(dataset));
    case "snapshot": {
      const taken = await backend.snapshot(dataset, `${snapshotNamePrefix}${ports.ids.uuid()}`);
      return taken.ok ? success({ kind: "snapshot", snapshot: taken.value }) : taken;
    }
    case "describe":
    case "hand-over":
    case "take-back":
      return askPeer(ports, dataset, action, context);
    case "send":
      return sendCopy(ports, dataset, action, context);
    case "renounce":
      assert(false, "a renouncement is a note of the machine's own");
      break;
    default:
      return unreachable(action);
  }
}

function answered(result: Result<void>): Result<ActionAnswer> {
  return result.ok ? success(ended) : result;
}

async function askPeer(
  ports: ActionPorts,
  dataset: DatasetId,
  action: Extract<Action, { do: "describe" | "hand-over" | "take-back" }>,
  context: ActionContext,
): Promise<Result<ActionAnswer>> {
  const result = await ports.peers.ask(action.peer, requestOf(dataset, action), { abort: context.abort });
  if (!result.ok) return result;
  const reply = result.value;
  if (action.do === "describe" && reply.kind === "describe") {
    const { record, snapshots, unchangedSince, partial = null } = reply;
    return success({
      kind: "described",
      knowledge: { node: action.peer.node, record, snapshots, unchangedSince, partial },
    });
  }
  if (action.do === "hand-over" && reply.kind === "promote") return success(ended);
  if (action.do === "take-back" && reply.kind === "take-back")
    return success({ kind: "take-back", granted: reply.granted });
  return wrongReply(action.do, reply);
}

function requestOf(
  dataset: DatasetId,
  action: Extract<Action, { do: "describe" | "hand-over" | "take-back" }>,
): PeerRequest {
  switch (action.do) {
    case "describe":
      return { kind: "describe", dataset };
    case "hand-over":
      return { kind: "promote", dataset, epoch: action.epoch, snapshot: action.snapshot };
    case "take-back":
      return { kind: "take-back", dataset, epoch: action.epoch };
  }
}

async function sendCopy(
  ports: ActionPorts,
  dataset: DatasetId,
  action: Extract<Action, { do: "send" }>,
  context: ActionContext,
): Promise<Result<ActionAnswer>> {
  const { peer, epoch, base, snapshot, maximumSizeBytes } = action;
  const resume = action.resume === undefined ? {} : { resume: action.resume };
  const profile = action.profile === undefined ? {} : { profile: action.profile };
  const since = ports.clock.monotonic();
  const sending = { dataset, base, snapshot: snapshot.guid, ...resume };
  const opened = await ports.backend.send(sending, context.abort);
  if (!opened.ok) return opened;
  const { stream, estimatedBytes } = opened.value;
  const request: PeerRequest = {
    kind: "receive",
    dataset,
    epoch,
    base,
    snapshot,
    maximumSizeBytes,
    estimatedBytes,
    ...profile,
    ...resume,
  };
  const result = await ports.peers.ask(peer, request, {
    body: stream,
    abort: context.abort,
    onProgress: (doneBytes) => context.onProgress(doneBytes, estimatedBytes),
  });
  if (!result.ok) return result;
  if (result.value.kind !== "receive") return wrongReply("send", result.value);
  const durationMs = ports.clock.monotonic() - since;
  return success({ kind: "sent", sentBytes: result.value.receivedBytes, durationMs });
}

function wrongReply(did: string, reply: PeerReply): Result<never> {
  return failure(
    "protocol-violation",
    `The other node answered a ${did} with a ${reply.kind}.`,
    "Run the same version of Flocker on both nodes, or versions one minor apart.",
  );
}

/** Carries out another agent's request that the machine has accepted. */
export async function serveRequest(
  backend: Backend,
  dataset: DatasetId,
  request: PeerRequest,
  body: ByteStream,
  abort: Abort,
): Promise<Result<PeerReply>> {
  if (request.kind === "promote") {
    const written = await backend.writeRecord({ dataset, epoch: request.epoch, role: "primary" });
    return written.ok ? success({ kind: "promote" }) : written;
  }
  assert(request.kind === "receive", "only a promotion or a stream is work");
  const { base, snapshot, epoch, maximumSizeBytes } = request;
  const resume = request.resume === undefined ? {} : { resume: request.resume };
  const profile = request.profile === undefined ? {} : { profile: request.profile };
  const record = { dataset, epoch, role: "replica" } as const;
  const counter = { bytes: 0 };
  const received = await backend.receive(
    { dataset, base, snapshot, record, maximumSizeBytes, ...profile, ...resume },
    counted(body, counter),
    abort,
  );
  return received.ok ? success({ kind: "receive", receivedBytes: counter.bytes }) : received;
}

async function* counted(body: ByteStream, counter: { bytes: number }): ByteStream {
  for await (const chunk of body) {
    counter.bytes += chunk.byteLength;
    yield chunk;
  }
}
