import { v2 } from "@flocker/api";
import { failure, formatSize, profileKey, success, type Result } from "@flocker/core";

const { maximumSizeMinimum, maximumSizeMultiple } = v2;

/** What `docker volume create -o …` asks for. */
export interface CreateOptions {
  /** Null for no limit. */
  readonly maximumSizeBytes: number | null;
  /** Without the volume's name. */
  readonly metadata: Readonly<Record<string, string>>;
}

const metadataPrefix = "flocker.";
const textMaximum = 256;
/** One of the 16 entries that a dataset may have is its name. */
const entriesMaximum = 15;

/**
 * Reads the options of a new volume. An option that is not known, or a value that is not understood, is
 * `bad-request` with all that is known: nothing is left out silently.
 */
export function readCreateOptions(
  options: Readonly<Record<string, string>>,
  defaults: { readonly sizeBytes: number | null },
): Result<CreateOptions> {
  const metadata: Record<string, string> = {};
  let maximumSizeBytes = defaults.sizeBytes;
  for (const [option, value] of Object.entries(options)) {
    if (option === "size") {
      const size = readSize(value);
      if (!size.ok) return size;
      maximumSizeBytes = size.value;
      continue;
    }
    const key = metadataKey(option);
    if (!key.ok) return key;
    if (value.length > textMaximum) return tooLong(option, value);
    metadata[key.value] = value;
  }
  if (Object.keys(metadata).length > entriesMaximum) {
    return failure(
      "bad-request",
      `There are ${Object.keys(metadata).length} options that become metadata; at most ${entriesMaximum} are possible.`,
      "Give fewer of them.",
      "Opts",
    );
  }
  return success({ maximumSizeBytes, metadata });
}

const known =
  "The options are size (such as size=10G), profile, and any name that begins with flocker. " +
  "(flocker.team=blue becomes the dataset's metadata team=blue).";

function metadataKey(option: string): Result<string> {
  if (option === "profile") return success(profileKey);
  const key = option.startsWith(metadataPrefix) ? option.slice(metadataPrefix.length) : "";
  if (key === "name") {
    return failure(
      "bad-request",
      "The option flocker.name is not possible: a volume's name is its dataset's name.",
      "Give the name as docker volume create's last argument.",
      "Opts",
    );
  }
  if (key !== "" && key.length <= textMaximum) return success(key);
  return failure(
    "bad-request",
    `The option ${JSON.stringify(option.slice(0, textMaximum))} is not known.`,
    known,
    "Opts",
  );
}

function tooLong(option: string, value: string): ReturnType<typeof failure> {
  return failure(
    "bad-request",
    `The value of the option ${option} has ${value.length} characters; at most ${textMaximum} are possible.`,
    "Give a shorter one.",
    "Opts",
  );
}

const powers: Readonly<Record<string, number>> = { "": 0, K: 1, M: 2, G: 3, T: 4 };

/**
 * Bytes in the original's forms: a whole number with an optional K, M, G or T, behind that an optional B or
 * iB, in any case. All of them are binary, as in the original: 10G, 10GB and 10GiB are the same.
 */
export function readSize(text: string): Result<number> {
  const match = /^\s*(\d+)\s*(?:([KMGT])(?:I?B)?|B)?\s*$/i.exec(text);
  const bytes =
    match === null ? NaN : Number(match[1]) * 1024 ** (powers[(match[2] ?? "").toUpperCase()] ?? 0);
  if (!Number.isSafeInteger(bytes)) {
    return failure(
      "bad-request",
      `The size ${JSON.stringify(text.slice(0, 100))} is not understood.`,
      "Give a whole number with K, M, G or T, all binary: size=10G (or 10GB or 10GiB) is 10 × 1024³ bytes.",
      "Opts",
    );
  }
  if (bytes < maximumSizeMinimum || bytes % maximumSizeMultiple !== 0) {
    return failure(
      "size-out-of-range",
      `The size ${text.trim()} is ${bytes} bytes.`,
      `Give at least ${formatSize(maximumSizeMinimum)}, in multiples of ${maximumSizeMultiple} bytes.`,
      "Opts",
    );
  }
  return success(bytes);
}
