import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after, test } from "node:test";
import { failure } from "@flocker/core";
import { exitCodeOf, exitCodes } from "./service.ts";

const cleanups: (() => void)[] = [];
after(() => {
  for (const cleanup of cleanups) cleanup();
});

interface Line {
  readonly event: string;
  readonly [field: string]: unknown;
}

/**
 * A process that runs a service whose `start` has this body. Signals are sent at the lines that name an
 * event.
 */
async function served(
  body: string,
  signals: readonly (readonly [event: string, signal: NodeJS.Signals])[],
): Promise<{ code: number | null; lines: Line[] }> {
  const module = (name: string): string => JSON.stringify(new URL(name, import.meta.url).href);
  const script = `import { runUntilSignal } from ${module("service.ts")};
    import { createLog } from ${module("log.ts")};
    import { ProblemError, failure } from "@flocker/core";
    const log = createLog({ level: "debug" });
    const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    process.exit(await runUntilSignal(async (abort) => { ${body} }, { log, stopTimeoutMs: 500 }));`;
  const child = spawn(process.execPath, ["--conditions=source", "--input-type=module", "-e", script], {
    stdio: ["ignore", "ignore", "pipe"],
    cwd: new URL(".", import.meta.url),
  });
  cleanups.push(() => child.kill("SIGKILL"));
  const exit = once(child, "exit");
  const lines: Line[] = [];
  const waiting = [...signals];
  for await (const text of createInterface({ input: child.stderr })) {
    const line = JSON.parse(text) as Line;
    lines.push(line);
    const next = waiting[0];
    if (next !== undefined && next[0] === line.event) {
      waiting.shift();
      child.kill(next[1]);
    }
  }
  const [code] = (await exit) as [number | null];
  return { code, lines };
}

function events(lines: readonly Line[]): string[] {
  return lines.map((line) => line.event);
}

const disposable = `return { [Symbol.asyncDispose]: async () => { log.write("info", "disposed"); } };`;

test("a signal stops the service gracefully, with exit code 0", async () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    const { code, lines } = await served(disposable, [["started", signal]]);
    assert.equal(code, 0);
    assert.deepEqual(events(lines), ["started", "stopping", "disposed", "stopped"]);
    assert.equal(lines[1]?.["signal"], signal);
  }
});

test("a second signal ends the process at once", async () => {
  const hanging = `return { [Symbol.asyncDispose]: () => { log.write("info", "disposing"); return sleep(60_000); } };`;
  const twice = [
    ["started", "SIGTERM"],
    ["disposing", "SIGINT"],
  ] as const;
  const { code, lines } = await served(hanging, twice);
  assert.equal(code, exitCodes.interrupted);
  assert.equal(lines.at(-1)?.event, "stopped-at-once");
});

test("a stop that takes too long is ended", async () => {
  const hanging = `return { [Symbol.asyncDispose]: () => sleep(60_000) };`;
  const { code, lines } = await served(hanging, [["started", "SIGTERM"]]);
  assert.equal(code, exitCodes.temporary);
  assert.equal(lines.at(-1)?.event, "stop-timed-out");
});

test("a signal aborts a start that is still under way", async () => {
  const waiting = `log.write("info", "starting");
    await new Promise((resolve) => abort.addEventListener("abort", resolve, { once: true }));
    throw new ProblemError(failure("control-unreachable", "Gave up.", "Nothing.").problem);`;
  const { code, lines } = await served(waiting, [["starting", "SIGTERM"]]);
  assert.equal(code, 0);
  assert.deepEqual(events(lines), ["starting", "stopping", "stopped"]);
});

test("a start that fails with a problem shows it and ends with the problem's exit code", async () => {
  const failing = `throw new ProblemError(failure("port-in-use", "Port 1 is taken.", "Take another.").problem);`;
  const { code, lines } = await served(failing, []);
  assert.equal(code, exitCodes.unavailable);
  assert.equal(lines[0]?.event, "start-failed");
  assert.deepEqual(lines[0]?.["problem"], {
    code: "port-in-use",
    message: "Port 1 is taken.",
    remedy: "Take another.",
  });
});

test("an error that nobody caught is logged and ends the process with code 70", async () => {
  const bodies = [
    `setTimeout(() => { throw new Error("boom"); }, 10); ${disposable}`,
    `setTimeout(() => void Promise.reject(new Error("boom")), 10); ${disposable}`,
    `throw new Error("boom");`,
    `process.nextTick(() => process.kill(process.pid));
     return { [Symbol.asyncDispose]: () => Promise.reject(new Error("boom")) };`,
  ];
  for (const body of bodies) {
    const { code, lines } = await served(body, []);
    assert.equal(code, exitCodes.internal);
    const last = lines.at(-1);
    assert.equal(last?.event, "crashed");
    assert.match(JSON.stringify(last["error"]), /"message":"boom"/);
  }
});

test("problems of the configuration are told from those that pass by themselves", () => {
  const code = (problem: Parameters<typeof failure>[0]): number =>
    exitCodeOf(failure(problem, "It failed.", "Try again.").problem);
  assert.equal(code("configuration-invalid"), 78);
  assert.equal(code("certificate-expired"), 78);
  assert.equal(code("store-locked"), 75);
  assert.equal(code("unknown-dataset"), 1);
});
