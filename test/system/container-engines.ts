import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { LocalProcess, pollUntil, type RunnableNode } from "@flocker/cli/local";
import { systemClock } from "@flocker/host";
import { makePlugin, type RunnablePlugin } from "./plugin-rig.ts";
import type { Rig } from "./rig.ts";

/** What the command of an engine said, and how it ended. */
export interface Said {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Docker or Podman on one node of a rig, with the volume plugin that it finds. */
export interface Engine {
  readonly plugin: RunnablePlugin;
  readonly node: RunnableNode;
  /** Runs its command. */
  ask(...args: readonly string[]): Promise<Said>;
}

/** Docker has a daemon besides. */
export interface DockerEngine extends Engine {
  readonly daemon: LocalProcess;
  /** Starts the daemon, and waits until it answers. */
  start(): Promise<void>;
}

/** Containers see this and nothing else: BusyBox, as what their image was imported from. */
export const image = "busybox:test";
const commandTimeoutMs = 150_000;

/** Why there can be no real engines here, or false. */
export function whyNoEngine(...programs: readonly string[]): string | false {
  if (process.getuid?.() !== 0) return "containers are started by root only";
  for (const program of [...programs, "busybox"])
    if (spawnSync("which", [program]).status !== 0) return `${program} is not installed`;
  return false;
}

/** Runs the engine's command, which must succeed, and answers what it printed. */
export async function must(engine: Engine, ...args: readonly string[]): Promise<string> {
  const said = await engine.ask(...args);
  assert.equal(said.code, 0, `${args.join(" ")}: ${said.stderr}\n${engine.plugin.process.tail}`);
  return said.stdout.trim();
}

/** Runs a command of the shell in a container of its own, with the volume at /data. */
export function inContainer(engine: Engine, volume: string, script: string): Promise<string> {
  return must(engine, "run", "--rm", ...containerArgs(volume), image, "/bin/sh", "-c", script);
}

/** Starts a container that writes a line to the volume and stays; answers its id. */
export async function startWriter(engine: Engine, volume: string, text: string): Promise<string> {
  const script = `trap 'exit 0' TERM; echo ${text} >> /data/file; sync; touch /data/ready-${text}; sleep 600 & wait`;
  const args = [...containerArgs(volume), image, "/bin/sh", "-c", script];
  return must(engine, "run", "--detach", ...args);
}

function containerArgs(volume: string): readonly string[] {
  return ["--network", "none", "--volume", `${volume}:/data`];
}

/** Waits until a container sees a file. */
export async function untilRead(engine: Engine, container: string, path: string): Promise<void> {
  const result = await pollUntil(systemClock, {
    waitingFor: `${path} in the container`,
    timeoutMs: 30_000,
    ask: async () => ((await engine.ask("exec", container, "/bin/cat", path)).code === 0 ? true : undefined),
  });
  assert.ok(result.ok, `${path} should be there`);
}

/** Starts a dockerd of its own for a node, which sees the plugin where every dockerd looks for it. */
export async function startDocker(t: TestContext, rig: Rig, node: RunnableNode): Promise<DockerEngine> {
  const folder = await mkdtemp("/tmp/flocker-docker-");
  const runFolder = join(folder, "run");
  await mkdir(join(runFolder, "plugins"), { recursive: true });
  const plugin = await makePlugin(t, rig, node, {
    sockets: [join(runFolder, "plugins", "flocker.sock")],
  });
  const socket = join(plugin.folder, "docker.sock");
  const daemon = new LocalProcess({
    name: `dockerd-${node.name}`,
    logFile: join(rig.cluster.files.folder, "logs", `dockerd-${node.name}.log`),
    argv: [
      "unshare",
      "--mount",
      "--propagation",
      "private",
      "sh",
      "-ec",
      daemonScript,
      runFolder,
      folder,
      socket,
    ],
  });
  const engine: DockerEngine = {
    plugin,
    node,
    daemon,
    ask: (...args) => run("docker", ["--host", `unix://${socket}`, ...args], {}),
    async start() {
      if (!daemon.running) {
        await untilEnded(join(runFolder, "containerd", "containerd.pid"));
        daemon.start();
      }
      const up = await pollUntil(systemClock, {
        waitingFor: "dockerd to answer",
        timeoutMs: 60_000,
        ask: async () => ((await engine.ask("info")).code === 0 ? true : undefined),
      });
      assert.ok(up.ok, daemon.tail);
    },
  };
  rig.cleanUps.push(async () => {
    await endDocker(engine);
    await rm(folder, { recursive: true, force: true });
  });
  await Promise.all([engine.start(), plugin.start()]);
  await importImage(engine, folder);
  return engine;
}

/**
 * In a mount namespace of its own, the daemon's run folder lies where every daemon has it. Networks are left
 * alone.
 */
const daemonScript = `mkdir -p /run/docker
mount --bind "$0" /run/docker
exec dockerd --data-root "$1/data" --exec-root /run/docker --pidfile "$1/pid" --host "unix://$2" \
  --bridge none --iptables=false --ip6tables=false --ip-forward=false --storage-driver vfs`;

/**
 * A killed daemon's containerd dies with it, but a moment later: a new daemon that still meets it takes it
 * for a living one. That it has been dead for long does not help where nobody collects it.
 */
async function untilEnded(pidFile: string): Promise<void> {
  const pid = Number(await readFile(pidFile, "utf8").catch(() => "0"));
  if (pid === 0) return;
  const ended = await pollUntil(systemClock, {
    waitingFor: "containerd to end",
    timeoutMs: 30_000,
    ask: async () => {
      const status = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => ") Z");
      return status.includes(") Z") ? true : undefined;
    },
  });
  assert.ok(ended.ok, "containerd should end with its daemon");
  await rm(pidFile);
}

/** Removes all containers, and ends the daemon. */
async function endDocker(engine: DockerEngine): Promise<void> {
  await engine.plugin.start();
  await engine.start();
  const containers = (await engine.ask("ps", "--all", "--quiet")).stdout.split("\n").filter(Boolean);
  if (containers.length > 0) await engine.ask("rm", "--force", ...containers);
  await engine.daemon.stop();
  await engine.plugin.process.stop();
}

/** Makes a Podman of its own for a node: it has no daemon, only folders. */
export async function makePodman(t: TestContext, rig: Rig, node: RunnableNode): Promise<Engine> {
  const folder = await mkdtemp("/tmp/flocker-podman-");
  const plugin = await makePlugin(t, rig, node);
  const configuration = join(folder, "containers.conf");
  await writeFile(
    configuration,
    `[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
volume_plugin_timeout = 120
[engine.volume_plugins]
flocker = "${plugin.socket}"
`,
  );
  const global = [
    "--root",
    join(folder, "root"),
    "--runroot",
    join(folder, "run"),
    "--tmpdir",
    join(folder, "tmp"),
  ];
  const engine: Engine = {
    plugin,
    node,
    ask: (...args) =>
      run("podman", [...global, "--storage-driver", "vfs", ...args], { CONTAINERS_CONF: configuration }),
  };
  rig.cleanUps.push(async () => {
    await plugin.start();
    await engine.ask("rm", "--force", "--all", "--time", "0");
    await plugin.process.stop();
    await rm(folder, { recursive: true, force: true });
  });
  await plugin.start();
  await importImage(engine, folder);
  return engine;
}

async function importImage(engine: Engine, folder: string): Promise<void> {
  const root = join(folder, "image");
  await mkdir(join(root, "bin"), { recursive: true });
  const busybox = spawnSync("which", ["busybox"], { encoding: "utf8" }).stdout.trim();
  await copyFile(busybox, join(root, "bin", "busybox"));
  for (const name of ["sh", "cat", "sleep", "sync", "touch"])
    await symlink("busybox", join(root, "bin", name));
  const archive = join(folder, "image.tar");
  assert.equal((await run("tar", ["-C", root, "-cf", archive, "."], {})).code, 0);
  await must(engine, "import", archive, image);
}

function run(program: string, args: readonly string[], environment: NodeJS.ProcessEnv): Promise<Said> {
  return new Promise((resolve) => {
    const options = { env: { ...process.env, ...environment }, timeout: commandTimeoutMs };
    const child = execFile(program, args, options, (error, stdout, stderr) => {
      const code = error === null ? 0 : (child.exitCode ?? 1);
      resolve({ code, stdout, stderr });
    });
  });
}
