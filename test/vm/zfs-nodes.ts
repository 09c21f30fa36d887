import { openZfsBackend } from "@flocker/agent";
import type { BackendHarness, Release } from "@flocker/agent/backend-conformance";
import { assert, ProblemError, type Backend, type DatasetId } from "@flocker/core";
import { systemClock, systemIds } from "@flocker/host";

import type { MortalNode } from "../../packages/agent/src/backends/testing/crashes.ts";
import { newLife, type Life } from "../../packages/agent/src/backends/testing/life.ts";
import { commandTimeoutMs } from "./machine-commands.ts";
import type { Machine } from "./machine.ts";

/** A machine that programs can be run in. */
type RunningMachine = Pick<Machine, "commands">;

/** A node whose agent's backend runs here and whose pool is in a virtual machine. */
export class ZfsNode implements MortalNode {
  readonly machine: RunningMachine;
  /** The dataset that its agent is given. */
  readonly pool: string;
  readonly mountRoot: string;
  properties: Readonly<Record<string, string>> = {};
  profiles: NonNullable<Parameters<typeof openZfsBackend>[0]["profiles"]> = {};
  carriesSnapshots = false;
  #backend: Backend | undefined;
  #life: Life;

  constructor(machine: RunningMachine, pool: string) {
    this.machine = machine;
    this.pool = pool;
    this.mountRoot = `/flocker/${pool.replaceAll("/", "-")}`;
    this.#life = newLife(machine.commands);
  }

  get backend(): Backend {
    assert(this.#backend !== undefined, "the node has been started");
    return this.#backend;
  }

  get isRunning(): boolean {
    return this.#backend !== undefined;
  }

  /** Runs a shell's command line in the machine, which must succeed; answers what it said. */
  async sh(line: string, ...args: readonly string[]): Promise<string> {
    return await shell(this.machine, line, ...args);
  }

  get life(): Life {
    return this.#life;
  }

  async start(): Promise<void> {
    this.stop();
    this.#life = newLife(this.machine.commands);
    const { pool, mountRoot, machine, properties, profiles, carriesSnapshots } = this;
    const opened = await openZfsBackend({
      pool,
      mountRoot,
      properties,
      profiles,
      carriesSnapshots,
      commands: this.#life.commands,
      clock: systemClock,
      ids: systemIds,
      system: machineSystem(machine),
    });
    if (!opened.ok) throw new ProblemError(opened.problem);
    this.#backend = opened.value;
  }

  stop(): void {
    this.#life.die();
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
    const folder = path.includes("/") ? 'mkdir -p "${1%/*}" && ' : "";
    await must(this.machine, ["sh", "-c", `${folder}cat >"$1"`, "sh", file], content);
  }

  async remove(dataset: DatasetId, path: string): Promise<void> {
    await this.sh('rm "$1"', `${this.mountRoot}/${dataset}/${path}`);
  }

  async files(dataset: DatasetId): Promise<ReadonlyMap<string, Uint8Array>> {
    const folder = `${this.mountRoot}/${dataset}`;
    // Few processes, as each takes its time: a list of all, an empty line, and the contents of all.
    const line =
      'cd "$1" && find . -type f -exec stat -c "%s %n" {} + && echo && find . -type f -exec cat {} +';
    const chunks: Uint8Array[] = [];
    for await (const chunk of this.machine.commands.stream(["sh", "-c", line, "sh", folder], {}))
      chunks.push(Uint8Array.from(chunk));
    const said = Buffer.concat(chunks);
    const files = new Map<string, Uint8Array>();
    const listEnd = said[0] === 10 ? 0 : said.indexOf("\n\n") + 1;
    let at = listEnd + 1;
    for (const listed of said.toString("utf8", 0, listEnd).split("\n").slice(0, -1)) {
      const sizeEnd = listed.indexOf(" ");
      const end = at + Number(listed.slice(0, sizeEnd));
      files.set(listed.slice(sizeEnd + 3), said.subarray(at, end));
      at = end;
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
export async function shell(
  machine: RunningMachine,
  line: string,
  ...args: readonly string[]
): Promise<string> {
  return await must(machine, ["sh", "-c", line, "sh", ...args]);
}

async function must(machine: RunningMachine, argv: readonly string[], input?: Uint8Array): Promise<string> {
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
export function machineSystem(machine: RunningMachine): ZfsSystem {
  return {
    mounts: () => shell(machine, "cat /proc/self/mounts"),
    async deviceOf(path) {
      const device = await shell(machine, 'stat -c %d "$1"', path);
      return BigInt(device.trim());
    },
    async holders({ tree }) {
      // The links of a process lead below the tree, whichever of them it is. Processes end meanwhile.
      const said = await shell(machine, "ls -l /proc/[0-9]*/cwd /proc/[0-9]*/fd/* 2>/dev/null || true");
      const links = said.matchAll(/ \/proc\/(\d+)\/\S+ -> (.*)$/gm);
      const holders: Holder[] = [];
      for (const [, pid = "", target = ""] of links) {
        if (target !== tree && !target.startsWith(`${tree}/`)) continue;
        const program = await shell(machine, 'cat "/proc/$1/comm" || true', pid);
        holders.push({ pid: Number(pid), program: program.trim(), by: target });
      }
      return holders;
    },
  };
}

type Holder = Awaited<ReturnType<ZfsSystem["holders"]>>[number];

/** Makes a pool on a partition of the machine's disk. */
export async function makePool(machine: Machine, name: string, partition: number): Promise<void> {
  const line = 'zpool create -f -O mountpoint=none -O canmount=off -o cachefile=none "$1" "/dev/vda$2"';
  await shell(machine, line, name, String(partition));
}

/** Makes the pool "frail": its disk is a sparse file, in memory that can be filled up below it. */
export async function makeFrailPool(node: ZfsNode): Promise<void> {
  await node.sh(
    "mkdir -p /run/frail && mount -t tmpfs -o size=96m none /run/frail && truncate -s 256M /run/frail/disk && " +
      "zpool create -O mountpoint=none -O canmount=off -o cachefile=none frail /run/frail/disk",
  );
}

/** The next write to the pool "frail" suspends it. */
export async function fillBelow(node: ZfsNode): Promise<void> {
  await node.sh("dd if=/dev/zero of=/run/frail/filling bs=1M 2>/dev/null || true");
}

/** What an operator does once a suspended pool's disk can be written to again. */
export async function goOn(node: ZfsNode): Promise<void> {
  await node.sh("rm /run/frail/filling && zpool clear frail");
}

/** Three nodes in three pools of one machine. Their storage is emptied after each use of the harness. */
export function zfsHarness(
  machine: Machine,
  pools: readonly [string, string, string],
): () => Promise<BackendHarness & { readonly nodes: readonly [ZfsNode, ZfsNode, ZfsNode] }> {
  const nodes = [
    new ZfsNode(machine, pools[0]),
    new ZfsNode(machine, pools[1]),
    new ZfsNode(machine, pools[2]),
  ] as const;
  return async () => {
    // An agent lives on over the datasets that come and go.
    for (const each of nodes) if (!each.isRunning) await each.start();
    return {
      nodes,
      async dispose() {
        await shell(machine, emptyPools, ...pools);
      },
    };
  };
}

/** Destroys all copies and what is staged, with snapshots that a dead agent still holds. */
const emptyPools = [
  "while pidof zfs >/dev/null; do usleep 10000; done;",
  'all=$(zfs list -H -r -t filesystem,snapshot -o name,userrefs "$@" | grep -E "/flocker(-trash|-staging)?/" | tr "\\t" :);',
  'for each in $all; do case "$each" in *@*:0) ;; *@*) zfs holds -H "${each%:*}" |',
  'while read -r name tag when; do zfs release "$tag" "$name"; done;; esac; done;',
  'for each in $all; do case "$each" in *@*) ;; *) name=${each%:*};',
  // What lay below another, or was made of it, has gone with it.
  'zfs destroy -R -f "$name" || ! zfs list "$name" >/dev/null 2>&1 || exit 1;; esac; done',
].join(" ");
