/** Two 32-bit lanes of a running, not cryptographic, hash. */
export type Fingerprint = readonly [number, number];

const start: Fingerprint = [0xdeadbeef | 0, 0x41c6ce57];

/**
 * Goes on with a fingerprint over more text, or starts one. Equal texts in equal order give equal
 * fingerprints.
 */
export function fingerprint(text: string, from: Fingerprint = start): Fingerprint {
  let low = from[0];
  let high = from[1];
  for (let index = 0; index < text.length; index += 1) {
    const unit = text.charCodeAt(index);
    low = Math.imul(low ^ unit, 0x9e3779b1);
    high = Math.imul(high ^ unit, 0x5f356495);
  }
  // Crossing the lanes keeps a difference in one of them from cancelling out.
  low = Math.imul(low ^ (low >>> 16), 0x85ebca6b) ^ Math.imul(high ^ (high >>> 13), 0xc2b2ae35);
  high = Math.imul(high ^ (high >>> 16), 0x85ebca6b) ^ Math.imul(low ^ (low >>> 13), 0xc2b2ae35);
  return [low, high];
}

/** A fingerprint as 16 hexadecimal digits. */
export function formatFingerprint(value: Fingerprint): string {
  return value.map((lane) => (lane >>> 0).toString(16).padStart(8, "0")).join("");
}
