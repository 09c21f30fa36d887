import type { Abort, ByteStream } from "./ports.ts";
import type { CopyRecord, Discovery, Snapshot } from "./model/copy.ts";
import type { DatasetId, Milliseconds } from "./model/ids.ts";
import type { Result } from "./model/problem.ts";

/** What a storage backend can do; planners ask this and never the backend's name. */
export interface Capabilities {
  /** Snapshots can be taken while the copy is mounted and in use, atomically. */
  readonly liveSnapshots: boolean;
  /** An interrupted receive can go on where it stopped. */
  readonly resume: boolean;
  /** The maximum size is enforced; else it is only reported. */
  readonly quota: boolean;
  readonly clone: boolean;
  readonly compression: boolean;
  readonly encryption: boolean;
  /** It can make a copy of storage that is there already; see {@link CopyOrigin}. */
  readonly adoption?: boolean;
  /** The snapshots that people have made go along with a move, each as a step of its own. */
  readonly carriesSnapshots?: boolean;
}

/** What a new copy is made of, and how. */
export interface CopyOrigin {
  /**
   * The name of a set of settings in the agent's configuration. Backends without such sets take no notice of
   * it; one that has them refuses a name that it does not know (`profile-unknown`).
   */
  readonly profile?: string;
  /** What the backend calls storage that becomes the copy, with all that is in it. */
  readonly source?: string;
}

/** Which stream to make: the whole of a snapshot, or what lies between two. */
export interface SendRequest {
  readonly dataset: DatasetId;
  /** The guid of the snapshot that the receiver holds already, or null for a full stream. */
  readonly base: string | null;
  /** The guid of the snapshot to send. */
  readonly snapshot: string;
  /**
   * The token of the receiver's {@link PartialReceive} of that snapshot and base: only the rest is sent.
   * `resume-token-dead` where this copy cannot go on with it.
   */
  readonly resume?: string;
}

/** A stream that was opened; it is made while it is read. */
export interface SendStream {
  readonly stream: ByteStream;
  /** How many bytes the stream will have, about; null where the backend cannot tell. */
  readonly estimatedBytes: number | null;
}

/** What a stream is said to contain, and what the copy becomes with it. */
export interface ReceiveRequest {
  readonly dataset: DatasetId;
  readonly base: string | null;
  /** The snapshot that the copy holds exactly once the receive has succeeded. */
  readonly snapshot: Snapshot;
  /** The record of the finished copy, written atomically with its completion. */
  readonly record: CopyRecord;
  readonly maximumSizeBytes: number | null;
  /** Of a copy that is made anew; see {@link CopyOrigin}. */
  readonly profile?: string;
  /**
   * The stream is only the rest, from where the partial with this token ends; `resume-token-dead` where there
   * is no such partial (any more). Without it, what has arrived before is thrown away.
   */
  readonly resume?: string;
}

/**
 * One kind of storage on one node. Every method is idempotent: what is done already succeeds at once. Every
 * method that changes something is durable when it answers, and atomic: after a crash at any moment the copy
 * is as before or as after. Errors of the storage are problems; a method throws only on programming mistakes.
 *
 * The exported conformance suite (`backendConformance`) says the rest, as tests that every body passes.
 */
export interface Backend {
  readonly kind: string;
  readonly capabilities: Capabilities;
  /**
   * What there is: of one dataset, or with null of all. Unreadable copies are listed as such, never left out.
   */
  discover(dataset: DatasetId | null): Promise<Result<Discovery>>;
  /**
   * Makes an unmounted copy with its record in one step: an empty one, or out of the source that is named,
   * where the backend can (`adoption`; `source-unusable` where that is not possible). Refuses where a copy
   * exists (`duplicate-id`).
   */
  create(record: CopyRecord, maximumSizeBytes: number | null, origin?: CopyOrigin): Promise<Result<void>>;
  /** Replaces the copy's record. */
  writeRecord(record: CopyRecord): Promise<Result<void>>;
  /** Mounts read-write at the mount root's `<dataset_id>`. */
  mount(dataset: DatasetId): Promise<Result<void>>;
  /** Unmounts; where the copy is in use it stays mounted and the `busy-mount` problem names who uses it. */
  unmount(dataset: DatasetId): Promise<Result<void>>;
  /** Takes a snapshot under that name; answers the one there is if it exists. */
  snapshot(dataset: DatasetId, name: string): Promise<Result<Snapshot>>;
  /** Forgets snapshots by guid; unknown ones are no error. */
  destroySnapshots(dataset: DatasetId, guids: readonly string[]): Promise<Result<void>>;
  /** Sets the maximum size, or lifts it. */
  resize(dataset: DatasetId, maximumSizeBytes: number | null): Promise<Result<void>>;
  /** Puts an unmounted copy into the trash, keeping its bytes. */
  trash(dataset: DatasetId, at: Milliseconds): Promise<Result<void>>;
  /** Takes a copy back out of the trash. */
  restore(dataset: DatasetId): Promise<Result<void>>;
  /** Destroys a copy that lies in the trash; refuses any other. */
  destroy(dataset: DatasetId): Promise<Result<void>>;
  /** Opens the stream of a snapshot. Leaving the iteration early frees what it holds. */
  send(request: SendRequest, abort: Abort): Promise<Result<SendStream>>;
  /**
   * Takes a stream into a copy. The copy is either what it was before or holds exactly the snapshot: a broken
   * or different stream is `transfer-interrupted` or `transfer-corrupt`, a base that is not there
   * `snapshot-missing`, a full disk `no-space`, and a mounted or primary copy is never touched
   * (`target-holds-primary`). Of an interrupted stream a backend that can resume keeps what has arrived, as
   * the partial that its discovery shows.
   */
  receive(request: ReceiveRequest, stream: ByteStream, abort: Abort): Promise<Result<void>>;
  /** Throws away what an interrupted receive has left; backends that can resume have it. */
  discardPartial?(dataset: DatasetId): Promise<Result<void>>;
  /**
   * Calls back when something changed, where the system can tell: with the dataset, or without where it may
   * be any. Own changes may be among them. Returns what ends it.
   */
  watch?(onChange: (dataset?: DatasetId) => void): () => void;
}
