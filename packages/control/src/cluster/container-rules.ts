import {
  failure,
  success,
  type ContainerConfiguration,
  type DatasetId,
  type NodeId,
  type Ownership,
  type Result,
} from "@flocker/core";
import type { Change } from "../store/store.ts";
import type { Caller, Composition } from "./cluster.ts";
import type { ContainerTable } from "./container-table.ts";
import { checkSize } from "./limits.ts";
import { checkRevision, type Decided, type RulesView } from "./rules.ts";

/** What the rules of containers look at. */
export interface ContainerContext {
  readonly view: RulesView;
  readonly containers: Pick<ContainerTable, "all" | "get" | "using">;
  readonly caller: Caller;
}

type Refusal = ReturnType<typeof failure> | undefined;

/**
 * A container must have a name of its own in the cluster, as must its external ports, and be where its
 * dataset is, alone. The checks come in the original's order. A `container-conflict` names what is in the way
 * in its field.
 */
export function decideCreateContainer(container: ContainerConfiguration, context: ContainerContext): Decided {
  const doing = `Creating the container ${container.name}`;
  const problem =
    checkRevision(context.view, context.caller, doing) ??
    checkContainerName(container, context, doing) ??
    checkVolume(container, context, doing) ??
    checkPorts(container, context.containers.all(), doing) ??
    checkLinks(container, doing);
  return problem ?? success<readonly Change[]>([{ kind: "put-container", value: container }]);
}

/** The container's dataset moves with it. */
export function decideMoveContainer(name: string, node: NodeId, context: ContainerContext): Decided {
  const found = findContainer(name, context, `Moving the container ${name}`);
  if (!found.ok) return found;
  const { volume } = found.value;
  const changes: Change[] = [];
  if (found.value.node !== node) changes.push({ kind: "put-container", value: { ...found.value, node } });
  const dataset = volume === null ? undefined : context.view.configuration(volume.dataset);
  if (dataset !== undefined && dataset.primary !== node)
    changes.push({ kind: "put-dataset", value: { ...dataset, primary: node } });
  return success<readonly Change[]>(changes);
}

/** Its dataset stays. */
export function decideDeleteContainer(name: string, context: ContainerContext): Decided {
  const found = findContainer(name, context, `Deleting the container ${name}`);
  if (!found.ok) return found;
  return success<readonly Change[]>([{ kind: "remove-container", name }]);
}

/**
 * The changes that leave exactly these containers, each with its dataset where it is. Datasets that are not
 * named stay as they are, with their leases: a file that forgot one must not be able to drop it.
 */
export function decideCompose(
  composition: Composition,
  context: ContainerContext & {
    readonly birth: (dataset: DatasetId, primary: NodeId) => Ownership;
  },
): Decided {
  const { view, containers, caller, birth } = context;
  const doing = "Replacing the containers";
  const problem =
    checkRevision(view, caller, doing) ??
    checkEachPort(composition.containers, doing) ??
    composition.containers.map((one) => checkLinks(one, doing)).find((one) => one !== undefined);
  if (problem !== undefined) return problem;
  const changes: Change[] = [];
  const seen = new Set<DatasetId>();
  for (const wish of composition.datasets) {
    const change = composeDataset(wish, { view, birth, seen, doing });
    if (!change.ok) return change;
    if (change.value !== null) changes.push(change.value);
    seen.add(wish.dataset);
  }
  const wanted = new Set(composition.containers.map((container) => container.name));
  for (const { name } of containers.all())
    if (!wanted.has(name)) changes.push({ kind: "remove-container", name });
  for (const value of composition.containers)
    if (JSON.stringify(containers.get(value.name)) !== JSON.stringify(value))
      changes.push({ kind: "put-container", value });
  return success<readonly Change[]>(changes);
}

function composeDataset(
  wish: Composition["datasets"][number],
  context: {
    readonly view: RulesView;
    readonly birth: (dataset: DatasetId, primary: NodeId) => Ownership;
    readonly seen: ReadonlySet<DatasetId>;
    readonly doing: string;
  },
): Result<Change | null> {
  const { view, birth, seen, doing } = context;
  const { dataset, primary, maximumSizeBytes, metadata } = wish;
  if (seen.has(dataset))
    return conflict(`${doing}: dataset ${dataset} is used by two of them.`, "volumes", "Give each its own.");
  const before = view.configuration(dataset);
  if (before === undefined) {
    const value = { dataset, primary, maximumSizeBytes, metadata, deletion: null, revision: 0 };
    const refused = checkSize(maximumSizeBytes, doing);
    return refused ?? success({ kind: "put-dataset", value, birth: birth(dataset, primary) });
  }
  if (before.deletion?.purged === true)
    return failure(
      "already-purged",
      `${doing}: dataset ${dataset} was deleted, and its grace time is over.`,
      "Name another dataset_id.",
      "dataset_id",
    );
  const size = maximumSizeBytes ?? before.maximumSizeBytes;
  const refused = size === before.maximumSizeBytes ? undefined : checkSize(size, doing);
  if (refused !== undefined) return refused;
  const isSame = before.primary === primary && before.deletion === null && size === before.maximumSizeBytes;
  if (isSame) return success(null);
  return success({
    kind: "put-dataset",
    value: { ...before, primary, maximumSizeBytes: size, deletion: null },
  });
}

function findContainer(
  name: string,
  { view, containers, caller }: ContainerContext,
  doing: string,
): Result<ContainerConfiguration> {
  const mismatch = checkRevision(view, caller, doing);
  if (mismatch !== undefined) return mismatch;
  const found = containers.get(name);
  if (found !== undefined) return success(found);
  return failure(
    "unknown-container",
    `${doing}: there is none of this name.`,
    "List the containers.",
    "name",
  );
}

function checkContainerName(
  { name }: ContainerConfiguration,
  { containers }: ContainerContext,
  doing: string,
): Refusal {
  if (containers.get(name) === undefined) return undefined;
  return conflict(`${doing}: there is one of this name.`, "name", "Choose another name.");
}

function checkVolume(container: ContainerConfiguration, context: ContainerContext, doing: string): Refusal {
  const { volume, node } = container;
  if (volume === null) return undefined;
  const dataset = context.view.configuration(volume.dataset);
  if (dataset === undefined || dataset.deletion !== null)
    return failure(
      "unknown-dataset",
      `${doing}: there is no dataset ${volume.dataset}.`,
      "Create the dataset first.",
      "volumes",
    );
  if (dataset.primary !== node)
    return conflict(
      `${doing}: its dataset ${volume.dataset} is on another node, ${dataset.primary}.`,
      "node_uuid",
      "Create the container there, or move the dataset first.",
    );
  const user = context.containers.using(volume.dataset);
  if (user === undefined) return undefined;
  return conflict(
    `${doing}: its dataset ${volume.dataset} is used by the container ${user.name}.`,
    "volumes",
    "Use another dataset, or delete that container.",
  );
}

function checkPorts(
  container: ContainerConfiguration,
  others: Iterable<ContainerConfiguration>,
  doing: string,
): Refusal {
  const wanted = new Set(container.ports.map((port) => port.external));
  if (wanted.size === 0) return undefined;
  for (const other of others) {
    const taken = other.ports.find((port) => wanted.has(port.external));
    if (taken === undefined) continue;
    return conflict(
      `${doing}: the external port ${taken.external} is that of the container ${other.name}.`,
      "ports",
      "Choose another port.",
    );
  }
  return undefined;
}

function checkEachPort(containers: readonly ContainerConfiguration[], doing: string): Refusal {
  for (const [index, container] of containers.entries()) {
    const refused = checkPorts(container, containers.slice(0, index), doing);
    if (refused !== undefined) return refused;
  }
  return undefined;
}

function checkLinks({ links }: ContainerConfiguration, doing: string): Refusal {
  if (new Set(links.map((link) => link.alias)).size < links.length)
    return conflict(`${doing}: two of its links have the same alias.`, "links.alias", "Give each its own.");
  if (new Set(links.map((link) => link.localPort)).size < links.length)
    return conflict(
      `${doing}: two of its links have the same local port.`,
      "links.local_port",
      "Give each its own.",
    );
  return undefined;
}

function conflict(message: string, field: string, remedy: string): ReturnType<typeof failure> {
  return failure("container-conflict", message, remedy, field);
}
