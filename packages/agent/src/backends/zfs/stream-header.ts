import type { ByteStream } from "@flocker/core";

import { corrupt } from "../btrfs/send-stream.ts";

/** What a stream of `zfs send` says of itself in its first record. */
export interface StreamHeader {
  /** The guid of the snapshot that it makes. */
  readonly snapshot: string;
  /** The guid of the snapshot that it builds on, or null for a full stream. */
  readonly base: string | null;
  /** It carries several streams, as `zfs send -R` and `-I` make them. */
  readonly isCompound: boolean;
}

// The first fields of `dmu_replay_record_t` in OpenZFS's include/sys/zfs_ioctl.h.
const typeAt = 0;
const magicAt = 8;
const versionAt = 16;
const toGuidAt = 40;
const fromGuidAt = 48;
const headerBytes = 56;
const magic = 0x2_f5ba_cbacn;
/** DMU_SUBSTREAM in the lowest two bits of the version. */
const singleStream = 1n;

/** Reads the beginning of a stream; undefined where it is not that of one. */
export function parseHeader(bytes: Buffer): StreamHeader | undefined {
  if (bytes.length < headerBytes || bytes.readUInt32LE(typeAt) !== 0) return undefined;
  // It is in the byte order of the machine that sends.
  const isLittle = bytes.readBigUInt64LE(magicAt) === magic;
  if (!isLittle && bytes.readBigUInt64BE(magicAt) !== magic) return undefined;
  const read = (at: number): bigint => (isLittle ? bytes.readBigUInt64LE(at) : bytes.readBigUInt64BE(at));
  const from = read(fromGuidAt);
  return {
    snapshot: read(toGuidAt).toString(),
    base: from === 0n ? null : from.toString(),
    isCompound: (read(versionAt) & 3n) !== singleStream,
  };
}

/** Hands a stream on once its header is the one that was agreed: whatever else it is, ZFS never sees it. */
export async function* guardStream(
  source: ByteStream,
  expected: { readonly base: string | null; readonly snapshot: string },
): AsyncGenerator<Uint8Array> {
  let begun: Buffer | undefined = Buffer.alloc(0);
  for await (const chunk of source) {
    if (begun === undefined) {
      yield chunk;
      continue;
    }
    begun = Buffer.concat([begun, chunk]);
    if (begun.length < headerBytes) continue;
    const header = parseHeader(begun);
    if (header === undefined) throw corrupt("it does not begin as a stream of ZFS does");
    if (header.isCompound) throw corrupt("it carries several snapshots, and one was agreed");
    if (header.snapshot !== expected.snapshot || header.base !== expected.base)
      throw corrupt(
        `it is of snapshot ${header.snapshot} from ${header.base ?? "nothing"}, ` +
          `and ${expected.snapshot} from ${expected.base ?? "nothing"} was agreed`,
      );
    yield begun;
    begun = undefined;
  }
  if (begun !== undefined) throw corrupt("it ended within its first record");
}
