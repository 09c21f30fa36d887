import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { existsSync, readFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { ProblemError, failure } from "@flocker/core";
import type { ByteStream, CommandResult, Problem } from "@flocker/core";
import { systemClock } from "./clock.ts";
import { systemCommands as commands } from "./commands.ts";

const folder = mkdtempSync(join(tmpdir(), "flocker-commands-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const node = process.execPath;

async function ran(
  script: string,
  options: { stdin?: ByteStream; cwd?: string } = {},
): Promise<CommandResult> {
  const result = await commands.run(["sh", "-c", script], { timeoutMs: 20_000, ...options });
  assert.ok(result.ok, JSON.stringify(result));
  return result.value;
}

async function text(stream: ByteStream): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(Uint8Array.from(chunk));
  return Buffer.concat(chunks).toString("utf8");
}

async function problemOf(stream: ByteStream): Promise<Problem> {
  let problem: Problem | undefined;
  await assert.rejects(text(stream), (error) => {
    if (error instanceof ProblemError) problem = error.problem;
    return true;
  });
  assert.ok(problem, "it failed with a ProblemError");
  return problem;
}

async function* chunksOf(...texts: string[]): AsyncGenerator<Uint8Array> {
  for (const each of texts) yield Buffer.from(each);
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!condition()) {
    assert.ok(performance.now() < deadline, `in time: ${String(condition)}`);
    await systemClock.sleep(10);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // What has been killed may wait as a zombie for a parent that does not care.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

test("a command's output, errors and exit code are collected", async () => {
  assert.deepEqual(await ran("echo out; echo err >&2; exit 3"), {
    exitCode: 3,
    stdout: "out\n",
    stderr: "err\n",
  });
});

test("a command that a signal ended counts as a shell counts it", async () => {
  assert.equal((await ran("kill -9 $$")).exitCode, 137);
});

test("arguments reach the program as they are, since there is no shell", async () => {
  const result = await commands.run(["printf", "%s", "$HOME; 'a b' *"], { timeoutMs: 20_000 });
  assert.equal(result.ok && result.value.stdout, "$HOME; 'a b' *");
});

test("a command runs in its folder and in the C locale", async () => {
  assert.equal((await ran("pwd; echo $LC_ALL", { cwd: folder })).stdout, `${folder}\nC\n`);
});

test("more than 1 MiB of output is dropped, and the command still ends", async () => {
  const result = await ran("head -c 3000000 /dev/zero | tr '\\0' x; head -c 2000000 /dev/zero >&2");
  assert.equal(result.exitCode, 0);
  assert.equal(result.stdout, "x".repeat(2 ** 20));
  assert.equal(result.stderr.length, 2 ** 20);
});

test("a program that is not there, or a folder that is not, is a problem with a remedy", async () => {
  const missing = await commands.run(["flocker-no-such-program"], { timeoutMs: 1000 });
  assert.equal(!missing.ok && missing.problem.code, "command-failed");
  assert.match(missing.ok ? "" : missing.problem.remedy, /Install the program flocker-no-such-program/);
  const nowhere = await commands.run(["true"], { timeoutMs: 1000, cwd: join(folder, "none") });
  assert.match(nowhere.ok ? "" : nowhere.problem.message, /folder .*none: ENOENT/);
  assert.match((await problemOf(commands.stream(["flocker-no-such-program"], {}))).message, /ENOENT/);
  const zero = await commands.run(["true", "\0"], { timeoutMs: 1000 });
  assert.equal(!zero.ok && zero.problem.code, "command-failed");
});

test("when its time is over, a command's whole process group is killed", async () => {
  const pidFile = join(folder, "pids");
  const script = `echo $$ > ${pidFile}; sleep 600 & echo $! >> ${pidFile}; echo waiting >&2; wait`;
  const result = await commands.run(["sh", "-c", script], { timeoutMs: 1000 });
  assert.equal(!result.ok && result.problem.code, "command-failed");
  assert.match(result.ok ? "" : result.problem.message, /did not end within 1000 ms.*waiting/);
  const pids = readFileSync(pidFile, "utf8").trim().split("\n").map(Number);
  assert.equal(pids.length, 2);
  await until(() => !pids.some(isAlive));
});

test("a command that ignores SIGTERM is killed by force", async () => {
  const script = "trap '' TERM; echo $$; while :; do sleep 0.1; done";
  const start = performance.now();
  const result = await commands.run(["sh", "-c", script], { timeoutMs: 200 });
  assert.equal(!result.ok && result.problem.code, "command-failed");
  assert.ok(performance.now() - start < 30_000);
});

test("an abort stops the command and leaves no listener behind", async () => {
  const controller = new AbortController();
  const running = commands.run(["sleep", "600"], { timeoutMs: 600_000, abort: controller.signal });
  controller.abort();
  const result = await running;
  assert.match(result.ok ? "" : result.problem.message, /no longer wanted/);
  assert.equal(getEventListeners(controller.signal, "abort").length, 0);
  const late = await commands.run(["touch", join(folder, "late")], {
    timeoutMs: 1000,
    abort: controller.signal,
  });
  assert.equal(late.ok, false);
  assert.equal(existsSync(join(folder, "late")), false);
});

test("a command that ends well leaves no listener behind", async () => {
  const controller = new AbortController();
  await commands.run(["true"], { timeoutMs: 20_000, abort: controller.signal });
  assert.equal(await text(commands.stream(["echo", "a"], { abort: controller.signal })), "a\n");
  assert.equal(getEventListeners(controller.signal, "abort").length, 0);
});

test("a daemon that a command leaves behind does not hold it up", async () => {
  const start = performance.now();
  const result = await ran("sleep 600 & echo $!");
  assert.ok(performance.now() - start < 30_000);
  const pid = Number(result.stdout);
  assert.ok(isAlive(pid), "it is not killed either");
  process.kill(pid);
});

test("the input is handed over whole, then ended", async () => {
  assert.equal((await ran("cat", { stdin: chunksOf("one ", "two") })).stdout, "one two");
  assert.equal(await text(commands.stream(["cat"], { stdin: chunksOf("a", "b") })), "ab");
});

test("chunks of the input may come one after the other in the same memory", async () => {
  const pieces = Array.from({ length: 60 }, (_, index) => Buffer.alloc(100_003, index));
  async function* inSameMemory(): AsyncGenerator<Uint8Array> {
    const memory = Buffer.alloc(100_003);
    for (const piece of pieces) {
      piece.copy(memory);
      yield memory;
    }
  }
  const read: Uint8Array[] = [];
  for await (const chunk of commands.stream(["cat"], { stdin: inSameMemory() }))
    read.push(Uint8Array.from(chunk));
  assert.ok(Buffer.concat(pieces).equals(Buffer.concat(read)), "it comes back as it was given");
});

test("the input is read only as fast as the program takes it", async () => {
  let made = 0;
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (;;) {
      made += 1;
      yield Buffer.alloc(64 * 1024);
    }
  }
  const result = await ran("sleep 0.3", { stdin: endless() });
  assert.equal(result.exitCode, 0);
  assert.ok(made < 20, `made ${made} chunks of 64 KiB for a program that reads nothing`);
});

test("a program that does not want all of its input can end well, and the source is closed", async () => {
  let closed = false;
  async function* source(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) yield Buffer.alloc(64 * 1024);
    } finally {
      closed = true;
    }
  }
  assert.equal((await ran("head -c 5 | wc -c", { stdin: source() })).stdout.trim(), "5");
  await until(() => closed);
});

test("a program that ends while its source hangs does not wait for it", async () => {
  async function* hanging(): AsyncGenerator<Uint8Array> {
    yield Buffer.from("x");
    await new Promise<never>(() => undefined);
  }
  assert.equal((await ran("head -c 1", { stdin: hanging() })).stdout, "x");
});

test("a source that fails stops the program, which never takes the input for complete", async () => {
  const marker = join(folder, "complete");
  async function* failing(): AsyncGenerator<Uint8Array> {
    yield Buffer.from("some");
    throw new ProblemError(failure("transfer-corrupt", "The stream is damaged.", "Send it again.").problem);
  }
  const argv = ["sh", "-c", `cat > /dev/null && touch ${marker}`];
  const result = await commands.run(argv, { timeoutMs: 20_000, stdin: failing() });
  assert.equal(!result.ok && result.problem.code, "transfer-corrupt");
  assert.equal((await problemOf(commands.stream(argv, { stdin: failing() }))).code, "transfer-corrupt");
  assert.equal(existsSync(marker), false);
});

test("a stream hands out all bytes, in order", async () => {
  let count = 0;
  let sum = 0;
  const script = "for (let i = 0; i < 300; i++) process.stdout.write(Buffer.alloc(10007, i))";
  for await (const chunk of commands.stream([node, "-e", script], {})) {
    count += chunk.length;
    for (const byte of chunk) sum += byte;
  }
  assert.equal(count, 300 * 10007);
  assert.equal(sum, 10007 * Array.from({ length: 300 }, (_, i) => i % 256).reduce((a, b) => a + b));
});

test("a slow consumer slows the program down, also past its exit", async () => {
  const marker = join(folder, "written");
  const stream = commands.stream(["sh", "-c", `head -c 8000000 /dev/zero; touch ${marker}; printf end`], {});
  const iterator = stream[Symbol.asyncIterator]();
  let bytes = (await iterator.next()).value?.length ?? 0;
  await systemClock.sleep(300);
  assert.equal(existsSync(marker), false, "it waits for its reader");
  let last = "";
  for (;;) {
    const next = await iterator.next();
    if (next.done === true) break;
    bytes += next.value.length;
    last = Buffer.from(next.value.subarray(-3)).toString();
    // When the program has ended, what it wrote is still there for a reader that takes its time.
    if (existsSync(marker)) await systemClock.sleep(5);
  }
  assert.equal(bytes, 8_000_003);
  assert.equal(last, "end");
});

test("a stream whose program fails ends with its last words", async () => {
  const problem = await problemOf(
    commands.stream(["sh", "-c", "echo some; echo no such pool >&2; exit 2"], {}),
  );
  assert.equal(problem.code, "command-failed");
  assert.match(problem.message, /exit code 2.*no such pool/);
  const killed = await problemOf(commands.stream(["sh", "-c", "echo some; kill -9 $$"], {}));
  assert.match(killed.message, /exit code 137/);
});

test("leaving a stream early ends its program", async () => {
  const pidFile = join(folder, "early");
  for await (const chunk of commands.stream(["sh", "-c", `echo $$ > ${pidFile}; yes`], {})) {
    assert.ok(chunk.length > 0);
    break;
  }
  assert.equal(isAlive(Number(readFileSync(pidFile, "utf8"))), false);
});

test("an abort ends a stream with a problem, also while its program is silent", async () => {
  const controller = new AbortController();
  const reading = problemOf(commands.stream(["sleep", "600"], { abort: controller.signal }));
  await systemClock.sleep(50);
  controller.abort();
  assert.match((await reading).message, /no longer wanted/);
});
