import type { CopyRecord, PartialReceive, Snapshot } from "../model/copy.ts";
import type { Epoch } from "../model/epoch.ts";
import type { DatasetId } from "../model/ids.ts";

/** What one agent asks another over the data channel. All of it is idempotent. */
export type PeerRequest =
  /** What do you hold of this dataset? */
  | { readonly kind: "describe"; readonly dataset: DatasetId }
  /** Take this stream (the request's body) and hold exactly this snapshot, as a replica. */
  | {
      readonly kind: "receive";
      readonly dataset: DatasetId;
      readonly epoch: Epoch;
      readonly base: string | null;
      readonly snapshot: Snapshot;
      readonly maximumSizeBytes: number | null;
      readonly estimatedBytes: number | null;
      /** For a copy that is made anew. */
      readonly profile?: string;
      /** The body goes on where the partial with this token ends, and must not be taken for anything else. */
      readonly resume?: string;
    }
  /** I have relinquished at this epoch in your favour: become primary of exactly this snapshot. */
  | {
      readonly kind: "promote";
      readonly dataset: DatasetId;
      readonly epoch: Epoch;
      readonly snapshot: string;
    }
  /** If you have not become primary at this epoch, never do, and say so. */
  | { readonly kind: "take-back"; readonly dataset: DatasetId; readonly epoch: Epoch };

/** The answers, after the request of the same kind. Refusals are problems. */
export type PeerReply =
  | {
      readonly kind: "describe";
      readonly record: CopyRecord | null;
      /** Guids of the snapshots held, oldest first. */
      readonly snapshots: readonly string[];
      /** The guid that the copy is exactly at, if it is. */
      readonly unchangedSince: string | null;
      /** What an interrupted transfer has left there, where it can go on. */
      readonly partial?: Omit<PartialReceive, "dataset">;
    }
  | { readonly kind: "receive"; readonly receivedBytes: number }
  | { readonly kind: "promote" }
  | { readonly kind: "take-back"; readonly granted: boolean };
