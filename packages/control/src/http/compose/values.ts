import { PythonFloat, isArray, type PythonValue } from "@flocker/api";

/** What is wrong with an application or deployment file, in the words of `flocker-deploy`. */
export class ConfigurationError extends Error {
  override readonly name = "ConfigurationError";
}

/** A dictionary, as Python has it. */
export type Dictionary = Readonly<Record<string, PythonValue>>;

export function isDictionary(value: PythonValue | undefined): value is Dictionary {
  return typeof value === "object" && value !== null && !isArray(value) && !(value instanceof PythonFloat);
}

/** The name that Python 2 gives to the type of a value that came as JSON. */
export function typeName(value: PythonValue | undefined): string {
  if (value === null || value === undefined) return "NoneType";
  if (typeof value === "string") return "unicode";
  if (typeof value === "boolean") return "bool";
  if (typeof value === "number") return "int";
  if (typeof value === "bigint") return "long";
  if (value instanceof PythonFloat) return "float";
  return isArray(value) ? "list" : "dict";
}

/** Ends with what is wrong with an application. */
export function applicationError(application: string, message: string): never {
  throw new ConfigurationError(`Application '${application}' has a config error. ${message}`);
}

/** Ends if a value of an application is not of the type that it must have. */
export function wrongType(application: string, description: string, value: PythonValue | undefined): never {
  return applicationError(application, `${description}; got type '${typeName(value)}'.`);
}

/** Ends if there are keys that have no meaning. */
export function checkKeys(
  value: Dictionary,
  known: readonly string[],
  refuse: (message: string) => never,
): void {
  const unknown = Object.keys(value).filter((key) => !known.includes(key));
  if (unknown.length > 0) refuse(`Unrecognised keys: ${unknown.toSorted().join(", ")}.`);
}

/** A value of a dictionary that really is its own. */
export function valueAt(value: Dictionary, key: string): PythonValue | undefined {
  return Object.hasOwn(value, key) ? value[key] : undefined;
}
