import { isIPv4 } from "node:net";
import { PythonFloat, writePythonJson, writePythonString } from "@flocker/api";
import { compareEpochs, type DatasetConfiguration, type Lease, type Milliseconds } from "@flocker/core";
import type { DatasetView, NodeView } from "../cluster/cluster.ts";

/**
 * Nodes that have been silent for so long are hidden from /v1, with all that they reported, as the original
 * did.
 */
export const v1SilenceMs = 120_000;

const rendered = new WeakMap<DatasetConfiguration, string>();

/**
 * A configured dataset as /v1 shows it. Texts are kept for as long as the configuration's value lives: lists
 * of many thousand datasets are polled.
 */
export function configuredDatasetText(configuration: DatasetConfiguration): string {
  const known = rendered.get(configuration);
  if (known !== undefined) return known;
  const { dataset, deletion, maximumSizeBytes, metadata, primary } = configuration;
  const size = maximumSizeBytes === null ? "" : `"maximum_size": ${maximumSizeBytes}, `;
  const text =
    `{"dataset_id": "${dataset}", "deleted": ${deletion !== null}, ${size}` +
    `"metadata": ${metadataText(metadata)}, "primary": "${primary}"}`;
  // As one piece: the engine would keep the parts that it was made of, and put them together for every list
  // anew.
  const whole = Buffer.from(text, "latin1").toString("latin1");
  rendered.set(configuration, whole);
  return whole;
}

function metadataText(metadata: Readonly<Record<string, string>>): string {
  const members = Object.entries(metadata).map(
    ([key, value]) => `${writePythonString(key)}: ${writePythonString(value)}`,
  );
  return `{${members.join(", ")}}`;
}

/**
 * A dataset's state as /v1 shows it, or undefined where it shows nothing: deleted datasets are hidden at
 * once, and so is what only silent nodes have reported. Copies that are not mounted make an entry without
 * node and path.
 */
export function datasetStateText(view: DatasetView, now: Milliseconds): string | undefined {
  if (view.configuration !== null && view.configuration.deletion !== null) return undefined;
  const heard = view.reports.filter((one) => isHeard(one.lastSeenAt, now));
  const copies = heard
    .flatMap(({ node, report: { copy } }) =>
      copy === null || copy.trashedAt !== null ? [] : [{ node, ...copy }],
    )
    .toSorted((a, b) => compareEpochs(b.record.epoch, a.record.epoch));
  const mounted = copies.find((copy) => copy.mountedAt !== null);
  const isUnreadable = heard.some((one) => one.report.unreadable !== null);
  if (copies.length === 0 && !isUnreadable) return undefined;
  const size = (mounted ?? copies[0])?.maximumSizeBytes ?? null;
  return (
    `{"dataset_id": "${view.dataset}"` +
    (size === null ? "" : `, "maximum_size": ${size}`) +
    (mounted === undefined
      ? ""
      : `, "path": ${writePythonString(mounted.mountedAt ?? "")}, "primary": "${mounted.node}"`) +
    "}"
  );
}

/**
 * A node as /v1 shows it, or undefined where it is silent or has no IPv4 address, which clients could not
 * read.
 */
export function nodeStateText(view: NodeView, now: Milliseconds): string | undefined {
  const host = ipv4Of(view.host);
  if (host === undefined || !(view.connected || isHeard(view.lastSeenAt, now))) return undefined;
  return `{"host": "${host}", "uuid": "${view.node}"}`;
}

/** The IPv4 address in a text, also where it is mapped into IPv6; undefined where there is none. */
export function ipv4Of(host: string): string | undefined {
  // On one machine for trying out, agents may come over the other loopback.
  if (host === "::1") return "127.0.0.1";
  const bare = host.toLowerCase().startsWith("::ffff:") ? host.slice("::ffff:".length) : host;
  return isIPv4(bare) ? bare : undefined;
}

/** A lease as /v1 shows it: the seconds that are left. */
export function leaseText(lease: Lease, now: Milliseconds): string {
  return writeLease(lease, lease.expiresAt === null ? null : (lease.expiresAt - now) / 1000);
}

/** A lease as /v1 answers its acquisition: exactly the seconds that were asked for. */
export function writeLease(lease: Pick<Lease, "dataset" | "node">, expires: number | null): string {
  return writePythonJson({
    dataset_id: lease.dataset,
    expires: expires === null ? null : new PythonFloat(expires),
    node_uuid: lease.node,
  });
}

function isHeard(lastSeenAt: Milliseconds, now: Milliseconds): boolean {
  return now - lastSeenAt < v1SilenceMs;
}
