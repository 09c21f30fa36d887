import { readFile } from "node:fs/promises";
import { v2 } from "@flocker/api";
import { failure, formatSize, parseSizeBytes, success, type Result } from "@flocker/core";
import { parseConfiguration, type Mistake } from "@flocker/host";
import { Type, type Static } from "typebox";

/** What a cluster file wants of one dataset. What it does not say is left as it is. */
export interface WantedDataset {
  readonly name: string;
  /** As the file says it: a name, a uuid, or the beginning of one. */
  readonly node: string;
  /** Null for no limit, undefined where the file says nothing. */
  readonly maximumSizeBytes: number | null | undefined;
  /** All of it, apart from the name; undefined where the file says nothing. */
  readonly metadata: Readonly<Record<string, string>> | undefined;
}

/** Ten thousand datasets take about one MiB. */
const fileBytesMax = 64 * 2 ** 20;
const metadataText = Type.String({ maxLength: 256 });

const schema = Type.Object(
  {
    version: Type.Optional(Type.Literal(1)),
    datasets: Type.Array(
      Type.Object(
        {
          name: Type.String({ minLength: 1, maxLength: 256, description: "what the file knows it by" }),
          node: Type.String({ minLength: 1, description: "where it belongs" }),
          size: Type.Optional(
            Type.Union([Type.String({ examples: ["500MB", "10GiB", "none"] }), Type.Integer(), Type.Null()]),
          ),
          // The API takes 16 entries, and the name is one of them.
          metadata: Type.Optional(
            Type.Record(Type.String({ pattern: "^[\\s\\S]{1,256}$" }), metadataText, { maxProperties: 15 }),
          ),
        },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
);

type ClusterFile = Static<typeof schema>;

/** Reads a file's text. */
export async function readClusterFile(path: string, name: string): Promise<Result<string>> {
  try {
    const text = await readFile(path, "utf8");
    if (text.length <= fileBytesMax) return success(text);
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    return failure(
      "file-unreadable",
      `Reading ${name} failed: ${missing ? "there is no such file" : (error as Error).message}.`,
      missing ? "Check the path." : "Check that it is a file that you may read.",
    );
  }
  return failure(
    "configuration-invalid",
    `${name} is longer than ${formatSize(fileBytesMax)}.`,
    "Check that it is the file that you mean.",
  );
}

/**
 * Reads what `flocker apply` is to make so:
 *
 *     datasets:
 *       - name: pg1
 *         node: node-a
 *         size: 10GiB              # optional; none for no limit
 *         metadata: { team: blue } # optional
 *
 * Everything else in it is a mistake; all of them are named with their lines. `nodeMistake` may say what is
 * wrong with a node, once it is known which there are.
 */
export function parseClusterFile(
  text: string,
  name: string,
  nodeMistake: (node: string) => Pick<Mistake, "cause" | "remedy"> | undefined = () => undefined,
): Result<readonly WantedDataset[]> {
  const check = (file: ClusterFile): readonly Mistake[] => mistakesOf(file, nodeMistake);
  const file = parseConfiguration(name, text, schema, { check });
  if (!file.ok) return file;
  return success(
    file.value.datasets.map((dataset) => ({
      name: dataset.name,
      node: dataset.node,
      maximumSizeBytes: parseWantedSize(dataset.size),
      metadata: dataset.metadata,
    })),
  );
}

function mistakesOf(
  { datasets }: ClusterFile,
  nodeMistake: (node: string) => Pick<Mistake, "cause" | "remedy"> | undefined,
): readonly Mistake[] {
  const mistakes: Mistake[] = [];
  const names = new Set<string>();
  for (const [index, dataset] of datasets.entries()) {
    const wrong = (key: string, cause: string, remedy: string): void => {
      mistakes.push({ path: ["datasets", index, key], at: "value", cause, remedy });
    };
    if (names.has(dataset.name))
      wrong("name", "another dataset of the file has this name", "Names are unique.");
    names.add(dataset.name);
    const node = nodeMistake(dataset.node);
    if (node !== undefined) wrong("node", node.cause, node.remedy);
    const bytes = parseWantedSize(dataset.size);
    if (Number.isNaN(bytes)) wrong("size", "is no size", "Write 500MB, 10GiB or none.");
    if (typeof bytes === "number" && bytes < v2.maximumSizeMinimum) {
      wrong("size", `must be at least ${formatSize(v2.maximumSizeMinimum)}`, "Write a larger size, or none.");
    }
    if (dataset.metadata?.["name"] !== undefined) {
      wrong("metadata", "has a name", "Leave it out: the dataset's name goes there by itself.");
    }
  }
  return mistakes;
}

/** Null for no limit, NaN for what is no size. Rounded up as on the command line. */
function parseWantedSize(size: string | number | null | undefined): number | null | undefined {
  if (size === undefined || size === null) return size;
  if (size === "none" || size === "unlimited") return null;
  const bytes = typeof size === "number" ? size : parseSizeBytes(size);
  return bytes === undefined
    ? Number.NaN
    : Math.ceil(bytes / v2.maximumSizeMultiple) * v2.maximumSizeMultiple;
}
