import { mkdir, rm, stat } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import { dirname } from "node:path";
import {
  failure,
  ProblemError,
  success,
  type Clock,
  type Log,
  type Milliseconds,
  type Result,
} from "@flocker/core";
import { errorText, paths, pluginMediaType, type CallName, type PluginAnswer } from "./messages.ts";
import { stopping, type Call } from "./volume-mounts.ts";

/** What a call is answered, and what is done when the answer could not be sent. */
export interface Handled {
  readonly answer: PluginAnswer;
  readonly onLost?: () => Promise<void>;
}

export type PluginHandler = (
  name: CallName,
  path: string,
  body: string,
  call: Call,
) => Promise<Result<Handled>>;

export interface PluginServerOptions {
  readonly sockets: readonly string[];
  readonly handler: PluginHandler;
  readonly clock: Clock;
  readonly log: Log;
  /** Within this time every call is answered. */
  readonly callTimeoutMs: Milliseconds;
}

const bodyBytesMaximum = 2 ** 20;
/** How long calls that need no waiting may take to end when the plugin stops. */
const drainMs = 3_000;

/**
 * Serves the plugin protocol on unix sockets that only their owner may use. Rejects with a ProblemError where
 * one cannot be made. Disposing of it lets short calls end; who waits for a mount loses the connection, upon
 * which Docker asks again.
 */
export async function servePlugin(options: PluginServerOptions): Promise<AsyncDisposable> {
  const stop = new AbortController();
  const running = new Set<Promise<void>>();
  const servers: Server[] = [];
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const done = serveCall(request, response, { ...options, stop: stop.signal });
    running.add(done);
    void done.finally(() => running.delete(done));
  };
  const close = async (): Promise<void> => {
    const closed = servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())));
    stop.abort(stopping);
    const late = new AbortController();
    await Promise.race([Promise.all(running), options.clock.sleep(drainMs, late.signal)]);
    late.abort();
    for (const server of servers) server.closeAllConnections();
    await Promise.all(closed);
  };
  try {
    for (const path of options.sockets) servers.push(await listenOn(path, answer));
  } catch (error) {
    await close();
    throw error;
  }
  options.log.write("info", "plugin-listening", { sockets: options.sockets });
  return { [Symbol.asyncDispose]: close };
}

async function listenOn(
  path: string,
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<Server> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await removeDead(path);
    // Docker sends an empty Host, and no request here needs one.
    const server = createServer({ requireHostHeader: false, requestTimeout: 60_000 }, answer);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      // The socket is never open to others, not even for a moment: it is made by this very call.
      const before = process.umask(0o177);
      server.listen(path, resolve);
      process.umask(before);
    });
    return server;
  } catch (error) {
    if (error instanceof ProblemError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    const message = `Making the plugin's socket ${path} failed: ${reason}.`;
    const remedy =
      "Run the plugin as root, or name sockets in a folder that this user may write (sockets in plugin.yml).";
    throw new ProblemError(failure("file-unreadable", message, remedy).problem, { cause: error });
  }
}

/** A socket that nobody serves was left by a plugin that was killed. */
async function removeDead(path: string): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket()) throw new Error("something else is there already");
  const isServed = await new Promise<boolean>((resolve) => {
    const socket: Socket = connect(path);
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("close", () => socket.destroy());
    socket.once("connect", () => socket.destroy());
  });
  if (!isServed) return rm(path, { force: true });
  throw new ProblemError(
    failure(
      "port-in-use",
      `The plugin's socket ${path} is served by another process.`,
      "Stop the other plugin, or give this one other sockets (sockets in plugin.yml).",
    ).problem,
  );
}

interface Serving extends PluginServerOptions {
  readonly stop: AbortSignal;
}

async function serveCall(
  request: IncomingMessage,
  response: ServerResponse,
  serving: Serving,
): Promise<void> {
  const { clock, log, stop } = serving;
  const gone = new AbortController();
  response.once("close", () => {
    if (!response.writableFinished) gone.abort();
  });
  response.on("error", () => undefined);
  const path = request.url ?? "/";
  const call: Call = {
    client: request.headers.host === "" ? "docker" : "other",
    deadline: clock.monotonic() + serving.callTimeoutMs,
    abort: AbortSignal.any([gone.signal, stop]),
  };
  let handled: Result<Handled>;
  try {
    handled = await handle(request, path, call, serving);
  } catch (error) {
    if (!(error instanceof ProblemError)) log.write("error", "call-failed", { path, error });
    handled = { ok: false, problem: error instanceof ProblemError ? error.problem : ourMistake(path) };
  }
  if (!handled.ok) {
    // Docker takes a broken connection for a plugin that is being restarted, and asks again.
    if (call.abort.reason === stopping) return void request.destroy();
    log.write(quiet.has(path) ? "debug" : "info", "call-refused", { path, problem: handled.problem });
    return send(response, statusOf(handled.problem.code), { Err: errorText(handled.problem) });
  }
  const { answer, onLost } = handled.value;
  await send(response, 200, answer);
  if (response.writableFinished) return;
  log.write("warn", "answer-lost", { path });
  await onLost?.();
}

/** Docker asks every plugin for every volume that it meets. */
const quiet: ReadonlySet<string> = new Set([paths.get, paths.path]);

/**
 * Docker reads `Err` with any status but 200, Podman looks at the status alone; 404 says that a call is not
 * offered.
 */
function statusOf(code: string): number {
  return code === "method-not-allowed" ? 404 : 500;
}

const callNames = new Map(Object.entries(paths).map(([name, path]) => [path as string, name as CallName]));

async function handle(
  request: IncomingMessage,
  path: string,
  call: Call,
  { handler }: Serving,
): Promise<Result<Handled>> {
  const name = callNames.get(path);
  if (name === undefined) {
    return failure(
      "method-not-allowed",
      `This plugin does not offer ${path.slice(0, 200)}.`,
      "It is a volume plugin: see Docker's volume plugin protocol.",
    );
  }
  const body = await readText(request, path);
  return body.ok ? handler(name, path, body.value, call) : body;
}

async function readText(request: IncomingMessage, path: string): Promise<Result<string>> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > bodyBytesMaximum) {
      return failure(
        "bad-request",
        `The body of ${path} has more than ${bodyBytesMaximum} bytes.`,
        "Send what Docker's volume plugin protocol prescribes.",
      );
    }
    chunks.push(chunk);
  }
  return success(Buffer.concat(chunks).toString("utf8"));
}

/** Ends when the answer was sent, or cannot be. */
async function send(response: ServerResponse, status: number, answer: PluginAnswer): Promise<void> {
  if (response.destroyed) return;
  const text = `${JSON.stringify({ Err: "", ...answer })}\n`;
  response.writeHead(status, { "content-type": pluginMediaType, "content-length": Buffer.byteLength(text) });
  await new Promise<void>((resolve) => {
    response.once("finish", resolve).once("close", resolve);
    response.end(text);
  });
}

function ourMistake(path: string): { code: "internal"; message: string; remedy: string } {
  return {
    code: "internal",
    message: `The Flocker plugin made a mistake in ${path}.`,
    remedy: "Look into its log, and report what it says.",
  };
}
