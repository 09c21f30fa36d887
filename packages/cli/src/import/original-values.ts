// How the original Flocker wrote its values: JSON in which everything that is not plain carries its class.

/** A record of the original's file, with its class. */
export interface OriginalRecord {
  readonly $class: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

const classKey = "$__class__$";

/** The record in a value; undefined where it is none, or of another class. */
export function recordOf(value: unknown, ...classes: readonly string[]): OriginalRecord | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const { [classKey]: $class, ...fields } = value as Readonly<Record<string, unknown>>;
  if (typeof $class !== "string" || (classes.length > 0 && !classes.includes($class))) return undefined;
  return { $class, fields };
}

/** The pairs of a map: `{"$__class__$": "PMap", "values": [[key, value], …]}`, or a plain object. */
export function pairsOf(value: unknown): readonly (readonly [unknown, unknown])[] {
  const map = recordOf(value, "PMap");
  if (map === undefined)
    return typeof value === "object" && value !== null && !Array.isArray(value) && !(classKey in value)
      ? Object.entries(value)
      : [];
  const { values } = map.fields;
  if (!Array.isArray(values)) return [];
  return values.filter((pair): pair is [unknown, unknown] => Array.isArray(pair) && pair.length === 2);
}

/** The members of a set, a list or a map, whichever a version of the file has. */
export function membersOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? (value as readonly unknown[]) : pairsOf(value).map(([, member]) => member);
}

/** A uuid in the usual form, from a record or a text; undefined where it is neither. */
export function uuidOf(value: unknown): string | undefined {
  const text = recordOf(value, "UUID")?.fields["hex"] ?? value;
  if (typeof text !== "string") return undefined;
  const digits = text.toLowerCase().replaceAll("-", "");
  if (!/^[0-9a-f]{32}$/.test(digits)) return undefined;
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** A path, from a record or a text. */
export function pathOf(value: unknown): string | undefined {
  const text = recordOf(value, "FilePath")?.fields["path"] ?? value;
  return typeof text === "string" ? text : undefined;
}

/** A map of texts. */
export function textsOf(value: unknown): Readonly<Record<string, string>> {
  const pairs = pairsOf(value).filter(
    (pair): pair is readonly [string, string] => typeof pair[0] === "string" && typeof pair[1] === "string",
  );
  return Object.fromEntries(pairs);
}
