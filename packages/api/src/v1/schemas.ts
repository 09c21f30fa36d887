import { Type, type Static } from "typebox";

const uuid = (description: string) =>
  Type.String({
    minLength: 36,
    maxLength: 36,
    pattern: "^[A-Fa-f0-9]{8}-[A-Fa-f0-9]{4}-4[A-Fa-f0-9]{3}-[89abAB][A-Fa-f0-9]{3}-[A-Fa-f0-9]{12}$",
    description,
  });

const metadata = Type.Record(Type.String({ pattern: "^.{1,256}$" }), Type.String({ maxLength: 256 }), {
  maxProperties: 16,
  additionalProperties: false,
  description: "Names and values of the client's own.",
});

/** A dataset as configured. */
export const ConfiguredDataset = Type.Object(
  {
    dataset_id: uuid("The dataset."),
    deleted: Type.Boolean({ description: "Deleted datasets stay in the list." }),
    maximum_size: Type.Optional(Type.Integer({ description: "Bytes; absent where no limit was asked for." })),
    metadata,
    primary: uuid("The node that should hold it."),
  },
  { $id: "ConfiguredDataset" },
);

export const NewDataset = Type.Object(
  {
    primary: uuid("The node that should hold it. It need not be known."),
    dataset_id: Type.Optional(uuid("A fresh one unless told.")),
    maximum_size: Type.Optional(
      Type.Unsafe<number | null>({
        type: ["integer", "null"],
        minimum: 67_108_864,
        maximum: Number.MAX_SAFE_INTEGER,
        multipleOf: 1024,
        description: "Bytes; null for no limit.",
      }),
    ),
    metadata: Type.Optional(metadata),
    deleted: Type.Optional(
      Type.Unsafe<false>({
        type: "boolean",
        enum: [false],
        description: "Some clients send it; it means nothing.",
      }),
    ),
  },
  { $id: "NewDataset", additionalProperties: false },
);
export type NewDataset = Static<typeof NewDataset>;

export const DatasetMove = Type.Object(
  { primary: Type.Optional(uuid("Where it should move.")) },
  { $id: "DatasetMove", additionalProperties: false },
);
export type DatasetMove = Static<typeof DatasetMove>;

/** A dataset as it is. */
export const DatasetState = Type.Object(
  {
    dataset_id: uuid("The dataset."),
    maximum_size: Type.Optional(Type.Integer({ description: "The real limit in bytes, where known." })),
    path: Type.Optional(Type.String({ description: "Where it is mounted; absent if it is not." })),
    primary: Type.Optional(uuid("The node where it is mounted; absent if it is not.")),
  },
  { $id: "DatasetState" },
);

export const NodeState = Type.Object(
  { host: Type.String({ format: "ipv4", description: "The node's address." }), uuid: uuid("The node.") },
  { $id: "NodeState" },
);

export const NodeOfEra = Type.Object({ uuid: uuid("The node.") }, { $id: "NodeOfEra" });

/** The lengths of time that dates can hold, about 2,000 years back and 8,000 ahead. */
const expires = {
  type: ["number", "null"],
  minimum: -60_000_000_000,
  maximum: 250_000_000_000,
  description: "Seconds from now; null for never.",
};

export const Lease = Type.Object(
  {
    dataset_id: uuid("The dataset."),
    node_uuid: uuid("The holder."),
    expires: Type.Unsafe<number | null>(expires),
  },
  { $id: "Lease", additionalProperties: false },
);
export type Lease = Static<typeof Lease>;

/** The original had no bounds here; beyond these, numbers could not be kept exactly. */
const port = { minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER } as const;

const Port = Type.Object(
  { internal: Type.Integer(port), external: Type.Integer(port) },
  { additionalProperties: false },
);
const linkPort = (description: string) => Type.Integer({ minimum: 1, maximum: 65_535, description });
const Link = Type.Object(
  {
    alias: Type.String({ pattern: "^[a-zA-Z0-9]+$", description: "Compared in lower case." }),
    local_port: linkPort("Inside the container."),
    remote_port: linkPort("Of the container that is linked to."),
  },
  { additionalProperties: false },
);
const RestartPolicy = Type.Union([
  Type.Object(
    {
      name: Type.Literal("on-failure"),
      maximum_retry_count: Type.Optional(Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })),
    },
    { additionalProperties: false },
  ),
  Type.Object(
    { name: Type.Union([Type.Literal("never"), Type.Literal("always")]) },
    { additionalProperties: false },
  ),
]);
const Volume = Type.Object(
  {
    dataset_id: uuid("The dataset."),
    mountpoint: Type.String({ pattern: "^\\/.*$", description: "Inside the container." }),
  },
  { additionalProperties: false },
);
const containerName = Type.String({
  pattern: "^/?[a-zA-Z0-9][a-zA-Z0-9_.-]+$",
  description: "Unique in the cluster.",
});

const containerParts = {
  ports: Type.Optional(Type.Array(Port, { minItems: 1, uniqueItems: true })),
  environment: Type.Optional(
    Type.Record(Type.String({ pattern: "^.+$" }), Type.String(), { additionalProperties: false }),
  ),
  command_line: Type.Optional(Type.Array(Type.String({ maxLength: 4096 }), { maxItems: 4096 })),
  cpu_shares: Type.Optional(Type.Integer({ minimum: 1, maximum: 1024 })),
  memory_limit: Type.Optional(Type.Integer({ minimum: 1_048_576, maximum: Number.MAX_SAFE_INTEGER })),
  links: Type.Optional(Type.Array(Link, { minItems: 1, uniqueItems: true })),
  volumes: Type.Optional(Type.Array(Volume, { minItems: 0, maxItems: 1 })),
};

export const NewContainer = Type.Object(
  {
    node_uuid: uuid("Where it should run."),
    name: containerName,
    image: Type.String({ description: "With or without a tag." }),
    restart_policy: Type.Optional(RestartPolicy),
    swappiness: Type.Optional(Type.Integer({ minimum: 0, maximum: 100 })),
    ...containerParts,
  },
  { $id: "NewContainer", additionalProperties: false },
);
export type NewContainer = Static<typeof NewContainer>;

const configuredContainer = {
  node_uuid: uuid("Where it should run."),
  name: containerName,
  image: Type.String({ description: "With its tag." }),
  restart_policy: RestartPolicy,
  ...containerParts,
  // What came in files has no bounds.
  cpu_shares: Type.Optional(Type.Integer()),
  memory_limit: Type.Optional(Type.Integer()),
};

/** A container as configured. */
export const ConfiguredContainer = Type.Object(configuredContainer, { $id: "ConfiguredContainer" });

/** A container as it is. */
export const ContainerState = Type.Object(
  {
    ...configuredContainer,
    running: Type.Boolean({ description: "False: there is no container agent in this version." }),
  },
  { $id: "ContainerState" },
);

export const ContainerMove = Type.Object(
  { node_uuid: uuid("Where it should run.") },
  { $id: "ContainerMove", additionalProperties: false },
);
export type ContainerMove = Static<typeof ContainerMove>;

/** The contents of application.yml and deployment.yml, which are checked in the words of `flocker-deploy`. */
export const Composition = Type.Object(
  {
    applications: Type.Unknown({ description: "As in application.yml, of Flocker or of Fig." }),
    deployment: Type.Unknown({ description: "As in deployment.yml." }),
  },
  { $id: "Composition", additionalProperties: false },
);

export const ContainerParams = Type.Object({ name: Type.String() });

export const Version = Type.Object({ flocker: Type.String() }, { $id: "Version" });

export const ErrorBody = Type.Object(
  {
    description: Type.String(),
    errors: Type.Optional(Type.Array(Type.String(), { description: "Each fault of the body." })),
  },
  { $id: "Error" },
);

export const DatasetParams = Type.Object({ dataset_id: Type.String() });
export const EraParams = Type.Object({ era: Type.String() });
export const Matches = Type.Object({
  "x-if-configuration-matches": Type.Optional(
    Type.String({
      description: "An X-Configuration-Tag. Answers 412 if the configuration has changed since.",
    }),
  ),
});
