/** What a writer knows of its records, and what a copy holds of them. */
export interface Records {
  /** Numbers of records that were synced, in the order of writing. */
  readonly kept: readonly number[];
  /** Numbers of records of which nobody knows: writing or syncing them has failed. */
  readonly unsure: ReadonlySet<number>;
  /** What the file holds, line by line. */
  readonly found: readonly number[];
}

/** I3: every record that was synced is there, once and in order, and nothing that was never written. */
export function judgeRecords({ kept, unsure, found }: Records): string | undefined {
  const sure = found.filter((record) => !unsure.has(record));
  for (const [index, record] of kept.entries()) {
    if (sure[index] === record) continue;
    return `record ${record} was synced and is not at its place: there is ${sure[index] ?? "nothing"}`;
  }
  if (sure.length > kept.length) return `record ${sure[kept.length]} is there and was never written`;
  if (new Set(found).size !== found.length) return "a record is there twice";
  return undefined;
}

/** What is known of a lease, from those who hold it. */
export interface HeldLease {
  readonly node: string;
  /** The agent has acknowledged it, and the dataset was mounted there since. */
  readonly binds: boolean;
}

/** I1 and I7, of one look at all mounts of a dataset. */
export function judgeMounts(places: readonly string[], lease: HeldLease | undefined): string | undefined {
  if (places.length > 1) return `it is mounted on ${places.join(" and ")} at the same time`;
  if (lease?.binds === true && !places.includes(lease.node))
    return `it is leased on ${lease.node}, acknowledged, and mounted ${places[0] === undefined ? "nowhere" : `on ${places[0]}`}`;
  return undefined;
}

/** I5: only people and the control service itself change configuration. */
export function judgeAuthors(authors: readonly string[]): string | undefined {
  const wrong = authors.find((author) => author !== "control-service" && !author.startsWith("user-"));
  return wrong === undefined ? undefined : `${wrong} has changed the configuration`;
}
