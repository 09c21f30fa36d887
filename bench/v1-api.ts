import { readFile, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, type TLSSocket } from "node:tls";
import { parseArgs } from "node:util";
import { openLocalCluster, type LocalCluster } from "@flocker/cli/local";
import { openSqliteStore } from "@flocker/control";
import { systemClock, systemIds } from "@flocker/host";
import { sampleBirth, sampleNodeId } from "../packages/control/src/store/sample-values.ts";

// What /v1 costs its clients, over mutual TLS, with the control service in a process of its own and every
// creation synced to the disk: beside the original's figures, which were taken on two such cores and without
// any sync. Creating is measured at two sizes of the configuration in turns, so that what else the machine
// does falls on both alike.

const { values: options } = parseArgs({
  options: {
    datasets: { type: "string", default: "100000" },
    seconds: { type: "string", default: "3" },
    rounds: { type: "string", default: "3" },
    folder: { type: "string", default: tmpdir() },
    json: { type: "boolean", default: false },
  },
});
const sizes = { small: 100, middle: 10_000, large: Number(options.datasets) };
const clientCount = 16;
const datasetsPerCommit = 2_000;

/** What has to be kept, and what the original needs for the same. */
const goals = { createMs: 5, createsPerSecond: 500, listMs: 20, versionsPerSecond: 5_000 };
const original = {
  createMs: { small: 12, middle: 166 },
  createsPerSecond: { small: 76, middle: 5.7 },
  listMs: 149,
  versionsPerSecond: 480,
};

/** One keep-alive connection that has one request under way at a time. */
interface Client {
  send(request: string): Promise<{ readonly status: number; readonly bytes: number }>;
  close(): void;
}

interface Server {
  readonly cluster: LocalCluster;
  open(): Promise<Client>;
  stop(): Promise<void>;
}

async function startServer(folder: string, count: number): Promise<Server> {
  const opened = await openLocalCluster({ folder, nodeCount: 0, clock: systemClock, logLevel: "info" });
  if (!opened.ok) throw new Error(opened.problem.message);
  const cluster = opened.value;
  await fill(join(cluster.files.controlFolder, "data"), count);
  cluster.start();
  const files = ["cluster.crt", "user.crt", "user.key"].map((name) => readFile(join(folder, name)));
  const [ca, cert, key] = await Promise.all(files);
  const open = (): Promise<Client> =>
    new Promise((resolve, reject) => {
      const port = cluster.files.apiPort;
      const socket = connect({ host: "127.0.0.1", port, ca, cert, key, servername: "control-service" });
      socket.setNoDelay(true);
      socket.once("error", reject);
      socket.once("secureConnect", () => resolve(clientOver(socket)));
    });
  await untilReady(open);
  return { cluster, open, stop: () => cluster.stop() };
}

async function untilReady(open: () => Promise<Client>): Promise<void> {
  const deadline = performance.now() + 60_000;
  for (;;) {
    const client = await open().catch(() => undefined);
    if (client !== undefined) {
      client.close();
      return;
    }
    if (performance.now() > deadline) throw new Error("the control service did not start within 60 s");
    await systemClock.sleep(50);
  }
}

async function fill(folder: string, count: number): Promise<void> {
  await mkdir(folder, { recursive: true });
  const opened = openSqliteStore(join(folder, "configuration.sqlite"), {
    clock: systemClock,
    ids: systemIds,
  });
  if (!opened.ok) throw new Error(opened.problem.message);
  for (let first = 1; first <= count; first += datasetsPerCommit) {
    const size = Math.min(datasetsPerCommit, count - first + 1);
    const changes = Array.from({ length: size }, (_none, index) => sampleBirth(first + index));
    const done = opened.value.commit({ expectedRevision: null, changes, author: "bench", at: 1 });
    if (!done.ok) throw new Error(done.problem.message);
  }
  opened.value.close();
}

/** Reads answers with as little work as possible: the client shares the machine with the server. */
function clientOver(socket: TLSSocket): Client {
  let waiting: ((answer: { status: number; bytes: number }) => void) | undefined;
  let head = "";
  let left = -1;
  let status = 0;
  let bytes = 0;
  socket.on("data", (data: Buffer) => {
    let begin = 0;
    if (left < 0) {
      head += data.toString("latin1");
      const end = head.indexOf("\r\n\r\n");
      if (end < 0) return;
      status = Number(head.slice(9, 12));
      bytes = Number(/content-length: (\d+)/i.exec(head.slice(0, end))?.[1] ?? 0);
      begin = data.length - (head.length - end - 4);
      left = bytes;
      head = "";
    }
    left -= data.length - begin;
    if (left > 0) return;
    left = -1;
    waiting?.({ status, bytes });
  });
  return {
    send: (request) =>
      new Promise((resolve, reject) => {
        waiting = resolve;
        socket.once("error", reject);
        socket.write(request, () => socket.off("error", reject));
      }),
    close: () => socket.destroy(),
  };
}

function get(path: string): string {
  return `GET ${path} HTTP/1.1\r\nhost: control-service\r\n\r\n`;
}

function creation(): string {
  const body = JSON.stringify({
    primary: sampleNodeId(1),
    maximum_size: 2 ** 30,
    metadata: { name: systemIds.uuid(), type: "bench" },
  });
  const head = "POST /v1/configuration/datasets HTTP/1.1\r\nhost: control-service\r\n";
  return `${head}content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
}

/** The durations of requests one after the other. */
async function oneByOne(
  client: Client,
  request: () => string,
  milliseconds: number,
): Promise<readonly number[]> {
  const durations: number[] = [];
  const end = performance.now() + milliseconds;
  while (performance.now() < end) {
    const begin = performance.now();
    await expectSuccess(client, request());
    durations.push(performance.now() - begin);
  }
  return durations;
}

/** How many requests a second many clients get answered together, each one after the other. */
async function together(
  server: Server,
  request: () => string,
  milliseconds: number,
): Promise<{ readonly perSecond: number; readonly durations: readonly number[] }> {
  const clients = await Promise.all(Array.from({ length: clientCount }, () => server.open()));
  await Promise.all(clients.map((client) => expectSuccess(client, request())));
  const begin = performance.now();
  const all = await Promise.all(clients.map((client) => oneByOne(client, request, milliseconds)));
  const seconds = (performance.now() - begin) / 1000;
  for (const client of clients) client.close();
  const durations = all.flat();
  return { perSecond: durations.length / seconds, durations };
}

async function expectSuccess(client: Client, request: string): Promise<number> {
  const { status, bytes } = await client.send(request);
  if (status !== 200 && status !== 201) throw new Error(`a request was answered with status ${status}`);
  return bytes;
}

function percentile(durations: readonly number[], share: number): number {
  const sorted = durations.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

const median = (values: readonly number[]): number => percentile(values, 0.5);

interface Creating {
  readonly single: number[];
  readonly many: number[];
  readonly perSecond: number[];
}

async function measureCreating(server: Server, into: Creating, milliseconds: number): Promise<void> {
  const client = await server.open();
  await oneByOne(client, creation, 200);
  into.single.push(...(await oneByOne(client, creation, milliseconds)));
  client.close();
  const burst = await together(server, creation, milliseconds);
  into.many.push(...burst.durations);
  into.perSecond.push(burst.perSecond);
}

/** A list after a change, so that no answer is kept from before; and the same again at once. */
async function measureList(server: Server): Promise<{ readonly changed: number; readonly again: number }> {
  const client = await server.open();
  const changed: number[] = [];
  const again: number[] = [];
  for (let round = 0; round < 30; round += 1) {
    await expectSuccess(client, creation());
    for (const durations of [changed, again]) {
      const begin = performance.now();
      await expectSuccess(client, get("/v1/configuration/datasets"));
      durations.push(performance.now() - begin);
    }
  }
  client.close();
  return { changed: median(changed.slice(5)), again: median(again.slice(5)) };
}

function creatingFigures({ single, many, perSecond }: Creating) {
  return {
    p50Ms: median(single),
    p99Ms: percentile(single, 0.99),
    perSecond: median(perSecond),
    p50MsOf16: median(many),
  };
}

async function measure(folder: string) {
  const milliseconds = Number(options.seconds) * 1000;
  const servers = {
    small: await startServer(join(folder, "small"), sizes.small),
    large: await startServer(join(folder, "large"), sizes.large),
  };
  const creating = {
    small: { single: [], many: [], perSecond: [] } as Creating,
    large: { single: [], many: [], perSecond: [] } as Creating,
  };
  for (let round = 0; round < Number(options.rounds); round += 1) {
    const order = round % 2 === 0 ? (["small", "large"] as const) : (["large", "small"] as const);
    for (const size of order) await measureCreating(servers[size], creating[size], milliseconds);
  }
  const versions: number[] = [];
  for (let round = 0; round < Number(options.rounds); round += 1)
    versions.push((await together(servers.small, () => get("/v1/version"), milliseconds)).perSecond);
  await servers.large.stop();
  await servers.small.stop();
  const middle = await startServer(join(folder, "middle"), sizes.middle);
  const list = await measureList(middle);
  await middle.stop();
  return {
    small: creatingFigures(creating.small),
    large: creatingFigures(creating.large),
    listMs: list,
    versionsPerSecond: median(versions),
  };
}

type Figures = Awaited<ReturnType<typeof measure>>;

function report({ small, large, listMs, versionsPerSecond }: Figures): readonly string[] {
  const ratio = (value: number): string => (value >= 10 ? value.toFixed(0) : value.toFixed(1));
  const line = (size: number, figures: Figures["small"], at: keyof typeof original.createMs): string =>
    `${String(size).padStart(7)} datasets: create p50 ${figures.p50Ms.toFixed(2)} ms, p99 ${figures.p99Ms.toFixed(2)} ms; ` +
    `${figures.perSecond.toFixed(0)}/s from ${clientCount} clients, each ${figures.p50MsOf16.toFixed(1)} ms ` +
    `(the original at ${sizes[at]}: ${original.createMs[at]} ms, ${original.createsPerSecond[at]}/s, without a sync: ` +
    `${ratio(original.createMs[at] / figures.p50Ms)} and ${ratio(figures.perSecond / original.createsPerSecond[at])} times)`;
  return [
    line(sizes.small, small, "small"),
    line(sizes.large, large, "middle"),
    `large to small: p50 ${(large.p50Ms / small.p50Ms).toFixed(2)}, ` +
      `creations/s ${(large.perSecond / small.perSecond).toFixed(2)}`,
    `list of ${sizes.middle}: ${listMs.changed.toFixed(1)} ms after a change, ${listMs.again.toFixed(1)} ms again ` +
      `(the original: ${original.listMs} ms, ${ratio(original.listMs / listMs.changed)} times)`,
    `version: ${versionsPerSecond.toFixed(0)}/s from ${clientCount} keep-alive clients ` +
      `(the original: ${original.versionsPerSecond}/s, ${ratio(versionsPerSecond / original.versionsPerSecond)} times)`,
  ];
}

function missed({ small, large, listMs, versionsPerSecond }: Figures): readonly string[] {
  const checks: readonly (readonly [boolean, string])[] = [
    [Math.max(small.p50Ms, large.p50Ms) <= goals.createMs, `create p50 of at most ${goals.createMs} ms`],
    [
      Math.min(small.perSecond, large.perSecond) >= goals.createsPerSecond,
      `${goals.createsPerSecond} creations/s from ${clientCount} clients`,
    ],
    [listMs.changed <= goals.listMs, `a list of ${sizes.middle} in at most ${goals.listMs} ms`],
    [versionsPerSecond >= goals.versionsPerSecond, `${goals.versionsPerSecond} versions/s`],
  ];
  return checks.filter(([isKept]) => !isKept).map(([, goal]) => `MISSED: ${goal}`);
}

const folder = await mkdtemp(join(options.folder, "flocker-bench-"));
try {
  const figures = await measure(folder);
  if (options.json) console.log(JSON.stringify({ ...figures, original, goals }));
  else for (const text of [...report(figures), ...missed(figures)]) console.log(text);
  if (missed(figures).length > 0) process.exitCode = 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}
