import { problemCodes, reasonCodes } from "@flocker/core";
import { Type, type Static, type TSchema } from "typebox";

/** The value, or null: for what is always there as a key. */
function nullable<S extends TSchema>(schema: S) {
  return Type.Union([schema, Type.Null()]);
}

const uuidPattern = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-4[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}$";
/** A uuid as requests may have it: any case. Answers have lower case. */
const uuid = (description: string) => Type.String({ pattern: uuidPattern, description });
const time = (description: string) => Type.String({ format: "date-time", description });
const bytes = (description: string) => Type.Integer({ minimum: 0, description });

/** The smallest maximum size that may be asked for, as in the original: 64 MiB. */
export const maximumSizeMinimum = 67_108_864;
/** Maximum sizes are multiples of it, as in the original. */
export const maximumSizeMultiple = 1024;

const maximumSize = Type.Unsafe<number | null>({
  type: ["integer", "null"],
  minimum: maximumSizeMinimum,
  maximum: Number.MAX_SAFE_INTEGER,
  multipleOf: maximumSizeMultiple,
  description: "Bytes; null for no limit.",
});
const maximumDowntimeMs = Type.Unsafe<number | null>({
  type: ["integer", "null"],
  minimum: 1,
  maximum: Number.MAX_SAFE_INTEGER,
  description:
    "A move that would keep it unmounted for longer is not finished, and the dataset stays in service where it is; " +
    "null for no limit.",
});
const metadataKey = "^[\\s\\S]{1,256}$";
const metadata = Type.Record(Type.String({ pattern: metadataKey }), Type.String({ maxLength: 256 }), {
  maxProperties: 16,
  additionalProperties: false,
  description: "Names and values of your own: at most 16, each text at most 256 characters.",
});

const Epoch = Type.Object(
  { term: Type.Integer({ minimum: 1 }), step: Type.Integer({ minimum: 0 }) },
  {
    $id: "Epoch",
    description: "The age of an ownership, compared term first: moves raise the step, failovers the term.",
  },
);

const Deletion = Type.Object(
  {
    at: time("When the dataset was deleted."),
    grace_ends_at: time("Until then it can be undeleted."),
    purged: Type.Boolean({ description: "The grace time is over: its copies are destroyed." }),
  },
  { $id: "Deletion" },
);

/** What should be. */
export const Desired = Type.Object(
  {
    primary: uuid("The node that should hold the primary copy."),
    maximum_size: nullable(bytes("Bytes; null for no limit.")),
    maximum_downtime_ms: nullable(
      Type.Integer({ description: "How long a move may keep it unmounted; null for as long as it takes." }),
    ),
    metadata: Type.Record(Type.String(), Type.String()),
    source: nullable(
      Type.String({
        description: "The storage of its first node that it was made of; null where it began empty.",
      }),
    ),
    deletion: nullable(Deletion),
    revision: Type.Integer({ description: "The revision of the last commit that changed this dataset." }),
  },
  { $id: "Desired", description: "What should be, as configured." },
);

const Actual = Type.Object(
  {
    node_id: uuid("The node that reported this."),
    role: nullable(
      Type.Enum(["primary", "relinquished", "replica"], {
        description: "Null where the node has no copy it can read.",
      }),
    ),
    epoch: nullable(Epoch),
    path: nullable(Type.String({ description: "Where the copy is mounted." })),
    in_trash_since: nullable(time("Since when the copy lies in the trash.")),
    maximum_size: nullable(bytes("The copy's limit in bytes.")),
    used_bytes: nullable(bytes("What it holds.")),
    snapshots: Type.Integer({ minimum: 0, description: "How many snapshots the copy has." }),
    unreadable: nullable(
      Type.Object(
        { code: Type.Enum([...problemCodes]), message: Type.String(), remedy: Type.String() },
        { description: "Why a copy that is there cannot be read." },
      ),
    ),
    activity: nullable(
      Type.Object(
        { action: Type.String(), since: time("Since when.") },
        { description: "What is being done now." },
      ),
    ),
    stale: Type.Boolean({ description: "The node is silent: this is what it said last." }),
    last_seen: time("When the node was last heard of."),
  },
  { $id: "Actual", description: "What is, as one node reported it." },
);

const Ownership = Type.Object(
  {
    epoch: Epoch,
    owner: uuid("The node that owns the dataset."),
    born: Type.Boolean({ description: "False until the owner has created the copy." }),
    since: time("Since when."),
    conflict: Type.Boolean({
      description: "Two nodes claim the same epoch: both stop serving until a person decides.",
    }),
  },
  { $id: "Ownership" },
);

const Reason = Type.Object(
  {
    code: Type.Enum([...reasonCodes], { description: "For programs: one of a closed list." }),
    message: Type.String({ description: "A sentence that names what is waited for." }),
    since: time("Since when this has been the reason."),
    next_try_at: nullable(time("When it is tried again by itself; null where an event ends the wait.")),
    node_id: nullable(uuid("The node that says so; null for the control service.")),
  },
  { $id: "Reason", description: "Why the dataset is not (yet) as desired." },
);

const leaseAcknowledged = Type.Boolean({
  description:
    "The holder's agent has durably taken the lease in: from now on the dataset stays if it is there. Until then a " +
    "handoff that has begun may go on. A `change` event tells when it becomes true.",
});

/** One dataset with what should be, what is, who owns it, and why it is not as it should be. */
export const Dataset = Type.Object(
  {
    dataset_id: uuid("The dataset."),
    name: nullable(Type.String({ description: "For people: `metadata.name`." })),
    desired: nullable(Desired),
    actual: Type.Array(Actual, {
      description: "The last report of each node that has something to say of it.",
    }),
    ownership: nullable(Ownership),
    lease: nullable(
      Type.Object({
        node_id: uuid("The holder."),
        expires_at: nullable(time("When it ends; null for never.")),
        acknowledged: leaseAcknowledged,
      }),
    ),
    transfer: nullable(
      Type.Object(
        {
          from: uuid("The node that sends."),
          done_bytes: bytes("So far."),
          total_bytes: nullable(bytes("In all, where known.")),
        },
        { description: "A transfer under way." },
      ),
    ),
    reasons: Type.Array(Reason),
    converged: Type.Boolean({ description: "What is equals what should be." }),
  },
  {
    $id: "Dataset",
    description: "`desired` is null for copies that a node has but that are not configured.",
  },
);
export type Dataset = Static<typeof Dataset>;
export type DatasetActual = Dataset["actual"][number];
export type DatasetReason = Dataset["reasons"][number];

const revision = Type.Integer({
  minimum: 0,
  description: "The configuration's revision that this answer shows.",
});

export const DatasetPage = Type.Object(
  {
    datasets: Type.Array(Dataset),
    next_cursor: nullable(
      Type.String({ description: "Give it as `cursor` to get the next page; null on the last." }),
    ),
    revision,
  },
  { $id: "DatasetPage" },
);
export type DatasetPage = Static<typeof DatasetPage>;

export const DatasetQuery = Type.Object(
  {
    name: Type.Optional(Type.String({ description: "Only those of this name." })),
    node: Type.Optional(uuid("Only those that this node should hold or has a copy of.")),
    deleted: Type.Optional(
      Type.Enum(["false", "true", "any"], {
        description: "`true`: only deleted ones. Without it: only those not deleted.",
      }),
    ),
    converged: Type.Optional(Type.Boolean({ description: "Only those that are (not) as desired." })),
    limit: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1000, description: "At most so many a page; 200 unless told." }),
    ),
    cursor: Type.Optional(Type.String({ description: "`next_cursor` of the page before." })),
  },
  { additionalProperties: false },
);

export const NewDataset = Type.Object(
  {
    dataset_id: Type.Optional(uuid("A fresh one unless told.")),
    name: Type.Optional(
      Type.String({ minLength: 1, maxLength: 256, description: "Kept as `metadata.name`; must be free." }),
    ),
    primary: uuid("The node that should hold it."),
    maximum_size: Type.Optional(maximumSize),
    maximum_downtime_ms: Type.Optional(maximumDowntimeMs),
    metadata: Type.Optional(metadata),
    source: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 256,
        description:
          "What the node's storage backend calls existing storage that becomes the dataset, such as `tank/data/pg`.",
      }),
    ),
  },
  { $id: "NewDataset", additionalProperties: false },
);
export type NewDataset = Static<typeof NewDataset>;

export const DatasetPatch = Type.Object(
  {
    name: Type.Optional(
      Type.Unsafe<string | null>({
        type: ["string", "null"],
        minLength: 1,
        maxLength: 256,
        description: "Null takes the name away.",
      }),
    ),
    primary: Type.Optional(uuid("Where it should move.")),
    maximum_size: Type.Optional(maximumSize),
    maximum_downtime_ms: Type.Optional(maximumDowntimeMs),
    metadata: Type.Optional(
      Type.Record(
        Type.String({ pattern: metadataKey }),
        Type.Unsafe<string | null>({ type: ["string", "null"], maxLength: 256 }),
        {
          additionalProperties: false,
          description: "Names that are not given stay; null takes a name away.",
        },
      ),
    ),
  },
  { $id: "DatasetPatch", additionalProperties: false, description: "A merge patch (RFC 7396)." },
);
export type DatasetPatch = Static<typeof DatasetPatch>;

export const FailoverRequest = Type.Object(
  {
    to: uuid("The node whose replica becomes the primary."),
    accept_loss: Type.Optional(
      Type.Boolean({
        description:
          "What the replica lacks may be lost, and the owner is down. Without it, the answer says what would be lost.",
      }),
    ),
  },
  { $id: "Failover", additionalProperties: false },
);

const Capabilities = Type.Object(
  {
    live_snapshots: Type.Boolean({ description: "Snapshots of copies in use." }),
    resume: Type.Boolean({ description: "Interrupted transfers go on where they stopped." }),
    quota: Type.Boolean({ description: "The maximum size is enforced." }),
    clone: Type.Boolean(),
    compression: Type.Boolean(),
    encryption: Type.Boolean(),
  },
  { $id: "Capabilities" },
);

export const Node = Type.Object(
  {
    node_id: uuid("The node."),
    name: Type.String({ description: "For people: the machine's name." }),
    era: Type.String({ description: "The boot id of its kernel." }),
    version: Type.String({ description: "Of its agent." }),
    host: Type.String({ description: "The address it was last seen at." }),
    data_port: Type.Integer({ description: "Where its data channel listens." }),
    backend: Type.Object({ kind: Type.String(), capabilities: nullable(Capabilities) }),
    capacity: nullable(
      Type.Object({
        total_bytes: bytes("Of the storage that its copies share."),
        free_bytes: bytes("Of that."),
      }),
    ),
    connected: Type.Boolean({ description: "Its agent has a session now." }),
    stale: Type.Boolean({
      description: "It has been silent for a minute: what is shown of it is what it said last.",
    }),
    last_seen: time("When it was last heard of."),
    dataset_count: Type.Integer({ minimum: 0, description: "Of how many datasets it reports something." }),
    refused_session: nullable(
      Type.Object(
        { at: time("When."), host: Type.String({ description: "From where." }) },
        { description: "The last time that a second agent with this node's certificate was refused." },
      ),
    ),
  },
  { $id: "Node" },
);
export type Node = Static<typeof Node>;

export const NodeList = Type.Object({ nodes: Type.Array(Node), revision }, { $id: "NodeList" });

const leaseTerms = {
  dataset_id: uuid("The dataset that stays where it is."),
  node_id: uuid("Where it stays."),
  expires_at: nullable(time("When the lease ends by itself; null for never.")),
} as const;

export const Lease = Type.Object({ ...leaseTerms, acknowledged: leaseAcknowledged }, { $id: "Lease" });
export type Lease = Static<typeof Lease>;

export const LeaseList = Type.Object({ leases: Type.Array(Lease), revision }, { $id: "LeaseList" });

export const NewLease = Type.Object(
  {
    dataset_id: uuid("The dataset."),
    node_id: uuid("The node that asks for it."),
    expires_in: Type.Unsafe<number | null>({
      type: ["number", "null"],
      exclusiveMinimum: 0,
      maximum: 3_155_760_000,
      description: "Seconds from now until it ends by itself; null for never.",
    }),
  },
  { $id: "NewLease", additionalProperties: false },
);

const DatasetChange = Type.Object({
  kind: Type.Literal("dataset"),
  dataset_id: uuid("The dataset."),
  before: nullable(Desired),
  after: Desired,
});
const LeaseTerms = Type.Object(leaseTerms, {
  $id: "LeaseTerms",
  description: "A lease as it was agreed on.",
});
const LeaseChange = Type.Object({
  kind: Type.Literal("lease"),
  dataset_id: uuid("The dataset."),
  before: nullable(LeaseTerms),
  after: nullable(LeaseTerms),
});

export const Container = Type.Object(
  {
    name: Type.String({ description: "Unique in the cluster." }),
    node_id: uuid("Where it should run."),
    image: Type.String(),
    dataset_id: nullable(uuid("The dataset that it uses.")),
  },
  { $id: "Container", description: "A container as configured, in short; /v1 has all of it." },
);
export type Container = Static<typeof Container>;
const ContainerChange = Type.Object({
  kind: Type.Literal("container"),
  name: Type.String({ description: "The container." }),
  before: nullable(Container),
  after: nullable(Container),
});

export const Commit = Type.Object(
  {
    revision: Type.Integer({ minimum: 1 }),
    author: Type.String({ description: "The certificate's name, or `control-service`." }),
    at: time("When."),
    changes: Type.Array(Type.Union([DatasetChange, LeaseChange, ContainerChange])),
  },
  { $id: "Commit" },
);
export type Commit = Static<typeof Commit>;

/** A container with its state. */
const ContainerState = Type.Object(
  {
    ...Container.properties,
    running: Type.Boolean(),
    reason: nullable(Type.String({ description: "Why it does not run." })),
  },
  { $id: "ContainerState" },
);

export const Containers = Type.Object(
  { containers: Type.Array(ContainerState, { description: "In the order of their names." }), revision },
  { $id: "Containers" },
);

export const History = Type.Object(
  {
    commits: Type.Array(Commit, { description: "Oldest first." }),
    next_after: nullable(
      Type.Integer({ description: "Give it as `after` to get what follows; null at the end." }),
    ),
    revision,
  },
  { $id: "History" },
);

export const HistoryQuery = Type.Object(
  {
    after: Type.Optional(
      Type.Integer({ minimum: 0, description: "Only commits after this revision; all unless told." }),
    ),
    limit: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1000, description: "At most so many; 100 unless told." }),
    ),
  },
  { additionalProperties: false },
);

export const Status = Type.Object(
  {
    cluster_id: uuid("Made with the store."),
    version: Type.String({ description: "Of the control service." }),
    revision,
    datasets: Type.Object({
      total: Type.Integer({ description: "Configured and not deleted." }),
      converged: Type.Integer({ description: "Of those: as desired." }),
      converging: Type.Integer({ description: "Of those: not as desired yet." }),
      deleted: Type.Integer({ description: "Deleted and still in their grace time." }),
      unconfigured: Type.Integer({ description: "Copies that nobody asked for." }),
      conflicts: Type.Integer({ description: "Two nodes claim the same epoch." }),
      reasons: Type.Record(Type.String(), Type.Integer(), {
        description: "How many datasets are held up, by reason code.",
      }),
    }),
    nodes: Type.Object({ total: Type.Integer(), connected: Type.Integer(), stale: Type.Integer() }),
    certificate: Type.Object({
      not_after: time("When the control service's certificate expires."),
      days_left: Type.Integer({ description: "Whole days until then; negative when it is over." }),
    }),
  },
  { $id: "Status" },
);
export type Status = Static<typeof Status>;

const condition = Type.Enum(["ok", "failing"]);
export const Health = Type.Object({ serving: condition, store: condition }, { $id: "Health" });

export const Version = Type.Object(
  { flocker: Type.String({ description: "The version of the control service." }), api: Type.Literal("v2") },
  { $id: "Version" },
);

/** The data of a `change` event. */
export const ChangeEvent = Type.Object(
  {
    revision,
    datasets: Type.Array(Type.String(), { description: "Ids of datasets of which something changed." }),
    nodes: Type.Array(Type.String(), { description: "Ids of nodes of which something changed." }),
  },
  { $id: "ChangeEvent" },
);

/** The data of a `reset` event: what the client knows may be old, it has to read everything again. */
export const ResetEvent = Type.Object({ revision }, { $id: "ResetEvent" });

export const ReleaseQuery = Type.Object(
  {
    node: Type.Optional(
      uuid("Only if this node holds it; 404 else. So that nobody releases another's lease."),
    ),
  },
  { additionalProperties: false },
);

export const DatasetParams = Type.Object({ dataset_id: uuid("The dataset.") });
export const NodeParams = Type.Object({ node_id: uuid("The node.") });
export const IfMatch = Type.Object({
  "if-match": Type.Optional(
    Type.String({
      description: 'An ETag: `"42"`. Answers 412 if what is to be changed has changed since that revision.',
    }),
  ),
});
