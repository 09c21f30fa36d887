import type { TSchema } from "typebox";
import { PythonFloat, isArray, writePythonFloat, type PythonValue } from "./python-json.ts";

/**
 * The faults of a value in the words of python-jsonschema 2.5.1 (Draft 4), which the original put into its
 * 400 answers. It knows the keywords that the schemas of /v1 use.
 */
export function pythonFaults(schema: TSchema, value: PythonValue): readonly string[] {
  const { type, enum: allowed, const: only, anyOf } = schema as SchemaWords;
  // TypeBox writes literals and unions in other words; in the original's schemas they were `enum` and
  // `oneOf`.
  if (only !== undefined)
    return value === only ? [] : [`${pythonRepr(value)} is not one of ${pythonRepr([only])}`];
  if (anyOf !== undefined)
    return anyOf.some((one) => pythonFaults(one, value).length === 0)
      ? []
      : [`${pythonRepr(value)} is not valid under any of the given schemas`];
  return [
    ...objectFaults(schema as SchemaWords, value),
    ...listFaults(schema as SchemaWords, value),
    ...(allowed === undefined || allowed.includes(value as never)
      ? []
      : [`${pythonRepr(value)} is not one of ${pythonRepr(allowed)}`]),
    ...textFaults(schema as SchemaWords, value),
    ...numberFaults(schema as SchemaWords, value),
    ...(type === undefined || [type].flat().some((name) => isOfType(value, name))
      ? []
      : [`${pythonRepr(value)} is not of type ${[type].flat().map(quoted).join(", ")}`]),
  ];
}

interface SchemaWords {
  readonly type?: string | readonly string[];
  readonly enum?: readonly PythonValue[];
  readonly const?: PythonValue;
  readonly anyOf?: readonly TSchema[];
  readonly items?: TSchema;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly uniqueItems?: boolean;
  readonly properties?: Readonly<Record<string, TSchema>>;
  readonly patternProperties?: Readonly<Record<string, TSchema>>;
  readonly additionalProperties?: boolean;
  readonly required?: readonly string[];
  readonly maxProperties?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly multipleOf?: number;
}

function* objectFaults(schema: SchemaWords, value: PythonValue): Generator<string> {
  if (!isObject(value)) return;
  const keys = Object.keys(value);
  if (schema.maxProperties !== undefined && keys.length > schema.maxProperties)
    yield `${pythonRepr(value)} has too many properties`;
  const unexpected: string[] = [];
  for (const key of keys) {
    const schemas = schemasFor(schema, key);
    if (schemas.length === 0) unexpected.push(key);
    for (const one of schemas) yield* pythonFaults(one, value[key] as PythonValue);
  }
  if (schema.additionalProperties === false && unexpected.length > 0) {
    const verb = unexpected.length === 1 ? "was" : "were";
    const names = unexpected.map(pythonRepr).join(", ");
    yield `Additional properties are not allowed (${names} ${verb} unexpected)`;
  }
  for (const name of schema.required ?? [])
    if (!Object.hasOwn(value, name)) yield `${quoted(name)} is a required property`;
}

function schemasFor(schema: SchemaWords, key: string): readonly TSchema[] {
  const own =
    schema.properties !== undefined && Object.hasOwn(schema.properties, key)
      ? schema.properties[key]
      : undefined;
  const matching = Object.entries(schema.patternProperties ?? {})
    .filter(([pattern]) => new RegExp(pattern, "u").test(key))
    .map(([, one]) => one);
  return own === undefined ? matching : [own, ...matching];
}

function* listFaults(schema: SchemaWords, value: PythonValue): Generator<string> {
  if (!isArray(value)) return;
  const { items, minItems, maxItems, uniqueItems } = schema;
  if (items !== undefined) for (const item of value) yield* pythonFaults(items, item);
  if (minItems !== undefined && value.length < minItems) yield `${pythonRepr(value)} is too short`;
  if (maxItems !== undefined && value.length > maxItems) yield `${pythonRepr(value)} is too long`;
  if (uniqueItems === true && new Set(value.map(canonicalText)).size < value.length)
    yield `${pythonRepr(value)} has non-unique elements`;
}

/** The same for equal values, whatever the order of their members. */
function canonicalText(value: PythonValue): string {
  if (!isObject(value)) return pythonRepr(value);
  const members = Object.entries(value).map(
    ([key, member]) => `${pythonRepr(key)}: ${canonicalText(member)}`,
  );
  return members.toSorted().join(", ");
}

function* textFaults(schema: SchemaWords, value: PythonValue): Generator<string> {
  if (typeof value !== "string") return;
  const { pattern, minLength, maxLength } = schema;
  if (pattern !== undefined && !new RegExp(pattern, "u").test(value))
    yield `${pythonRepr(value)} does not match ${quoted(pattern)}`;
  const length = Array.from(value).length;
  if (minLength !== undefined && length < minLength) yield `${pythonRepr(value)} is too short`;
  if (maxLength !== undefined && length > maxLength) yield `${pythonRepr(value)} is too long`;
}

function* numberFaults(schema: SchemaWords, value: PythonValue): Generator<string> {
  const number = value instanceof PythonFloat ? value.value : value;
  if (typeof number !== "number" && typeof number !== "bigint") return;
  const { minimum, maximum, multipleOf } = schema;
  if (minimum !== undefined && number < minimum)
    yield `${pythonRepr(value)} is less than the minimum of ${pythonRepr(minimum)}`;
  if (maximum !== undefined && number > maximum)
    yield `${pythonRepr(value)} is greater than the maximum of ${pythonRepr(maximum)}`;
  if (multipleOf !== undefined && !isMultiple(number, multipleOf))
    yield `${pythonRepr(value)} is not a multiple of ${pythonRepr(multipleOf)}`;
}

function isMultiple(number: number | bigint, of: number): boolean {
  return typeof number === "bigint" ? number % BigInt(of) === 0n : number % of === 0;
}

function isOfType(value: PythonValue, type: string): boolean {
  switch (type) {
    case "null":
      return value === null;
    case "object":
      return isObject(value);
    case "integer":
      return typeof value === "number" || typeof value === "bigint";
    case "number":
      return typeof value === "number" || typeof value === "bigint" || value instanceof PythonFloat;
    default:
      return type === "array" ? isArray(value) : typeof value === type;
  }
}

function isObject(value: PythonValue): value is { readonly [key: string]: PythonValue } {
  return typeof value === "object" && value !== null && !isArray(value) && !(value instanceof PythonFloat);
}

/** A value as Python 2's `repr` shows what came from JSON: texts are unicode, big integers have an L. */
export function pythonRepr(value: PythonValue): string {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value === "number") return String(value);
  if (typeof value === "bigint") return isLong(value) ? `${value}L` : String(value);
  if (typeof value === "string") return `u${quoted(value)}`;
  if (value instanceof PythonFloat) return writePythonFloat(value.value);
  if (isArray(value)) return `[${value.map(pythonRepr).join(", ")}]`;
  return `{${Object.entries(value)
    .map(([key, member]) => `${pythonRepr(key)}: ${pythonRepr(member)}`)
    .join(", ")}}`;
}

/** Beyond 64 bits Python 2 counted on in another type. */
function isLong(value: bigint): boolean {
  return value >= 2n ** 63n || value < -(2n ** 63n);
}

const namedEscapes: Readonly<Record<string, string>> = {
  "\\": "\\\\",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
};

function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = Array.from(text, (character) => escapeCharacter(character, quote)).join("");
  return `${quote}${escaped}${quote}`;
}

function escapeCharacter(character: string, quote: string): string {
  if (character === quote) return `\\${character}`;
  const named = namedEscapes[character];
  if (named !== undefined) return named;
  const code = character.codePointAt(0) ?? 0;
  if (code >= 0x20 && code < 0x7f) return character;
  const digits = code.toString(16);
  if (code <= 0xff) return `\\x${digits.padStart(2, "0")}`;
  return code <= 0xffff ? `\\u${digits.padStart(4, "0")}` : `\\U${digits.padStart(8, "0")}`;
}
