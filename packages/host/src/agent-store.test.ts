import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, test } from "node:test";
import { DatabaseSync } from "node:sqlite";
import type { Problem } from "@flocker/core";
import { openAgentStore } from "./agent-store.ts";
import type { OpenAgentStore } from "./agent-store.ts";

const folder = mkdtempSync(join(tmpdir(), "flocker-agent-store-"));
const cleanups: (() => void)[] = [];
after(() => {
  for (const cleanup of cleanups) cleanup();
  rmSync(folder, { recursive: true, force: true });
});

let count = 0;
function freshPath(): string {
  count += 1;
  return join(folder, `store-${count}`, "agent.sqlite");
}

function opened(path: string): OpenAgentStore {
  const store = openAgentStore(path);
  assert.ok(store.ok, JSON.stringify(store));
  cleanups.push(() => store.value.close());
  return store.value;
}

function refused(path: string): Problem {
  const store = openAgentStore(path);
  assert.ok(!store.ok, "this store is refused");
  return store.problem;
}

/**
 * Runs code in another process, with `open(path)` at hand, and answers it once it has printed its first line.
 */
async function inChild(code: string): Promise<{ child: ChildProcess; lines: AsyncIterator<string> }> {
  const module = JSON.stringify(new URL("agent-store.ts", import.meta.url).href);
  const script = `import { openAgentStore } from ${module};
    const open = (path) => {
      const r = openAgentStore(path);
      if (!r.ok) throw new Error(r.problem.message);
      return r.value;
    };
    ${code}`;
  const child = spawn(process.execPath, ["--conditions=source", "--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  cleanups.push(() => child.kill("SIGKILL"));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return { child, lines };
}

test("what was written is there after closing and opening again, table by table", () => {
  const path = freshPath();
  const store = opened(path);
  store.write([
    { table: "slice", key: "a", value: { deep: [1, null, "ü"] } },
    { table: "slice", key: "b", value: 2 },
    { table: "other", key: "a", value: "elsewhere" },
  ]);
  store.write([
    { table: "slice", key: "b", value: undefined },
    { table: "slice", key: "missing", value: undefined },
    { table: "slice", key: "c", value: null },
  ]);
  const expected = new Map<string, unknown>([
    ["a", { deep: [1, null, "ü"] }],
    ["c", null],
  ]);
  assert.deepEqual(store.all("slice"), expected);
  store.close();
  store.close();
  const again = opened(path);
  assert.deepEqual(again.all("slice"), expected);
  assert.deepEqual(again.all("other"), new Map([["a", "elsewhere"]]));
  assert.deepEqual(again.all("none"), new Map());
  assert.equal(statSync(path).mode & 0o777, 0o600);
  again.close();
});

test("a write is all or nothing", () => {
  const store = opened(freshPath());
  const circular: { self?: unknown } = {};
  circular.self = circular;
  assert.throws(() =>
    store.write([
      { table: "t", key: "a", value: 1 },
      { table: "t", key: "b", value: circular },
    ]),
  );
  assert.throws(() => store.write([{ table: "t", key: "a", value: () => 1 }]), /JSON/);
  assert.deepEqual(store.all("t"), new Map());
  store.write([{ table: "t", key: "a", value: 2 }]);
  assert.deepEqual(store.all("t"), new Map([["a", 2]]));
});

test("what was written before a kill -9 is there, whole", async () => {
  const path = freshPath();
  const { child, lines } = await inChild(`
    const store = open(${JSON.stringify(path)});
    for (let i = 1; ; i++) {
      store.write([{ table: "t", key: "left", value: i }, { table: "t", key: "right", value: i }]);
      process.stdout.write(i + "\\n");
    }`);
  let last = 0;
  while (last < 50) last = Number((await lines.next()).value);
  child.kill("SIGKILL");
  await once(child, "exit");
  for (let line = await lines.next(); line.done !== true; line = await lines.next())
    last = Number(line.value);
  const values = opened(path).all("t");
  const left = Number(values.get("left"));
  assert.equal(values.get("right"), left);
  assert.ok(left >= last, `said ${last}, has ${left}`);
});

test("a store is for one process at a time, and free again when that one is killed", async () => {
  const path = freshPath();
  const { child, lines } = await inChild(`
    const store = open(${JSON.stringify(path)});
    console.log("open");
    setInterval(() => store, 1000);`);
  await lines.next();
  assert.equal(refused(path).code, "store-locked");
  child.kill("SIGKILL");
  await once(child, "exit");
  opened(path).write([{ table: "t", key: "a", value: 1 }]);
  // Within one process, too; and the refusal must not have cost the first its lock.
  assert.equal(refused(path).code, "store-locked");
  const second = await inChild(`
    try { open(${JSON.stringify(path)}); console.log("opened"); } catch (error) { console.log(error.message); }`);
  assert.match((await second.lines.next()).value, /in use by another process/);
});

test("a file from a newer version is left as it is", () => {
  const path = freshPath();
  opened(path).close();
  const database = new DatabaseSync(path);
  database.exec("PRAGMA user_version = 99");
  database.close();
  const before = readFileSync(path);
  const problem = refused(path);
  assert.equal(problem.code, "store-newer");
  assert.match(problem.message, /99/);
  assert.deepEqual(readFileSync(path), before);
  assert.deepEqual(readdirSync(join(path, "..")), ["agent.sqlite"]);
});

test("damaged files and other files are unreadable, and left as they are", () => {
  const text = freshPath();
  opened(text).close();
  writeFileSync(text, "This is no database, but a long text. ".repeat(100));
  const cut = freshPath();
  const store = opened(cut);
  store.write(Array.from({ length: 200 }, (_, i) => ({ table: "t", key: `${i}`, value: "x".repeat(200) })));
  store.close();
  const torn = freshPath();
  opened(torn).close();
  const bytes = readFileSync(cut);
  bytes.fill(0xff, 8192, 12_288);
  writeFileSync(torn, bytes);
  truncateSync(cut, 8192);
  const other = freshPath();
  opened(other).close();
  rmSync(other);
  const database = new DatabaseSync(other);
  database.exec("CREATE TABLE bookmarks (url TEXT)");
  database.close();
  for (const path of [text, cut, torn, other]) {
    const before = readFileSync(path);
    const problem = refused(path);
    assert.equal(problem.code, "store-unreadable", problem.message);
    assert.ok(problem.message.includes(path));
    assert.deepEqual(readFileSync(path), before);
  }
});

test("a value that is no JSON makes the store unreadable when it is opened, not later", () => {
  const path = freshPath();
  opened(path).close();
  const database = new DatabaseSync(path);
  database.exec("INSERT INTO entries VALUES ('t', 'bad-key', '{')");
  database.close();
  assert.match(refused(path).message, /bad-key/);
});

test("a place where no file can be is a problem that names it", () => {
  const path = join(freshPath(), "below");
  writeFileSync(join(folder, "plain"), "");
  assert.equal(refused(join(folder, "plain", "agent.sqlite")).code, "file-unreadable");
  assert.equal(refused(folder).code, "file-unreadable");
  if (process.getuid?.() === 0) return;
  chmodSync(folder, 0o500);
  assert.equal(refused(path).code, "file-unreadable");
  chmodSync(folder, 0o700);
});

test("a full disk refuses the write, and everything before it is still there", (context) => {
  const disk = join(folder, "disk");
  mkdirSync(disk);
  const module = JSON.stringify(new URL("agent-store.ts", import.meta.url).href);
  const code = `import { openAgentStore } from ${module};
    import { rmSync, writeFileSync } from "node:fs";
    writeFileSync("filler", Buffer.alloc(200_000));
    const open = () => {
      const r = openAgentStore("agent.sqlite");
      if (!r.ok) throw new Error(r.problem.message);
      return r.value;
    };
    let store = open();
    let written = 0;
    let code;
    while (code === undefined) {
      const changes = [0, 1].map((i) => ({ table: "t", key: written + "." + i, value: "x".repeat(3000) }));
      try { store.write(changes); written += 2; } catch (error) { code = error.problem.code; }
    }
    const kept = store.all("t").size;
    store.close();
    store = open();
    const again = store.all("t").size;
    rmSync("filler");
    store.write([{ table: "u", key: "a", value: 1 }]);
    const complete = kept === written && again === written && written > 0;
    console.log(JSON.stringify({ code, complete, later: store.all("u").size }));`;
  const mount = 'mount -t tmpfs -o size=1m none "$1" && cd "$1" && shift && exec "$@"';
  const node = [process.execPath, "--conditions=source", "--input-type=module", "-e", code];
  const made = spawnSync("unshare", ["-rm", "sh", "-c", mount, "sh", disk, ...node], { encoding: "utf8" });
  if (/^(unshare|mount):/m.test(made.stderr) || made.error !== undefined) {
    context.skip(`this machine lets us mount no small disk: ${made.stderr || String(made.error)}`);
    return;
  }
  assert.deepEqual(JSON.parse(made.stdout), { code: "no-space", complete: true, later: 1 }, made.stderr);
});
