import {
  datasetName,
  failure,
  success,
  type DatasetConfiguration,
  type DatasetId,
  type Lease,
  type Milliseconds,
  type NodeId,
  type Ownership,
  type Result,
} from "@flocker/core";
import type { Change } from "../store/store.ts";
import type { Caller, DatasetUpdate, NewDataset } from "./cluster.ts";
import { checkUnused } from "./container-use.ts";
import type { ContainerTable } from "./container-table.ts";
import { checkDowntime, checkMetadata, checkSize, checkSource } from "./limits.ts";
import { didYouMean, nearCandidates } from "./near.ts";

/** What the rules look at: the configuration as it is, and the nodes that were ever seen. */
export interface RulesView {
  readonly revision: number;
  readonly now: Milliseconds;
  configuration(dataset: DatasetId): DatasetConfiguration | undefined;
  /** The datasets of that name that are not deleted. */
  named(name: string): Iterable<DatasetId>;
  datasetIds(): Iterable<DatasetId>;
  nodeName(node: NodeId): string | undefined;
  nodes(): Iterable<{ readonly node: NodeId; readonly name: string }>;
  lease(dataset: DatasetId): Lease | undefined;
  /** The containers, for the datasets that they use. */
  readonly containers: Pick<ContainerTable, "using">;
}

/** What to commit; empty where all is so already. */
export type Decided = Result<readonly Change[]>;

const nothing: Decided = success<readonly Change[]>([]);

export function decideCreate(
  request: NewDataset & { readonly dataset: DatasetId },
  context: { readonly view: RulesView; readonly caller: Caller; readonly birth: Ownership },
): Decided {
  const { view, caller, birth } = context;
  const { dataset, primary, maximumSizeBytes, metadata, maximumDowntimeMs = null, source } = request;
  const doing = "Creating a dataset";
  const problem =
    checkRevision(view, caller, doing) ??
    checkId(dataset, view) ??
    checkNode(primary, { view, caller, doing, field: "primary" }) ??
    checkSize(maximumSizeBytes, doing) ??
    checkDowntime(maximumDowntimeMs, doing) ??
    checkMetadata(metadata, doing) ??
    checkSource(source, doing) ??
    checkName(dataset, { metadata, view, caller, doing });
  if (problem !== undefined) return problem;
  const plain = { dataset, primary, maximumSizeBytes, metadata, deletion: null, revision: 0 };
  const value = withDowntime(source === undefined ? plain : { ...plain, source }, maximumDowntimeMs);
  return success<readonly Change[]>([{ kind: "put-dataset", value, birth }]);
}

export function decideUpdate(
  dataset: DatasetId,
  update: DatasetUpdate,
  context: { readonly view: RulesView; readonly caller: Caller },
): Decided {
  const { view, caller } = context;
  const doing = `Changing dataset ${dataset}`;
  const found = findDataset(dataset, view, caller, doing);
  if (!found.ok) return found;
  const before = found.value;
  if (before.deletion !== null)
    return failure(
      "dataset-deleted",
      `${doing}: it was deleted ${new Date(before.deletion.at).toISOString()}.`,
      before.deletion.purged ? "Create a new dataset." : "Undelete it first: flocker undelete.",
    );
  const primary = update.primary ?? before.primary;
  const maximumSizeBytes =
    update.maximumSizeBytes === undefined ? before.maximumSizeBytes : update.maximumSizeBytes;
  const maximumDowntimeMs =
    update.maximumDowntimeMs === undefined ? (before.maximumDowntimeMs ?? null) : update.maximumDowntimeMs;
  const metadata = update.metadata ?? before.metadata;
  const isRenamed = datasetName({ metadata }) !== datasetName(before);
  // What stays is not judged again: it may come from times with other rules, or from /v1.
  const problem =
    (primary === before.primary
      ? undefined
      : (checkNode(primary, { view, caller, doing, field: "primary" }) ??
        checkUnused(dataset, view.containers, doing))) ??
    (maximumSizeBytes === before.maximumSizeBytes ? undefined : checkSize(maximumSizeBytes, doing)) ??
    checkDowntime(maximumDowntimeMs, doing) ??
    (update.metadata === undefined ? undefined : checkMetadata(metadata, doing)) ??
    (isRenamed ? checkName(dataset, { metadata, view, caller, doing }) : undefined);
  if (problem !== undefined) return problem;
  const isSame =
    primary === before.primary &&
    maximumSizeBytes === before.maximumSizeBytes &&
    maximumDowntimeMs === (before.maximumDowntimeMs ?? null) &&
    isSameMetadata(metadata, before.metadata);
  if (isSame) return nothing;
  const { maximumDowntimeMs: _, ...stays } = before;
  return put(withDowntime({ ...stays, primary, maximumSizeBytes, metadata }, maximumDowntimeMs));
}

function withDowntime(
  value: Omit<DatasetConfiguration, "maximumDowntimeMs">,
  maximumDowntimeMs: Milliseconds | null,
): DatasetConfiguration {
  return maximumDowntimeMs === null ? value : { ...value, maximumDowntimeMs };
}

/** Deleting what is deleted already is no error. */
export function decideDelete(
  dataset: DatasetId,
  context: { readonly view: RulesView; readonly caller: Caller; readonly graceMs: Milliseconds },
): Decided {
  const { view, caller, graceMs } = context;
  const doing = `Deleting dataset ${dataset}`;
  const found = findDataset(dataset, view, caller, doing);
  if (!found.ok) return found;
  if (found.value.deletion !== null) return nothing;
  const used = checkUnused(dataset, view.containers, doing);
  if (used !== undefined) return used;
  const deletion = { at: view.now, graceEndsAt: view.now + graceMs, purged: false };
  return put({ ...found.value, deletion });
}

export function decideUndelete(
  dataset: DatasetId,
  context: { readonly view: RulesView; readonly caller: Caller },
): Decided {
  const { view, caller } = context;
  const doing = `Undeleting dataset ${dataset}`;
  const found = findDataset(dataset, view, caller, doing);
  if (!found.ok) return found;
  const { deletion, metadata } = found.value;
  if (deletion === null)
    return failure(
      "dataset-not-deleted",
      `${doing}: it is not deleted.`,
      "Nothing needs to be done; check the id if you meant another dataset.",
    );
  if (deletion.purged)
    return failure(
      "already-purged",
      `${doing}: its grace time ended ${new Date(deletion.graceEndsAt).toISOString()}, ` +
        "and the nodes may have destroyed its bytes.",
      "Create a new dataset and fill it from a backup of yours.",
    );
  const taken = checkName(dataset, { metadata, view, caller, doing });
  return taken ?? put({ ...found.value, deletion: null });
}

/** The control service's own change: the grace time of these datasets is over. */
export function decidePurge(datasets: Iterable<DatasetId>, view: RulesView): readonly Change[] {
  const changes: Change[] = [];
  for (const dataset of datasets) {
    const value = view.configuration(dataset);
    if (value === undefined || value.deletion === null || value.deletion.purged) continue;
    if (value.deletion.graceEndsAt > view.now) continue;
    changes.push({ kind: "put-dataset", value: { ...value, deletion: { ...value.deletion, purged: true } } });
  }
  return changes;
}

/** The dataset's configuration, after the checks that come before all others. */
export function findDataset(
  dataset: DatasetId,
  view: RulesView,
  caller: Caller,
  doing: string,
): Result<DatasetConfiguration> {
  const mismatch = checkRevision(view, caller, doing);
  if (mismatch !== undefined) return mismatch;
  const found = view.configuration(dataset);
  if (found !== undefined) return success(found);
  return failure(
    "unknown-dataset",
    `${doing}: there is no such dataset.`,
    `List the datasets with flocker list.${didYouMean(nearCandidates(dataset, view.datasetIds()))}`,
    "dataset",
  );
}

type Refusal = ReturnType<typeof failure> | undefined;

export function checkRevision(view: RulesView, caller: Caller, doing: string): Refusal {
  const { expectedRevision } = caller;
  if (expectedRevision === undefined || expectedRevision === view.revision) return undefined;
  return failure(
    "revision-mismatch",
    `${doing}: you decided on revision ${expectedRevision} of the configuration, which is at revision ${view.revision} now.`,
    "Read the configuration again and repeat the request if it still makes sense.",
    "expectedRevision",
  );
}

export function checkNode(
  node: NodeId,
  context: {
    readonly view: RulesView;
    readonly caller: Caller;
    readonly doing: string;
    readonly field: string;
  },
): Refusal {
  const { view, caller, doing, field } = context;
  if (caller.lenient === true || view.nodeName(node) !== undefined) return undefined;
  const nodes = [...view.nodes()];
  const near = new Set(
    nearCandidates(
      node,
      nodes.map((known) => known.node),
    ),
  );
  const meant = nodes.filter((known) => near.has(known.node)).map((known) => `${known.node} (${known.name})`);
  const known =
    nodes.length === 0
      ? "No agent has connected yet: start one first."
      : "List the nodes with flocker nodes; a new node is known once its agent has connected.";
  return failure(
    "unknown-node",
    `${doing}: no agent of node ${node} has ever connected.`,
    `${known}${didYouMean(meant)}`,
    field,
  );
}

function checkId(dataset: DatasetId, view: RulesView): Refusal {
  const existing = view.configuration(dataset);
  if (existing === undefined) return undefined;
  const isDeleted = existing.deletion !== null;
  return failure(
    "duplicate-id",
    `Creating dataset ${dataset}: there is a dataset with this id${isDeleted ? ", deleted but never forgotten" : ""}.`,
    isDeleted && existing.deletion?.purged === false
      ? "Undelete it (flocker undelete), or leave the id out to get a new one."
      : "Leave the id out to get a new one.",
    "dataset",
  );
}

function checkName(
  dataset: DatasetId,
  context: {
    readonly metadata: Readonly<Record<string, string>>;
    readonly view: RulesView;
    readonly caller: Caller;
    readonly doing: string;
  },
): Refusal {
  const { metadata, view, caller, doing } = context;
  const name = datasetName({ metadata });
  if (name === undefined || caller.lenient === true) return undefined;
  for (const other of view.named(name)) {
    if (other === dataset) continue;
    return failure(
      "duplicate-name",
      `${doing}: the name "${name}" is that of dataset ${other}.`,
      "Choose another name, or delete or rename the other dataset first.",
      "metadata.name",
    );
  }
  return undefined;
}

function put(value: DatasetConfiguration): Decided {
  return success<readonly Change[]>([{ kind: "put-dataset", value }]);
}

function isSameMetadata(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && a[key] === b[key])
  );
}
