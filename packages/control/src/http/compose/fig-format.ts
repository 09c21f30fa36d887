import { isArray, type PythonValue } from "@flocker/api";
import type { Application } from "./application.ts";
import { readEnvironment, readImage, readMountpoint, readWhole } from "./flocker-format.ts";
import {
  applicationError,
  checkKeys,
  isDictionary,
  typeName,
  valueAt,
  wrongType,
  type Dictionary,
} from "./values.ts";

const applicationKeys = ["image", "environment", "ports", "links", "volumes", "mem_limit"];

/** Whether a file is one of Fig: its values are applications, which have an image or are built. */
export function isFig(file: Dictionary): boolean {
  const values = Object.entries(file).map(([name, value]) => {
    if (!isDictionary(value)) return 0;
    const count = ["image", "build"].filter((key) => valueAt(value, key) !== undefined).length;
    if (count > 1) applicationError(name, "Must specify either 'build' or 'image'; found both.");
    return count;
  });
  return values.includes(1);
}

/** Reads an application file of Fig, version 1 of what is Compose now. Throws a ConfigurationError. */
export function readFigApplications(file: Dictionary): readonly Application[] {
  const found = Object.entries(file).map(([name, value]) => readApplication(name, value));
  const byName = new Map(found.map((one) => [one.application.name, one.application]));
  return found.map(({ application, links }) => ({
    ...application,
    links: links.flatMap((link) => linksTo(link, application.name, byName)),
  }));
}

interface FigLink {
  readonly target: string;
  readonly alias: string;
}

function readApplication(
  name: string,
  value: PythonValue,
): { readonly application: Application; readonly links: readonly FigLink[] } {
  if (!isDictionary(value))
    return applicationError(name, `Application must be a dictionary, got ${typeName(value)}.`);
  if (valueAt(value, "build") !== undefined) applicationError(name, "'build' is unsupported.");
  const image = valueAt(value, "image");
  if (image === undefined) applicationError(name, "Missing 'image' key.");
  checkKeys(value, applicationKeys, (message) => applicationError(name, message));
  const application = {
    name,
    image: readImage(name, image),
    ports: readPorts(name, valueAt(value, "ports")),
    links: [],
    volume: readVolume(name, valueAt(value, "volumes")),
    environment: readVariables(name, valueAt(value, "environment")),
    memoryLimitBytes: readWhole(name, "mem_limit", valueAt(value, "mem_limit")),
    cpuShares: null,
    restartPolicy: { name: "never" },
  } as const;
  return { application, links: readLinks(name, valueAt(value, "links")) };
}

function readPorts(application: string, value: PythonValue | undefined): Application["ports"] {
  const mistake = "'ports' must be list of string values in the form of 'host_port:container_port'.";
  if (value === undefined || value === null) return [];
  if (!isArray(value)) return applicationError(application, mistake);
  return value.map((item) => {
    const [, external, internal] = /^(\d{1,5}):(\d{1,5})$/.exec(typeof item === "string" ? item : "") ?? [];
    if (external === undefined || internal === undefined) return applicationError(application, mistake);
    return { internal: Number(internal), external: Number(external) };
  });
}

function readVolume(application: string, value: PythonValue | undefined): Application["volume"] {
  if (value === undefined || value === null) return null;
  if (!isArray(value)) return wrongType(application, "'volumes' must be a list", value);
  if (value.length > 1)
    return applicationError(application, "Only one volume per application is supported at this time.");
  const [path] = value;
  if (path === undefined) return null;
  const mountpoint = readMountpoint(path, (message) =>
    applicationError(application, `Invalid volume specification. ${message}`),
  );
  return { mountpoint, dataset: null, maximumSizeBytes: null };
}

/** Fig takes a dictionary, or a list of `NAME=value`. */
function readVariables(
  application: string,
  value: PythonValue | undefined,
): Readonly<Record<string, string>> {
  if (!isArray(value)) return readEnvironment(application, value);
  const variables = value.map((item): readonly [string, string] => {
    if (typeof item !== "string")
      return wrongType(application, "'environment' list values must be strings", item);
    const equals = item.indexOf("=");
    if (equals < 1)
      return applicationError(application, "'environment' list values must be in the form of 'name=value'.");
    return [item.slice(0, equals), item.slice(equals + 1)];
  });
  return Object.fromEntries(variables);
}

function readLinks(application: string, value: PythonValue | undefined): readonly FigLink[] {
  if (value === undefined || value === null) return [];
  if (!isArray(value)) return wrongType(application, "'links' must be a list", value);
  return value.map((item) => {
    if (typeof item !== "string")
      return wrongType(application, "'links' must be a list of string values", item);
    const [target = "", alias = target] = item.split(":");
    return { target, alias };
  });
}

/** A link for each port of the application that is linked to. */
function linksTo(
  { target, alias }: FigLink,
  application: string,
  byName: ReadonlyMap<string, Application>,
): Application["links"] {
  const linked = byName.get(target);
  if (linked === undefined)
    return applicationError(
      application,
      `'links' value '${target}' could not be mapped to any application; application '${target}' does not exist.`,
    );
  return linked.ports.map((port) => ({
    alias: alias.toLowerCase(),
    localPort: port.internal,
    remotePort: port.external,
  }));
}
