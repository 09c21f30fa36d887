/**
 * JSON as Python 2 reads and writes it, where /v1 shows the difference: integers are told from floats and
 * have no limit, and texts are written in ASCII with a space after each comma and colon.
 */

/** A number that was written with a point or an exponent, or that shall be: `60.0`. */
export class PythonFloat {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
}

/** What reading gives: integers beyond what a number holds exactly are bigints. */
export type PythonValue =
  | null
  | boolean
  | string
  | number
  | bigint
  | PythonFloat
  | readonly PythonValue[]
  | { readonly [key: string]: PythonValue };

type SourceReviver = (key: string, value: unknown, context: { readonly source?: string }) => unknown;

/** Reads JSON; undefined where the text is none. */
export function readPythonJson(text: string): { readonly value: PythonValue } | undefined {
  const reviver: SourceReviver = (_key, value, context) => {
    if (typeof value !== "number" || context.source === undefined) return value;
    if (/[.eE]/.test(context.source)) return new PythonFloat(value);
    return Number.isSafeInteger(value) ? value : BigInt(context.source);
  };
  try {
    return { value: JSON.parse(text, reviver as (key: string, value: unknown) => unknown) as PythonValue };
  } catch {
    // A syntax error, or nesting so deep that it cannot be walked.
    return undefined;
  }
}

/** Writes JSON the way `json.dumps` does by default. Undefined members are left out. */
export function writePythonJson(value: PythonValue | undefined): string {
  if (value === null || value === undefined) return "null";
  if (typeof value === "string") return writePythonString(value);
  if (typeof value === "boolean" || typeof value === "number" || typeof value === "bigint")
    return String(value);
  if (value instanceof PythonFloat) return writePythonFloat(value.value);
  if (isArray(value)) return `[${value.map(writePythonJson).join(", ")}]`;
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  return `{${members.map(([key, member]) => `${writePythonString(key)}: ${writePythonJson(member)}`).join(", ")}}`;
}

const plainText = /^[ !#-[\]-~]*$/;
const toEscape = /["\\]|[^ -~]/g;
const shortEscapes: Readonly<Record<string, string>> = {
  '"': '\\"',
  "\\": "\\\\",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\b": "\\b",
  "\f": "\\f",
};

/** A text as JSON in ASCII. */
export function writePythonString(text: string): string {
  if (plainText.test(text)) return `"${text}"`;
  const escaped = text.replaceAll(
    toEscape,
    (unit) => shortEscapes[unit] ?? `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return `"${escaped}"`;
}

/**
 * A float as Python's `repr` has it: always with a point or an exponent, which begins at 1e16 and below 1e-4.
 */
export function writePythonFloat(value: number): string {
  const magnitude = Math.abs(value);
  if (magnitude !== 0 && (magnitude >= 1e16 || magnitude < 1e-4)) {
    const [mantissa, exponent] = value.toExponential().split("e") as [string, string];
    return `${mantissa}e${exponent.slice(0, 1)}${exponent.slice(1).padStart(2, "0")}`;
  }
  const text = Object.is(value, -0) ? "-0" : String(value);
  return text.includes(".") ? text : `${text}.0`;
}

/** Whether a value is a list; unlike `Array.isArray`, it knows that lists may be read-only. */
export function isArray(value: unknown): value is readonly PythonValue[] {
  return Array.isArray(value);
}
