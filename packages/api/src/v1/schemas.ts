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
