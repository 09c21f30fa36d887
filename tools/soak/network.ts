import { spawnSync } from "node:child_process";

const bridge = "flksoak";
const prefix = "10.213.77";
/** Where the control service and the writers are: this machine, as its nodes see it. */
export const hostAddress: string = `${prefix}.1`;

/** The address of a node, counted from 0. */
export function nodeAddress(index: number): string {
  return `${prefix}.${index + 11}`;
}

function namespace(index: number): string {
  return `${bridge}-${index}`;
}

/** A command line that runs another one in the network of a node, and in nothing else of its own. */
export function inNetworkOf(index: number, argv: readonly string[]): readonly string[] {
  return ["nsenter", `--net=/run/netns/${namespace(index)}`, ...argv];
}

/**
 * Makes a network namespace for each node and a bridge between them; what an earlier run has left goes first.
 */
export function makeNetworks(nodeCount: number): void {
  removeNetworks(nodeCount);
  ip("link", "add", bridge, "type", "bridge");
  ip("addr", "add", `${hostAddress}/24`, "dev", bridge);
  ip("link", "set", bridge, "up");
  for (let index = 0; index < nodeCount; index += 1) {
    const [outside, inside] = [`${bridge}${index}`, "eth0"];
    ip("netns", "add", namespace(index));
    ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", namespace(index));
    ip("link", "set", outside, "master", bridge, "up");
    ip("-n", namespace(index), "addr", "add", `${nodeAddress(index)}/24`, "dev", inside);
    ip("-n", namespace(index), "link", "set", inside, "up");
    ip("-n", namespace(index), "link", "set", "lo", "up");
  }
}

export function removeNetworks(nodeCount: number): void {
  for (let index = 0; index < nodeCount; index += 1) {
    // A namespace takes its end of the cable along only some time after it has been deleted.
    ignore("link", "delete", `${bridge}${index}`);
    ignore("netns", "delete", namespace(index));
  }
  ignore("link", "delete", bridge);
}

/** Pulls the cable of a node; answers what puts it back. */
export function cutOff(index: number): () => void {
  ip("link", "set", `${bridge}${index}`, "down");
  return () => ip("link", "set", `${bridge}${index}`, "up");
}

/** Lets nothing of a node reach an address, while the other way stays open; answers what ends it. */
export function blockWay(index: number, address: string): () => void {
  ignore("-n", namespace(index), "route", "add", "blackhole", `${address}/32`);
  return () => ignore("-n", namespace(index), "route", "delete", "blackhole", `${address}/32`);
}

function ignore(...args: readonly string[]): void {
  spawnSync("ip", args, { stdio: "ignore" });
}

function ip(...args: readonly string[]): void {
  const { status, stderr, error } = spawnSync("ip", args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`ip ${args.join(" ")} failed: ${error?.message ?? stderr}`);
}
