import type { v2 } from "@flocker/api";
import { datasetProfile, profileKey } from "@flocker/core";
import type { CommandLine } from "../command-line.ts";
import { byWeight, describeState, minuteText, primaryCopy, sizeText, spanText } from "../dataset-state.ts";
import { callName, type Nodes } from "../names.ts";
import { coloured, printable, renderTable, type Column } from "../output.ts";
import { remedyFor } from "../reason-remedies.ts";

/** Everything known of a dataset, for people. */
export function showLines(cli: CommandLine, dataset: v2.Dataset, nodes: Nodes): readonly string[] {
  const { desired, ownership, lease } = dataset;
  const state = describeState(dataset, nodes.nameOf);
  const facts: [string, string][] = [
    ["Name", dataset.name ?? "-"],
    ["Id", dataset.dataset_id],
    ["State", `${state.word} (${state.sentence})`],
  ];
  if (desired !== null) {
    facts.push(["Belongs on", nodes.nameOf(desired.primary)]);
    if (desired.maximum_downtime_ms !== null)
      facts.push(["Maximum downtime", `${desired.maximum_downtime_ms / 1000} s`]);
    facts.push(["Maximum size", desired.maximum_size === null ? "no limit" : sizeText(desired.maximum_size)]);
    if (desired.source !== null) facts.push(["Made out of", desired.source]);
    const profile = datasetProfile(desired);
    if (profile !== undefined) facts.push(["Profile", profile]);
    const metadata = Object.entries(desired.metadata).filter(([key]) => key !== "name" && key !== profileKey);
    for (const [key, value] of metadata) facts.push(["Metadata", `${key}=${value}`]);
    if (desired.deletion !== null) facts.push(["Deleted", minuteText(desired.deletion.at)]);
    facts.push(["Changed in", `revision ${desired.revision}`]);
  }
  if (ownership !== null) {
    const epoch = `${ownership.epoch.term}.${ownership.epoch.step}`;
    const born = ownership.born ? "" : ", not created yet";
    facts.push([
      "Owner",
      `${nodes.nameOf(ownership.owner)} since ${minuteText(ownership.since)} (epoch ${epoch}${born})`,
    ]);
  }
  if (lease !== null) {
    const until = lease.expires_at === null ? "for ever" : `until ${minuteText(lease.expires_at)}`;
    facts.push(["Lease", `${nodes.nameOf(lease.node_id)}, ${until}`]);
  }
  const width = Math.max(...facts.map(([name]) => name.length)) + 2;
  const lines = facts.map(([name, value]) => printable(`${`${name}:`.padEnd(width)}${value}`));
  if (dataset.actual.length > 0) {
    lines.push("", ...renderTable(cli.terminal, copyColumns(cli, nodes), dataset.actual));
  }
  for (const copy of dataset.actual) {
    if (copy.unreadable === null) continue;
    lines.push(
      "",
      printable(`The copy on ${nodes.nameOf(copy.node_id)} cannot be read: ${copy.unreadable.message}`),
    );
    lines.push(printable(`  ${copy.unreadable.remedy}`));
  }
  if (dataset.reasons.length > 0) lines.push("", ...reasonLines(cli, dataset, nodes));
  return lines;
}

function copyColumns(cli: CommandLine, nodes: Nodes): readonly Column<v2.DatasetActual>[] {
  const now = cli.clock.now();
  return [
    { title: "COPY ON", value: (copy) => nodes.nameOf(copy.node_id) },
    {
      title: "ROLE",
      value: (copy) =>
        copy.unreadable !== null
          ? "unreadable"
          : copy.in_trash_since !== null
            ? "in trash"
            : (copy.role ?? "none"),
    },
    { title: "EPOCH", value: ({ epoch }) => (epoch === null ? "-" : `${epoch.term}.${epoch.step}`) },
    { title: "MOUNTED AT", value: (copy) => copy.path ?? "-" },
    { title: "USED", value: (copy) => sizeText(copy.used_bytes), alignRight: true },
    { title: "SNAPSHOTS", value: (copy) => String(copy.snapshots), alignRight: true },
    {
      title: "DOING",
      value: ({ activity }) =>
        activity === null ? "-" : `${activity.action} for ${spanText(now - Date.parse(activity.since))}`,
    },
    {
      title: "SEEN",
      value: (copy) => (copy.stale ? `${spanText(now - Date.parse(copy.last_seen))} ago` : "now"),
      colour: (copy) => (copy.stale ? "yellow" : null),
    },
  ];
}

/** Why a dataset is as it is, and what a person can do about it. */
export function explainLines(cli: CommandLine, dataset: v2.Dataset, nodes: Nodes): readonly string[] {
  const name = callName(dataset);
  const state = describeState(dataset, nodes.nameOf);
  const { desired } = dataset;
  const lines: string[] = [];
  if (desired !== null && desired.deletion === null) {
    lines.push(
      printable(`${name} belongs on ${nodes.nameOf(desired.primary)}. ${whereItIs(dataset, nodes)}`),
    );
  }
  lines.push(
    coloured(cli.terminal, state.colour ?? "bold", printable(`It is ${state.sentence.replace(/\.$/, "")}.`)),
  );
  if (dataset.reasons.length === 0) {
    lines.push(
      dataset.converged || desired === null
        ? "Nothing is in its way."
        : "No node has said yet what it is doing about it; look again in a moment.",
    );
    return lines;
  }
  lines.push("", ...reasonLines(cli, dataset, nodes));
  return lines;
}

function whereItIs(dataset: v2.Dataset, nodes: Nodes): string {
  const copy = primaryCopy(dataset);
  if (copy !== undefined) {
    const mounted = copy.path === null ? "not mounted" : `mounted at ${copy.path}`;
    const silent = copy.stale ? ", as that node said last" : "";
    return `Its primary copy is on ${nodes.nameOf(copy.node_id)}, ${mounted}${silent}.`;
  }
  if (dataset.ownership?.born === false) return "It has not been created yet.";
  const owner = dataset.ownership === null ? "" : ` Its owner is ${nodes.nameOf(dataset.ownership.owner)}.`;
  return `No node shows a primary copy now.${owner}`;
}

function reasonLines(cli: CommandLine, dataset: v2.Dataset, nodes: Nodes): readonly string[] {
  const now = cli.clock.now();
  return byWeight(dataset.reasons).flatMap((reason) => {
    const who = reason.node_id === null ? "control service" : nodes.nameOf(reason.node_id);
    const since = `for ${spanText(now - Date.parse(reason.since))}`;
    const next =
      reason.next_try_at === null
        ? ""
        : `, tried again in ${spanText(Math.max(0, Date.parse(reason.next_try_at) - now))}`;
    const remedy = remedyFor(reason.code);
    return [
      printable(`${who}: ${reason.message} (${reason.code}, ${since}${next})`),
      ...(remedy === null ? [] : [`  To do: ${remedy}.`]),
    ];
  });
}
