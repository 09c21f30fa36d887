import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { systemClock } from "@flocker/host";

import { machineCommands, type MachineCommands } from "./machine-commands.ts";
import type { Image } from "./image.ts";

/** A virtual machine with a disk of its own that stays over cuts of its power. */
export interface Machine {
  /** Runs programs inside. */
  readonly commands: MachineCommands;
  /** Where its command server is on this machine. */
  readonly port: number;
  /** What it has said on its console so far. */
  console(): string;
  /** Ends it at once, as a cut of its power does. */
  cutPower(): Promise<void>;
  /** Starts it (again) on the same disk, and waits until it runs programs. */
  start(): Promise<void>;
}

export interface MachineOptions {
  readonly image: Image;
  /** The file with its disk, made by {@link makeDisk}. */
  readonly disk: string;
  readonly memoryMib?: number;
}

/** Every power cut and many link cuts, rather than a choice of them. */
export const isThorough: boolean = process.env["FLOCKER_VM_THOROUGH"] === "1";

/** What a usual run chooses by: other things each day, unless told otherwise. */
export const seed: number = Number(process.env["FLOCKER_SEED"] ?? Math.floor(systemClock.now() / 86_400_000));

const bootTimeoutMs = 120_000;
const consoleLimit = 200_000;

/** A machine that is not started yet. */
export function describeMachine(options: MachineOptions): Machine {
  let child: ChildProcess | undefined;
  let said = "";
  let port = 0;
  const commands = machineCommands(() => port);
  const cutPower = async (): Promise<void> => {
    const running = child;
    child = undefined;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
    running.kill("SIGKILL");
    await once(running, "exit");
  };
  return {
    commands,
    get port() {
      return port;
    },
    console: () => said,
    cutPower,
    async start() {
      await cutPower();
      said = "";
      port = await freePort();
      // It ends with this process, however that ends; and what takes hours yields to everything else.
      const argv = ["-n", isThorough ? "10" : "0", "setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"];
      child = spawn("nice", [...argv, ...argumentsOf(options, port)], { stdio: ["ignore", "pipe", "pipe"] });
      for (const output of [child.stdout, child.stderr])
        output?.on("data", (text: Buffer) => (said = (said + text.toString("latin1")).slice(-consoleLimit)));
      child.on("error", (error) => (said += `\nthe emulator could not be started: ${error.message}\n`));
      const started = child;
      await waitUntilUp(
        commands,
        () => started.exitCode === null && started.signalCode === null,
        () => said,
      );
    },
  };
}

function argumentsOf({ image, disk, memoryMib = 1024 }: MachineOptions, port: number): string[] {
  // Of a plain processor and without random addresses, what has been translated once serves every process:
  // three times as fast as with all that the emulator can. What the machine has written outlives it without
  // flushing, as the host goes on.
  const kernel = "console=ttyS0 panic=-1 quiet rdinit=/init spl.spl_hostid=0xf10c0001";
  const fast =
    "no_timer_check mitigations=off norandmaps nokaslr clearcpuid=rep_good init_on_alloc=0 hardened_usercopy=off " +
    "cgroup_disable=memory psi=0 audit=0 apparmor=0 transparent_hugepage=never nowatchdog";
  const groups = [
    ["-M", "q35", "-accel", "tcg", "-cpu", "qemu64", "-smp", "1", "-m", String(memoryMib)],
    ["-nodefaults", "-nographic", "-serial", "stdio", "-no-reboot"],
    ["-kernel", image.kernel, "-initrd", image.initialFileSystem],
    ["-append", `${kernel} ${fast}`],
    ["-drive", `file=${disk},format=raw,if=none,id=d0,cache=unsafe,discard=unmap`],
    ["-device", "virtio-blk-pci,drive=d0"],
    ["-netdev", `user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:${port}-:7000`],
    ["-device", "virtio-net-pci,netdev=n0,romfile="],
  ];
  return groups.flat();
}

async function waitUntilUp(
  commands: MachineCommands,
  isRunning: () => boolean,
  console: () => string,
): Promise<void> {
  const until = systemClock.monotonic() + bootTimeoutMs;
  while (isRunning() && systemClock.monotonic() < until) {
    const result = await commands.run(["true"], { timeoutMs: 5_000 });
    if (result.ok && result.value.exitCode === 0) return;
    await systemClock.sleep(100);
  }
  throw new Error(`the virtual machine did not come up; its console:\n${console().slice(-4000)}`);
}

/** A port that was free a moment ago: the emulator cannot choose one itself and tell. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

const sectorBytes = 512;

/**
 * Makes a sparse disk image with so many partitions, `/dev/vda1` and so on. Its blocks take room when
 * written.
 */
export function makeDisk(path: string, partitions: number, partitionMib: number): void {
  const table = Buffer.alloc(sectorBytes);
  const sectors = (partitionMib * 2 ** 20) / sectorBytes;
  const first = 2048;
  for (let index = 0; index < partitions; index++) {
    const entry = 446 + index * 16;
    table[entry + 4] = 0x83;
    table.writeUInt32LE(first + index * sectors, entry + 8);
    table.writeUInt32LE(sectors, entry + 12);
  }
  table.writeUInt16LE(0xaa55, 510);
  const file = openSync(path, "w");
  writeSync(file, table);
  ftruncateSync(file, (first + partitions * sectors) * sectorBytes);
  closeSync(file);
}
