import { posix } from "node:path";
import { PythonFloat, isArray, type PythonValue } from "@flocker/api";
import { parseDatasetId, type RestartPolicy } from "@flocker/core";
import type { Application, ApplicationVolume } from "./application.ts";
import { imageMistake, parseImage } from "./image.ts";
import {
  applicationError,
  checkKeys,
  ConfigurationError,
  isDictionary,
  typeName,
  valueAt,
  wrongType,
  type Dictionary,
} from "./values.ts";

const applicationKeys = [
  "image",
  "ports",
  "links",
  "volume",
  "environment",
  "mem_limit",
  "cpu_shares",
  "restart_policy",
];

/** Reads an application file of Flocker's own format, version 1. Throws a ConfigurationError. */
export function readFlockerApplications(file: Dictionary): readonly Application[] {
  const refuse = (message: string): never => {
    throw new ConfigurationError(`Application configuration has an error. ${message}`);
  };
  const applications = valueAt(file, "applications");
  if (applications === undefined) return refuse("Missing 'applications' key.");
  if (valueAt(file, "version") === undefined) return refuse("Missing 'version' key.");
  if (!isVersionOne(valueAt(file, "version"))) return refuse("Incorrect version specified.");
  if (!isDictionary(applications))
    return refuse(`'applications' must be a dictionary, got ${typeName(applications)}.`);
  return Object.entries(applications).map(([name, value]) => {
    if (!isDictionary(value))
      return applicationError(name, `Application must be a dictionary, got ${typeName(value)}.`);
    return readApplication(name, value);
  });
}

/** Python has `1 == 1.0` and `1 == True`. */
export function isVersionOne(value: PythonValue | undefined): boolean {
  return value === 1 || value === true || (value instanceof PythonFloat && value.value === 1);
}

function readApplication(name: string, value: Dictionary): Application {
  const image = valueAt(value, "image");
  if (image === undefined) applicationError(name, "Missing 'image' key.");
  checkKeys(value, applicationKeys, (message) => applicationError(name, message));
  return {
    name,
    image: readImage(name, image),
    ports: readPorts(name, valueAt(value, "ports")),
    links: readLinks(name, valueAt(value, "links")),
    volume: readVolume(name, valueAt(value, "volume")),
    environment: readEnvironment(name, valueAt(value, "environment")),
    memoryLimitBytes: readWhole(name, "mem_limit", valueAt(value, "mem_limit")),
    cpuShares: readWhole(name, "cpu_shares", valueAt(value, "cpu_shares")),
    restartPolicy: readRestartPolicy(name, valueAt(value, "restart_policy")),
  };
}

export function readImage(application: string, value: PythonValue | undefined): string {
  if (typeof value !== "string") return wrongType(application, "'image' must be a string", value);
  const image = parseImage(value);
  return image ?? applicationError(application, `Invalid Docker image name. ${imageMistake(value)}`);
}

/** A whole number that may be left out. */
export function readWhole(application: string, key: string, value: PythonValue | undefined): number | null {
  if (value === undefined || value === null) return null;
  return typeof value === "number" ? value : wrongType(application, `${key} must be an integer`, value);
}

function readPorts(application: string, value: PythonValue | undefined): Application["ports"] {
  const refuse = (message: string): never =>
    applicationError(application, `Invalid ports specification. ${message}`);
  return readList(value, refuse).map((item) => {
    const internal = readNumber(item, "internal", "internal port", refuse);
    const external = readNumber(item, "external", "external port", refuse);
    checkKeys(item, ["internal", "external"], refuse);
    return { internal, external };
  });
}

function readLinks(application: string, value: PythonValue | undefined): Application["links"] {
  const refuse = (message: string): never =>
    applicationError(application, `Invalid links specification. ${message}`);
  return readList(value, refuse).map((item) => {
    const localPort = readNumber(item, "local_port", "local port", refuse);
    const remotePort = readNumber(item, "remote_port", "remote port", refuse);
    const alias = valueAt(item, "alias");
    if (alias === undefined) return refuse("Missing alias.");
    if (typeof alias !== "string" || !/^[a-zA-Z0-9]+$/.test(alias))
      return refuse("Link aliases must be made of letters and digits.");
    checkKeys(item, ["local_port", "remote_port", "alias"], refuse);
    return { alias: alias.toLowerCase(), localPort, remotePort };
  });
}

function readList(value: PythonValue | undefined, refuse: (message: string) => never): readonly Dictionary[] {
  if (value === undefined || value === null) return [];
  if (!isArray(value)) return refuse(`Wrong value type: ${typeName(value)}. Should be list.`);
  return value.map((item) => (isDictionary(item) ? item : refuse(`Wrong value type: ${typeName(item)}.`)));
}

function readNumber(
  item: Dictionary,
  key: string,
  words: string,
  refuse: (message: string) => never,
): number {
  const value = valueAt(item, key);
  if (value === undefined) return refuse(`Missing ${words}.`);
  return typeof value === "number" ? value : refuse(`The ${words} must be an integer.`);
}

function readVolume(application: string, value: PythonValue | undefined): ApplicationVolume | null {
  const refuse = (message: string): never =>
    applicationError(application, `Invalid volume specification. ${message}`);
  if (value === undefined || value === null) return null;
  if (!isDictionary(value)) return refuse(`Unexpected value: ${typeName(value)}`);
  const mountpoint = valueAt(value, "mountpoint");
  if (mountpoint === undefined) return refuse("Missing mountpoint.");
  const dataset = valueAt(value, "dataset_id");
  const size = valueAt(value, "maximum_size");
  checkKeys(value, ["mountpoint", "dataset_id", "maximum_size"], refuse);
  return {
    mountpoint: readMountpoint(mountpoint, refuse),
    dataset: dataset === undefined || dataset === null ? null : readDataset(dataset, refuse),
    maximumSizeBytes:
      size === undefined || size === null
        ? null
        : readStorageSize(size, (message) => refuse(`maximum_size: ${message}`)),
  };
}

/** A path inside a container: absolute, in ASCII, without what does not matter in it. */
export function readMountpoint(value: PythonValue, refuse: (message: string) => never): string {
  if (typeof value !== "string") return refuse(`Mountpoint must be a string, got ${typeName(value)}.`);
  if (/[^ -~]/.test(value)) return refuse(`Mountpoint ${value} contains non-ASCII (unsupported).`);
  if (!value.startsWith("/")) return refuse(`Mountpoint ${value} is not an absolute path.`);
  return posix.resolve(value);
}

function readDataset(value: PythonValue, refuse: (message: string) => never): string {
  const dataset = typeof value === "string" ? parseDatasetId(value) : undefined;
  return dataset ?? refuse("Dataset ID must be a UUID.");
}

const multipliers: Readonly<Record<string, number>> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

function readStorageSize(value: PythonValue, refuse: (message: string) => never): number {
  if (typeof value !== "string") return refuse(`Value must be string, got ${typeName(value)}.`);
  const [, quantity, unit] = /^(\d+\.?\d*)([KMGT])?$/i.exec(value) ?? [];
  if (quantity === undefined) return refuse(`Value '${value}' could not be parsed as a storage quantity.`);
  const bytes = Math.ceil(
    Number(quantity) * (unit === undefined ? 1 : (multipliers[unit.toUpperCase()] ?? 1)),
  );
  return Number.isSafeInteger(bytes) ? bytes : refuse(`Value '${value}' is too large.`);
}

/** A dictionary of texts. */
export function readEnvironment(
  application: string,
  value: PythonValue | undefined,
): Readonly<Record<string, string>> {
  if (value === undefined || value === null) return {};
  if (!isDictionary(value))
    return wrongType(application, "'environment' must be a dictionary of key/value pairs", value);
  for (const [key, text] of Object.entries(value))
    if (typeof text !== "string")
      wrongType(application, `Environment variable '${key}' must be a string`, text);
  return value as Readonly<Record<string, string>>;
}

function readRestartPolicy(application: string, value: PythonValue | undefined): RestartPolicy {
  const refuse = (message: string): never => {
    throw new ConfigurationError(`Application '${application}' has a configuration error. ${message}`);
  };
  if (value === undefined || value === null) return { name: "never" };
  if (!isDictionary(value)) return refuse(`'restart_policy' must be a dictionary, got ${typeName(value)}.`);
  const name = valueAt(value, "name");
  if (name === undefined) return refuse("'restart_policy' must include a 'name'.");
  if (name !== "always" && name !== "never" && name !== "on-failure") {
    const shown = typeof name === "string" ? name : typeName(name);
    return refuse(`Invalid 'restart_policy' name '${shown}'. Use one of: always, never, on-failure`);
  }
  const known = name === "on-failure" ? ["name", "maximum_retry_count"] : ["name"];
  checkKeys(value, known, (message) => refuse(`Invalid 'restart_policy' arguments for ${name}. ${message}`));
  if (name !== "on-failure") return { name };
  const count = valueAt(value, "maximum_retry_count");
  if (count === undefined || count === null) return { name, maximumRetryCount: null };
  if (typeof count === "number" && count >= 1) return { name, maximumRetryCount: count };
  return refuse(
    "Invalid 'restart_policy' arguments for on-failure. maximum_retry_count must be a positive integer.",
  );
}
