const units: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  PB: 1e15,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
  PiB: 2 ** 50,
};

/**
 * Bytes in a text such as `10GiB`, `1.5 TB` or `1048576`. Decimal and binary units are told apart; undefined
 * where the text is no size or not a whole number of bytes that a number can hold exactly.
 */
export function parseSizeBytes(text: string): number | undefined {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*$/.exec(text);
  if (match === null) return undefined;
  const factor = units[match[2] === "" ? "B" : (match[2] ?? "")];
  if (factor === undefined) return undefined;
  const bytes = Number(match[1]) * factor;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/**
 * A size for people, in the largest binary unit that leaves at least 1, with at most one decimal: `1.5 GiB`.
 */
export function formatSize(bytes: number): string {
  const steps = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes;
  let index = 0;
  // 1023.95 would be shown as 1024.0, so it goes to the next unit.
  while (value >= 1023.95 && index < steps.length - 1) {
    value /= 1024;
    index += 1;
  }
  const digits = index === 0 || Number.isInteger(value) ? 0 : 1;
  return `${value.toFixed(digits)} ${steps[index]}`;
}
