import { DatabaseSync } from "node:sqlite";
import { existsSync, readlinkSync } from "node:fs";
import { join } from "node:path";

// A small shop, as a program that knows nothing of Flocker: it books an order in SQLite every few
// milliseconds, each in a transaction of its own that is on disk before it counts. When its database goes
// away it looks where it has gone, as a container that is started on another node would find it there. One
// line of output for each order that was kept.

const [dataset, ...mountRoots] = process.argv.slice(2);
if (dataset === undefined || mountRoots.length === 0) throw new Error("usage: shop.ts DATASET MOUNT-ROOT...");

let order = 0;
let isStopping = false;
process.on("SIGTERM", () => (isStopping = true));

while (!isStopping) {
  const folder = mountRoots.map((root) => join(root, dataset)).find(isMounted);
  const pauseMs = folder !== undefined && bookOrders(folder) ? 2 : 20;
  await new Promise((resolve) => setTimeout(resolve, pauseMs));
}

function isMounted(path: string): boolean {
  try {
    return existsSync(readlinkSync(path));
  } catch {
    return false;
  }
}

/** Books one order; false where the database went away before it was kept. */
function bookOrders(folder: string): boolean {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(join(folder, "shop.db"));
    database.exec(
      "PRAGMA synchronous = FULL; CREATE TABLE IF NOT EXISTS orders (number INTEGER PRIMARY KEY, item TEXT)",
    );
    const last = database.prepare("SELECT coalesce(max(number), 0) AS number FROM orders").get() as {
      number: number;
    };
    order = Math.max(order, last.number) + 1;
    database.prepare("INSERT INTO orders VALUES (?, ?)").run(order, `item ${order}`);
    process.stdout.write(`${order}\n`);
    return true;
  } catch {
    // Not kept: the number is used again.
    order -= 1;
    return false;
  } finally {
    database?.close();
  }
}
