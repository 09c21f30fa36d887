import { failure, success, type Result } from "@flocker/core";
import { readCreateRequest, readMountRequest, readNameRequest, type CallName } from "./messages.ts";
import type { Handled, PluginHandler } from "./plugin-server.ts";
import type { VolumeDriver } from "./volume-driver.ts";
import type { Call } from "./volume-mounts.ts";

type CallHandler = (path: string, body: string, call: Call) => Promise<Result<Handled>>;

/** Maps between the protocol's messages and the driver, and decides nothing itself. */
export function pluginHandler(driver: VolumeDriver): PluginHandler {
  const handlers = callHandlers(driver);
  return async (name, path, body, call) => {
    if (unnamed.has(name) || call.client !== "docker" || body.trim() !== "")
      return handlers[name](path, body, call);
    if (name === "mount") await driver.mountedUnnamed();
    return askAgain(path);
  };
}

/** Calls that need no name of a volume. */
const unnamed: ReadonlySet<CallName> = new Set(["activate", "capabilities", "list"]);

/** Docker repeats a call whose connection broke, and (at least until version 28) leaves its body out then. */
function askAgain(path: string): ReturnType<typeof failure> {
  return failure(
    "bad-request",
    `The plugin was restarted during ${path}, and Docker has repeated the call without saying which volume it is about.`,
    "Run the command again.",
  );
}

function callHandlers(driver: VolumeDriver): Readonly<Record<CallName, CallHandler>> {
  return {
    async activate(_path, _body, call) {
      if (call.client === "docker") driver.dockerStarted();
      return answer({ Implements: ["VolumeDriver"] });
    },
    capabilities: () => answer({ Capabilities: { Scope: "global" } }),
    list: () => answer({ Volumes: driver.list() }),
    async create(path, body, call) {
      const request = readCreateRequest(path, body);
      if (!request.ok) return request;
      const created = await driver.create(request.value.Name, request.value.Opts ?? {}, call);
      return created.ok ? answer({}) : created;
    },
    async remove(path, body, call) {
      const request = readNameRequest(path, body);
      if (!request.ok) return request;
      const removed = await driver.remove(request.value.Name, call);
      return removed.ok ? answer({}) : removed;
    },
    async mount(path, body, call) {
      const request = readMountRequest(path, body);
      if (!request.ok) return request;
      const { Name: name, ID: id = "" } = request.value;
      const mounted = await driver.mount(name, id, call);
      if (!mounted.ok) return mounted;
      return success({
        answer: { Mountpoint: mounted.value },
        onLost: () => driver.unmount(name, id),
      });
    },
    async unmount(path, body) {
      const request = readMountRequest(path, body);
      if (!request.ok) return request;
      await driver.unmount(request.value.Name, request.value.ID ?? "");
      return answer({});
    },
    async path(path, body) {
      const request = readNameRequest(path, body);
      if (!request.ok) return request;
      const found = driver.path(request.value.Name);
      return found.ok ? answer({ Mountpoint: found.value }) : found;
    },
    async get(path, body) {
      const request = readNameRequest(path, body);
      if (!request.ok) return request;
      const found = driver.get(request.value.Name);
      return found.ok ? answer({ Volume: found.value }) : found;
    },
  };
}

function answer(answered: Handled["answer"]): Promise<Result<Handled>> {
  return Promise.resolve(success({ answer: answered }));
}
