import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { createInterface } from "node:readline";
import { styleText } from "node:util";
import {
  openLocalClient,
  openLocalCluster,
  pollUntil,
  waitUntilReady,
  type LocalClient,
  type LocalCluster,
  type RunnableNode,
} from "@flocker/cli/local";
import type { v2 } from "@flocker/api";
import { need, ProblemError } from "@flocker/core";
import { systemClock } from "@flocker/host";

// The scripted tour (npm run demo): a database under write follows its configuration through three nodes, one
// of which is killed on the way. It checks what it claims, and ends with an error where it does not hold.

const clock = systemClock;
const moveTimeoutMs = 60_000;

function say(text: string): void {
  console.log(text);
}

function headline(text: string): void {
  const colour = process.stdout.hasColors?.() === true;
  console.log(`\n${colour ? styleText("bold", text) : text}`);
}

/** The shop's process, and the orders that it has seen kept. */
function openShop(dataset: string, mountRoots: readonly string[]): { kept(): number; stop(): Promise<void> } {
  const script = join(import.meta.dirname, "shop.ts");
  const child = spawn(process.execPath, ["--no-warnings", script, dataset, ...mountRoots], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let kept = 0;
  const lines = createInterface({ input: child.stdout });
  lines.on("line", (line) => (kept = Number(line)));
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  return {
    kept: () => kept,
    stop: () => {
      child.kill("SIGTERM");
      return ended;
    },
  };
}

class Tour {
  readonly #cluster: LocalCluster;
  readonly #client: LocalClient;
  constructor(cluster: LocalCluster, client: LocalClient) {
    this.#cluster = cluster;
    this.#client = client;
  }

  node(index: number): RunnableNode {
    const node = this.#cluster.nodes[index];
    if (node === undefined) throw new Error(`the tour needs a node ${index + 1}`);
    return node;
  }

  async create(name: string, node: RunnableNode): Promise<string> {
    const answer = await this.#client.api.createDataset({ headers: {}, body: { name, primary: node.node } });
    if (answer.status !== 201) throw new ProblemError(answer.body as never);
    await this.served(answer.body.dataset_id, node);
    return answer.body.dataset_id;
  }

  async move(dataset: string, node: RunnableNode): Promise<void> {
    const body = { primary: node.node };
    const answer = await this.#client.api.updateDataset({
      params: { dataset_id: dataset },
      headers: {},
      body,
    });
    if (answer.status !== 200) throw new ProblemError(answer.body as never);
  }

  /** Waits until the node serves the dataset, saying on the way what is going on and why. */
  async served(dataset: string, node: RunnableNode): Promise<void> {
    let shown = "";
    const since = clock.monotonic();
    need(
      await pollUntil(clock, {
        waitingFor: `${node.name} to serve the dataset`,
        timeoutMs: moveTimeoutMs,
        ask: async () => {
          const answer = await this.#client.api.getDataset({ params: { dataset_id: dataset } });
          if (answer.status !== 200) return undefined;
          const text = describe(answer.body);
          if (text !== shown && text !== "") say(`    ${text}`);
          shown = text;
          const copy = answer.body.actual.find((held) => held.node_id === node.node);
          return answer.body.converged && copy !== undefined && copy.path !== null ? true : undefined;
        },
      }),
    );
    say(`  ${node.name} serves it, after ${Math.round(clock.monotonic() - since)} ms.`);
  }
}

function describe(dataset: v2.Dataset): string {
  const activity = dataset.actual.flatMap((copy) => (copy.activity === null ? [] : [copy.activity.action]));
  const reasons = dataset.reasons.map((reason) => shorten(reason.message));
  return [...new Set([...activity.map((action) => `doing ${action}`), ...reasons])].slice(0, 2).join(" — ");
}

function shorten(text: string): string {
  return text.length <= 90 ? text : `${text.slice(0, 89)}…`;
}

function countOrders(node: RunnableNode, dataset: string): number {
  const database = new DatabaseSync(join(node.mountRoot, dataset, "shop.db"));
  try {
    const check = database.prepare("PRAGMA integrity_check").get() as { integrity_check: string };
    if (check.integrity_check !== "ok") throw new Error(`the database is broken: ${check.integrity_check}`);
    return (database.prepare("SELECT count(*) AS count FROM orders").get() as { count: number }).count;
  } finally {
    database.close();
  }
}

async function moreOrders(shop: { kept(): number }, count: number): Promise<void> {
  const wanted = shop.kept() + count;
  need(
    await pollUntil(clock, {
      waitingFor: "the shop to go on",
      timeoutMs: 30_000,
      ask: () => Promise.resolve(shop.kept() >= wanted ? true : undefined),
    }),
  );
}

async function tour(cluster: LocalCluster, client: LocalClient): Promise<void> {
  const steps = new Tour(cluster, client);
  const [first, second, third] = [steps.node(0), steps.node(1), steps.node(2)];

  headline("1. Three agents and a control service start, each a process with its own certificate");
  cluster.start();
  need(await waitUntilReady(cluster, client, { clock, timeoutMs: 60_000 }));
  say(`  Ready: control and ${cluster.nodes.map((node) => node.name).join(", ")}.`);

  headline("2. A dataset is created on node-1, and a shop begins to book orders in it (SQLite, synced)");
  const dataset = await steps.create("shop", first);
  const shop = openShop(
    dataset,
    cluster.nodes.map((node) => node.mountRoot),
  );
  await moreOrders(shop, 50);
  say(`  ${shop.kept()} orders are kept on node-1.`);

  headline("3. It is moved to node-2 while the shop goes on");
  const before = shop.kept();
  await steps.move(dataset, second);
  await steps.served(dataset, second);
  await moreOrders(shop, 50);
  say(`  The shop went on by itself: ${before} orders before the move, ${shop.kept()} now.`);

  headline("4. It is moved to node-3, and the agent of node-2 is killed in the middle of it (kill -9)");
  const killed = killInTheMiddle(second);
  await steps.move(dataset, third);
  say(`  Killed node-2's agent after its "${await killed}" step. Now it is started again.`);
  second.agent.start();
  await steps.served(dataset, third);
  await moreOrders(shop, 50);

  headline("5. The books are checked on node-3");
  const kept = shop.kept();
  await shop.stop();
  const found = countOrders(third, dataset);
  if (found < kept) throw new Error(`${kept} orders were kept, but node-3 has only ${found}`);
  say(`  ${kept} orders were synced, ${found} are there, the database is sound: nothing was lost.`);
}

/** Kills an agent right after it has unmounted for a handoff, when the dataset is served by nobody. */
function killInTheMiddle(node: RunnableNode): Promise<string> {
  return new Promise((resolve) => {
    const end = node.agent.onLine((line) => {
      if (!line.includes('"action-done"') || !line.includes('"action":"unmount"')) return;
      end();
      void node.agent.stop("SIGKILL").then(() => resolve("unmount"));
    });
  });
}

const folder = await mkdtemp(join(tmpdir(), "flocker-demo-"));
const cluster = need(await openLocalCluster({ folder, nodeCount: 3, clock }));
const client = need(openLocalClient(cluster));
try {
  await tour(cluster, client);
  await cluster.stop();
  await rm(folder, { recursive: true });
  say("\nThat was the tour. `npm start` runs such a cluster for you to play with.");
} catch (error) {
  await cluster.stop();
  console.error(error instanceof ProblemError ? `${error.problem.message} ${error.problem.remedy}` : error);
  console.error(`Logs and data are kept in ${folder}.`);
  process.exitCode = 1;
} finally {
  client.close();
}
