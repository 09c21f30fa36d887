declare const brand: unique symbol;
type Brand<Base, Name extends string> = Base & { readonly [brand]: Name };

/** A dataset's uuid (version 4, lower case), as in Flocker's API. */
export type DatasetId = Brand<string, "dataset">;
/** A node's uuid (version 4, lower case), taken from its certificate's common name `node-<uuid>`. */
export type NodeId = Brand<string, "node">;
/** The boot id of a node's kernel: a new one says that the node has been rebooted. */
export type Era = Brand<string, "era">;
/** Milliseconds: since 1970 where it names a time, else a length of time. */
export type Milliseconds = number;

const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** Whether the text is a version 4 uuid in lower case, the only form in which ids are stored. */
export function isUuid(text: string): boolean {
  return uuidPattern.test(text);
}

/** The dataset id in a text of any case, or undefined where it is no version 4 uuid. */
export function parseDatasetId(text: string): DatasetId | undefined {
  const lower = text.toLowerCase();
  return isUuid(lower) ? (lower as DatasetId) : undefined;
}

/** The node id in a text of any case, or undefined where it is no version 4 uuid. */
export function parseNodeId(text: string): NodeId | undefined {
  const lower = text.toLowerCase();
  return isUuid(lower) ? (lower as NodeId) : undefined;
}
