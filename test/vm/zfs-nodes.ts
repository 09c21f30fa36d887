import { randomUUID } from "node:crypto";

import { openZfsBackend } from "@flocker/agent";
import type { BackendHarness, BackendNode, Release } from "@flocker/agent/backend-conformance";
import {
  assert,
  failure,
  ProblemError,
  type Abort,
  type Backend,
  type Commands,
  type DatasetId,
} from "@flocker/core";
import { systemClock, systemIds } from "@flocker/host";

import { commandTimeoutMs } from "./machine-commands.ts";
import type { Machine } from "./machine.ts";

/** Commands that end, and let nothing new begin, when the agent that has them dies. */
function mortal(commands: Commands, death: AbortSignal): Commands {
  const untilDeath = (abort: Abort | undefined): AbortSignal =>
    AbortSignal.any(abort instanceof AbortSignal ? [abort, death] : [death]);
  return {
    async run(argv, options) {
      if (death.aborted) return failure("command-failed", "the agent is dead", "none");
      return await commands.run(argv, { ...options, abort: untilDeath(options.abort) });
    },
    async *stream(argv, options) {
      if (death.aborted)
        throw new ProblemError(failure("command-failed", "the agent is dead", "none").problem);
      yield* commands.stream(argv, { ...options, abort: untilDeath(options.abort) });
    },
  };
}

/** A node whose agent's backend runs here and whose pool is in a virtual machine. */
export class ZfsNode implements BackendNode {
  readonly machine: Machine;
  /** The dataset that its agent is given. */
  readonly pool: string;
  readonly mountRoot: string;
  properties: Readonly<Record<string, string>> = {};
  #backend: Backend | undefined;
  #death = new AbortController();

  constructor(machine: Machine, pool: string) {
    this.machine = machine;
    this.pool = pool;
    this.mountRoot = `/flocker/${pool.replaceAll("/", "-")}`;
  }

  get backend(): Backend {
    assert(this.#backend !== undefined, "the node has been started");
    return this.#backend;
  }

  /** Runs a shell's command line in the machine, which must succeed; answers what it said. */
  async sh(line: string, ...args: readonly string[]): Promise<string> {
    return await shell(this.machine, line, ...args);
  }

  async start(): Promise<void> {
    this.stop();
    this.#death = new AbortController();
    const { pool, mountRoot, machine, properties } = this;
    const opened = await openZfsBackend({
      pool,
      mountRoot,
      properties,
      commands: mortal(machine.commands, this.#death.signal),
      clock: systemClock,
      ids: systemIds,
      system: machineSystem(machine),
    });
    if (!opened.ok) throw new ProblemError(opened.problem);
    this.#backend = opened.value;
  }

  stop(): void {
    this.#death.abort();
    this.#backend = undefined;
  }

  async reopen(): Promise<void> {
    this.stop();
    // A dead agent's programs see the end of their input and end as well; here, that takes a moment.
    await this.sh("while pidof zfs >/dev/null; do usleep 20000; done");
    await this.start();
  }

  /** What ZFS calls a copy that is not in the trash. */
  nameOf(dataset: DatasetId): string {
    return `${this.pool}/flocker/${dataset}`;
  }

  async write(dataset: DatasetId, path: string, content: Uint8Array): Promise<void> {
    const file = `${this.mountRoot}/${dataset}/${path}`;
    const argv = ["sh", "-c", 'mkdir -p "${1%/*}" && cat >"$1"', "sh", file];
    await must(this.machine, argv, content);
  }

  async remove(dataset: DatasetId, path: string): Promise<void> {
    await this.sh('rm "$1"', `${this.mountRoot}/${dataset}/${path}`);
  }

  async files(dataset: DatasetId): Promise<ReadonlyMap<string, Uint8Array>> {
    const folder = `${this.mountRoot}/${dataset}`;
    const line =
      'cd "$1" && find . -type f | while IFS= read -r f; do stat -c %s "$f"; echo "$f"; cat "$f"; done';
    const chunks: Uint8Array[] = [];
    for await (const chunk of this.machine.commands.stream(["sh", "-c", line, "sh", folder], {}))
      chunks.push(chunk);
    const text = Buffer.concat(chunks);
    const files = new Map<string, Uint8Array>();
    for (let at = 0; at < text.length;) {
      const [sizeEnd, nameEnd] = [text.indexOf("\n", at), text.indexOf("\n", text.indexOf("\n", at) + 1)];
      const size = Number(text.toString("utf8", at, sizeEnd));
      files.set(text.toString("utf8", sizeEnd + 3, nameEnd), text.subarray(nameEnd + 1, nameEnd + 1 + size));
      at = nameEnd + 1 + size;
    }
    return files;
  }

  /** A program whose working folder is in the copy. */
  readonly hold = async (dataset: DatasetId): Promise<{ who: string; release: Release }> => {
    const line = 'cd "$1" || exit 1; sleep 1000 </dev/null >/dev/null 2>&1 & echo $!';
    const pid = (await this.sh(line, `${this.mountRoot}/${dataset}`)).trim();
    return {
      who: `pid ${pid}`,
      release: async () => {
        await this.sh("kill -9 $1; while [ -e /proc/$1 ]; do usleep 10000; done", pid);
      },
    };
  };

  readonly breakRecord = async (dataset: DatasetId): Promise<Release> => {
    const name = this.nameOf(dataset);
    const good = (await this.sh('zfs get -H -o value flocker:record "$1"', name)).trim();
    await this.sh('zfs set flocker:record=rubbish "$1"', name);
    return async () => {
      await this.sh('zfs set "flocker:record=$2" "$1"', name, good);
    };
  };

  /** As when its disk is not there at a start of the machine: the pool is not imported. */
  readonly breakStorage = async (): Promise<Release> => {
    const pool = this.pool.split("/")[0] ?? "";
    await this.sh('zpool export -f "$1"', pool);
    return async () => {
      await this.sh('zpool import -d /dev -N "$1"', pool);
    };
  };

  /** Another dataset of the same pool reserves nearly everything. */
  readonly fillDisk = async (): Promise<Release> => {
    const pool = this.pool.split("/")[0] ?? "";
    const available = Number(await this.sh('zfs get -Hp -o value available "$1"', pool));
    await this.sh(
      'zfs create -o mountpoint=none -o "reservation=$2" "$1/filling"',
      pool,
      String(available - 2 ** 21),
    );
    return async () => {
      await this.sh('zfs destroy "$1/filling"', pool);
    };
  };
}

/** Runs a shell's command line in a machine, which must succeed. */
export async function shell(machine: Machine, line: string, ...args: readonly string[]): Promise<string> {
  return await must(machine, ["sh", "-c", line, "sh", ...args]);
}

async function must(machine: Machine, argv: readonly string[], input?: Uint8Array): Promise<string> {
  async function* bytes(content: Uint8Array): AsyncGenerator<Uint8Array> {
    yield await Promise.resolve(content);
  }
  const stdin = input === undefined ? {} : { stdin: bytes(input) };
  const result = await machine.commands.run(argv, { timeoutMs: commandTimeoutMs, ...stdin });
  if (!result.ok) throw new ProblemError(result.problem);
  if (result.value.exitCode !== 0)
    throw new Error(`${argv.join(" ")} ended with ${result.value.exitCode}: ${result.value.stderr}`);
  return result.value.stdout;
}

type ZfsSystem = NonNullable<Parameters<typeof openZfsBackend>[0]["system"]>;

/** The machine as the backend sees it: what `thisSystem` reads itself is read there by programs. */
export function machineSystem(machine: Machine): ZfsSystem {
  return {
    mounts: () => shell(machine, "cat /proc/self/mounts"),
    async deviceOf(path) {
      const device = await shell(machine, 'stat -c %d "$1"', path);
      return BigInt(device.trim());
    },
    async holders({ tree }) {
      // The links of a process lead below the tree, whichever of them it is.
      const line =
        'for l in /proc/[0-9]*/cwd /proc/[0-9]*/fd/*; do t=$(readlink "$l") || continue; ' +
        'case "$t" in "$1"|"$1"/*) p=${l#/proc/}; p=${p%%/*}; echo "$p $(cat /proc/$p/comm) $t";; esac; done';
      const said = await shell(machine, line, tree);
      return said
        .split("\n")
        .filter((each) => each !== "")
        .map((each) => {
          const [pid = "", program = "", ...by] = each.split(" ");
          return { pid: Number(pid), program, by: by.join(" ") };
        });
    },
  };
}

/** Makes a pool on a partition of the machine's disk. */
export async function makePool(machine: Machine, name: string, partition: number): Promise<void> {
  const line = 'zpool create -f -O mountpoint=none -O canmount=off -o cachefile=none "$1" "/dev/vda$2"';
  await shell(machine, line, name, String(partition));
}

let count = 0;

/**
 * Three nodes with fresh, empty storage: datasets in three pools of one machine, which last as long as the
 * harness.
 */
export async function zfsHarness(
  machine: Machine,
  pools: readonly [string, string, string],
): Promise<BackendHarness & { readonly nodes: readonly [ZfsNode, ZfsNode, ZfsNode] }> {
  count += 1;
  const node = (pool: string): ZfsNode => new ZfsNode(machine, `${pool}/test-${count}`);
  const nodes = [node(pools[0]), node(pools[1]), node(pools[2])] as const;
  for (const each of nodes) {
    await shell(machine, 'zfs create "$1"', each.pool);
    await each.start();
  }
  return {
    nodes,
    async dispose() {
      for (const each of nodes) {
        each.stop();
        const line =
          'while pidof zfs >/dev/null; do usleep 20000; done; for s in $(zfs list -H -o name -t snapshot -r "$1"); do ' +
          'for t in $(zfs holds -H "$s" | cut -f2); do zfs release "$t" "$s"; done; done; zfs destroy -R -f "$1"';
        await shell(machine, line, each.pool);
      }
    },
  };
}

/** A name that nothing else has. */
export function freshName(): string {
  return randomUUID();
}
