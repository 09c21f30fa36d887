import type { ContainerConfiguration } from "@flocker/core";

// The orders in which the original lists what belongs to a container.

export function byPort(
  a: ContainerConfiguration["ports"][number],
  b: ContainerConfiguration["ports"][number],
): number {
  return a.external - b.external || a.internal - b.internal;
}

export function byAlias(
  a: ContainerConfiguration["links"][number],
  b: ContainerConfiguration["links"][number],
): number {
  if (a.alias !== b.alias) return a.alias < b.alias ? -1 : 1;
  return a.localPort - b.localPort || a.remotePort - b.remotePort;
}
