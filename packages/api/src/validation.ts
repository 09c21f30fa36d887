import type { TObject, TSchema } from "typebox";
import { Compile } from "typebox/compile";
import type { TLocalizedValidationError } from "typebox/error";
import { Settings } from "typebox/system";
import type { Fault } from "./problem.ts";

/** Finds the faults of a value; none if it is as the schema demands. */
export type Check = (value: unknown) => readonly Fault[];

/** The most faults that one answer names; a body with more is wrong altogether. */
const faultsMaximum = 50;
// TypeBox stops after 8 errors by default, and one fault may be two errors.
Settings.Set({ maxErrors: 2 * faultsMaximum });

/**
 * Compiles a schema into a check that names each fault with its place, as a JSON pointer in URI form
 * (`#/primary`).
 */
export function compileCheck(schema: TSchema): Check {
  const validator = Compile(schema);
  return (value) => (validator.Check(value) ? [] : faultsOf(validator.Errors(value)).slice(0, faultsMaximum));
}

/** Parameters as they come in a URL: always text, and maybe more than once. */
export type RawParameters = Readonly<Record<string, string | readonly string[] | undefined>>;

/**
 * Reads parameters of a URL as the schema has them: whole numbers and booleans from their texts. What cannot
 * be read stays text, so that the check finds the fault.
 */
export function decodeParameters(schema: TObject, raw: RawParameters): Record<string, unknown> {
  const decoded: Record<string, unknown> = {};
  for (const [name, text] of Object.entries(raw)) {
    const type = (schema.properties[name] as { readonly type?: unknown } | undefined)?.type;
    decoded[name] = typeof text === "string" ? decodeText(type, text) : text;
  }
  return decoded;
}

function decodeText(type: unknown, text: string): unknown {
  if (type === "integer" && /^-?\d{1,16}$/.test(text)) return Number(text);
  if (type === "boolean" && (text === "true" || text === "false")) return text === "true";
  return text;
}

function faultsOf(errors: readonly TLocalizedValidationError[]): Fault[] {
  const faults = new Map<string, Fault>();
  for (const error of errors)
    for (const fault of faultsOfOne(error)) {
      // A value of the wrong type has other faults in its wake: the first one tells enough.
      if (!faults.has(fault.pointer)) faults.set(fault.pointer, fault);
    }
  return [...faults.values()];
}

function faultsOfOne(error: TLocalizedValidationError): Fault[] {
  const at = `#${error.instancePath}`;
  switch (error.keyword) {
    // A member that the schema does not allow; the object around it has an error with all such names as well.
    case "boolean":
      return [{ pointer: at, detail: "is not known here" }];
    case "required":
      return error.params.requiredProperties.map((name) => ({
        pointer: `${at}/${escapePointer(name)}`,
        detail: "is missing",
      }));
    case "additionalProperties":
      return error.params.additionalProperties.map((name) => ({
        pointer: `${at}/${escapePointer(name)}`,
        detail: "is not known here",
      }));
    case "type":
      return [{ pointer: at, detail: `must be ${[error.params.type].flat().join(" or ")}` }];
    case "enum":
      return [{ pointer: at, detail: `must be one of ${error.params.allowedValues.map(String).join(", ")}` }];
    case "pattern":
      return [{ pointer: at, detail: patternText(String(error.params.pattern)) }];
    case "minimum":
    case "maximum":
      return [
        {
          pointer: at,
          detail: `must be ${error.keyword === "minimum" ? "at least" : "at most"} ${error.params.limit}`,
        },
      ];
    default:
      return [{ pointer: at, detail: error.message }];
  }
}

function patternText(pattern: string): string {
  return pattern.includes("-4[0-9a-f") ? "must be a uuid of version 4" : `must match ${pattern}`;
}

function escapePointer(name: string): string {
  return name.replaceAll("~", "~0").replaceAll("/", "~1");
}
