import type { TSchema } from "typebox";
import { Check, Errors } from "typebox/value";

/** One thing that a value has and its schema does not want. */
export interface Mistake {
  /** The keys (and indexes of lists) that lead there. */
  readonly path: readonly (string | number)[];
  /** Where to point at: the value, the key itself, or the mapping in which the path's last key is missing. */
  readonly at: "value" | "key" | "parent";
  /** What is wrong, as it stands after "`key`: ". */
  readonly cause: string;
  readonly remedy: string;
}

/** The parts of a JSON schema that are looked at here; typebox itself checks the rest. */
interface SchemaView {
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly TSchema[];
  readonly properties?: Readonly<Record<string, TSchema>>;
  readonly patternProperties?: Readonly<Record<string, TSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: unknown;
  readonly items?: TSchema;
  readonly description?: string;
  readonly examples?: readonly unknown[];
}

type Path = readonly (string | number)[];

/** Everything that is wrong with a value, in the order of the schema; empty where it fits. */
export function mistakesIn(schema: TSchema, value: unknown): readonly Mistake[] {
  const mistakes = [...walk(schema, value, [])];
  if (mistakes.length > 0 || Check(schema, value)) return mistakes;
  return Errors(schema, value).map((error) => ({
    path: error.instancePath.split("/").slice(1).map(unescaped),
    at: "value",
    cause: error.message,
    remedy: "Put it right.",
  }));
}

function* walk(schema: TSchema, value: unknown, path: Path): Generator<Mistake> {
  const view: SchemaView = schema;
  if (view.anyOf !== undefined) yield* walkUnion(schema, view.anyOf, value, path);
  else if (view.properties !== undefined && isMapping(value)) yield* walkMapping(view, value, path);
  else if (view.patternProperties !== undefined && isMapping(value))
    yield* walkRecord(view.patternProperties, value, path);
  else if (view.items !== undefined && Array.isArray(value)) {
    const { items } = view;
    for (const [index, item] of value.entries()) yield* walk(items, item, [...path, index]);
  } else if (!Check(schema, value)) {
    const error = Errors(schema, value)[0];
    const cause = error === undefined ? "does not fit" : causeOf(error, value);
    yield { path, at: "value", cause, remedy: `Write ${wanted(schema)}.` };
  }
}

function* walkMapping(view: SchemaView, value: Record<string, unknown>, path: Path): Generator<Mistake> {
  const properties = view.properties ?? {};
  for (const key of Object.keys(value)) {
    if (Object.hasOwn(properties, key) || view.additionalProperties !== false) continue;
    const nearest = closest(key, Object.keys(properties));
    const known = Object.keys(properties).join(", ");
    yield {
      path: [...path, key],
      at: "key",
      cause:
        nearest === undefined ? "there is no such key" : `there is no such key; did you mean ${nearest}?`,
      remedy:
        nearest === undefined ? `Remove it; known here are: ${known}.` : `Write ${nearest}, or remove it.`,
    };
  }
  for (const [key, schema] of Object.entries(properties)) {
    if (Object.hasOwn(value, key)) yield* walk(schema, value[key], [...path, key]);
    else if (view.required?.includes(key) === true) yield missing(schema, [...path, key]);
  }
}

/** A mapping whose keys are people's own, of a form that is told by a pattern. */
function* walkRecord(
  patterns: Readonly<Record<string, TSchema>>,
  value: Record<string, unknown>,
  path: Path,
): Generator<Mistake> {
  for (const [key, each] of Object.entries(value)) {
    const [, schema] = Object.entries(patterns).find(([pattern]) => new RegExp(pattern).test(key)) ?? [];
    if (schema !== undefined) yield* walk(schema, each, [...path, key]);
    else
      yield {
        path: [...path, key],
        at: "key",
        cause: "that is no name that is possible here",
        remedy: `Use one of the form ${Object.keys(patterns).join(" or ")}.`,
      };
  }
}

function missing(schema: TSchema, path: Path): Mistake {
  const { description }: SchemaView = schema;
  const meaning = description === undefined ? "" : ` (${description})`;
  return {
    path,
    at: "parent",
    cause: `is missing${meaning}`,
    remedy: `Add ${String(path.at(-1))}: ${wanted(schema)}.`,
  };
}

/** Looks for the alternative that was meant, so that the mistakes are about that one only. */
function* walkUnion(
  schema: TSchema,
  alternatives: readonly TSchema[],
  value: unknown,
  path: Path,
): Generator<Mistake> {
  if (alternatives.some((each) => Check(each, value))) return;
  if (isMapping(value)) {
    const marks = alternatives.map(discriminator);
    const meant = alternatives.filter((_, index) => {
      const mark = marks[index];
      return mark !== undefined && value[mark.key] === mark.value;
    });
    if (meant[0] !== undefined) {
      yield* walk(meant[0], value, path);
      return;
    }
    const key = marks[0]?.key;
    if (key !== undefined && marks.every((mark) => mark?.key === key)) {
      const choices = `one of ${marks.map((mark) => String(mark?.value)).join(", ")}`;
      yield Object.hasOwn(value, key)
        ? {
            path: [...path, key],
            at: "value",
            cause: `must be ${choices}, but is ${shown(value[key])}`,
            remedy: `Write ${choices}.`,
          }
        : { path: [...path, key], at: "parent", cause: "is missing", remedy: `Add ${key}: ${choices}.` };
      return;
    }
  }
  const sameType = alternatives.filter(
    (each) => (each as SchemaView).type === typeName(value) && !isConstant(each),
  );
  if (sameType.length === 1 && sameType[0] !== undefined) {
    yield* walk(sameType[0], value, path);
    return;
  }
  yield {
    path,
    at: "value",
    cause: `must be ${wanted(schema)}, but is ${shown(value)}`,
    remedy: `Write ${wanted(schema)}.`,
  };
}

/** The key whose constant tells an alternative from the others. */
function discriminator(schema: TSchema): { readonly key: string; readonly value: unknown } | undefined {
  for (const [key, property] of Object.entries((schema as SchemaView).properties ?? {})) {
    if (isConstant(property)) return { key, value: (property as SchemaView).const };
  }
  return undefined;
}

function isConstant(schema: TSchema): boolean {
  return Object.hasOwn(schema, "const");
}

function causeOf(error: ReturnType<typeof Errors>[number], value: unknown): string {
  const is = `but is ${shown(value)}`;
  switch (error.keyword) {
    case "type":
      return `must be ${typeWords[String(error.params.type)] ?? String(error.params.type)}, ${is}`;
    case "minimum":
      return `must be at least ${error.params.limit}, ${is}`;
    case "maximum":
      return `must be at most ${error.params.limit}, ${is}`;
    case "const":
      return `must be ${shown(error.params.allowedValue)}, ${is}`;
    case "~refine":
      return `${shown(value)} ${error.message}`;
    default:
      return `${error.message}, ${is}`;
  }
}

const typeWords: Readonly<Record<string, string>> = {
  integer: "a whole number",
  number: "a number",
  string: "a text",
  boolean: "true or false",
  object: "a mapping of keys to values",
  array: "a list",
  null: "empty",
};

/** What a schema asks for, in words, as it stands after "Write ". */
function wanted(schema: TSchema): string {
  const view: SchemaView & { readonly minimum?: number; readonly maximum?: number } = schema;
  if (Object.hasOwn(schema, "const")) return String(view.const);
  if (view.enum !== undefined) return `one of ${view.enum.map(String).join(", ")}`;
  if (view.anyOf !== undefined) {
    const choices = [...new Set(view.anyOf.map(wanted))];
    return view.anyOf.every(isConstant) ? `one of ${choices.join(", ")}` : choices.join(" or ");
  }
  const range =
    (view.minimum === undefined ? "" : ` from ${view.minimum}`) +
    (view.maximum === undefined ? "" : ` up to ${view.maximum}`);
  const examples = view.examples === undefined ? "" : `, such as ${view.examples.map(String).join(" or ")}`;
  return `${typeWords[view.type ?? ""] ?? "another value"}${range}${examples}`;
}

function shown(value: unknown): string {
  if (value === null || value === undefined) return "empty";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a mapping";
  return typeof value === "string" ? `the text ${JSON.stringify(value.slice(0, 80))}` : JSON.stringify(value);
}

function typeName(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number";
  return typeof value;
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function unescaped(part: string): string {
  return part.replaceAll("~1", "/").replaceAll("~0", "~");
}

/** The candidate that was probably meant: the same but for case and dashes, or a few letters away. */
export function closest(word: string, candidates: readonly string[]): string | undefined {
  const plain = (text: string): string => text.toLowerCase().replaceAll(/[-_]/g, "");
  let best: { readonly candidate: string; readonly edits: number } | undefined;
  for (const candidate of candidates) {
    const edits = editsBetween(plain(word), plain(candidate));
    const few = Math.max(1, Math.floor(candidate.length / 3));
    if (edits <= few && (best === undefined || edits < best.edits)) best = { candidate, edits };
  }
  return best?.candidate;
}

/** Levenshtein's distance, with two letters that changed places as one edit. */
function editsBetween(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  const at = (cells: readonly number[], index: number): number => cells[index] ?? Number.POSITIVE_INFINITY;
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const replaced = at(row, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? at(before, j - 2) + 1 : replaced;
      next.push(Math.min(replaced, swapped, at(row, j) + 1, at(next, j - 1) + 1));
    }
    before = row;
    row = next;
  }
  return at(row, b.length);
}
