import { failure, success, type Problem, type Result } from "@flocker/core";
import { compileCheck } from "@flocker/api";
import { Type, type Static, type TSchema } from "typebox";

/** The media type that Docker's own plugin library answers with. */
export const pluginMediaType = "application/vnd.docker.plugins.v1.1+json";

/** Where clients find each call. https://docs.docker.com/engine/extend/plugins_volume/ */
export const paths = {
  activate: "/Plugin.Activate",
  create: "/VolumeDriver.Create",
  remove: "/VolumeDriver.Remove",
  mount: "/VolumeDriver.Mount",
  unmount: "/VolumeDriver.Unmount",
  path: "/VolumeDriver.Path",
  get: "/VolumeDriver.Get",
  list: "/VolumeDriver.List",
  capabilities: "/VolumeDriver.Capabilities",
} as const;
export type CallName = keyof typeof paths;

const name = Type.String({ minLength: 1, maxLength: 256 });
/** Docker before 1.12 sent no ID; all its mounts of a volume are then one user that counts. */
const id = Type.Optional(Type.String({ maxLength: 256 }));

/** A volume in an answer. */
export interface VolumeAnswer {
  readonly Name: string;
  /** Empty where it is not mounted on this node. */
  readonly Mountpoint: string;
  readonly Status?: Readonly<Record<string, unknown>>;
}

/** What is answered to a call that has worked; Err is empty then. */
export interface PluginAnswer {
  readonly Err?: string;
  readonly Implements?: readonly string[];
  readonly Mountpoint?: string;
  readonly Volume?: VolumeAnswer;
  readonly Volumes?: readonly VolumeAnswer[];
  readonly Capabilities?: { readonly Scope: "global" };
}

/** The text of a problem as `docker` shows it: what went wrong, and what to do. */
export function errorText({ message, remedy }: Problem): string {
  return `${message} ${remedy}`;
}

/**
 * Reads bodies of one kind, whatever content type they come with. None, and null, are the same as an empty
 * object.
 */
function bodyReader<Schema extends TSchema>(
  schema: Schema,
): (path: string, text: string) => Result<Static<Schema>> {
  const check = compileCheck(schema);
  return (path, text) => {
    let value: unknown;
    try {
      value = text.trim() === "" ? {} : (JSON.parse(text) ?? {});
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      return notUnderstood(path, `it is no JSON: ${reason}`);
    }
    const faults = check(value).map(({ pointer, detail }) => `${pointer} ${detail}`);
    return faults.length === 0 ? success(value as Static<Schema>) : notUnderstood(path, faults.join("; "));
  };
}

type Reader<Value> = (path: string, text: string) => Result<Value>;

/** A request to create a volume. Podman leaves Opts out, and Docker may send null. */
export const readCreateRequest: Reader<{
  readonly Name: string;
  readonly Opts?: Readonly<Record<string, string>> | null;
}> = bodyReader(
  Type.Object({
    Name: name,
    Opts: Type.Optional(Type.Union([Type.Record(Type.String(), Type.String()), Type.Null()])),
  }),
);

/** A request about one volume. */
export const readNameRequest: Reader<{ readonly Name: string }> = bodyReader(Type.Object({ Name: name }));

/** A request to mount or unmount a volume for one user. */
export const readMountRequest: Reader<{ readonly Name: string; readonly ID?: string }> = bodyReader(
  Type.Object({ Name: name, ID: id }),
);

function notUnderstood(path: string, why: string): ReturnType<typeof failure> {
  return failure(
    "bad-request",
    `The body of ${path} is not understood: ${why}.`,
    "Send what Docker's volume plugin protocol prescribes.",
  );
}
