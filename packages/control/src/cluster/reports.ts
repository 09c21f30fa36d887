import type { AgentToControl, DatasetId, DatasetReport, NodeId } from "@flocker/core";
import type { DatasetTable } from "./dataset-table.ts";
import type { NodeEntry } from "./node-table.ts";

export type StateMessage = Extract<AgentToControl, { kind: "state" }>;

/** What an agent does while it sends a copy to another node. */
const sendingActions: ReadonlySet<string> = new Set(["send", "hand-over"]);

/**
 * Takes an agent's state into the tables and answers the datasets of which something has changed. A complete
 * report makes what it does not contain forgotten, but only once its end has arrived.
 */
export function takeState(node: NodeEntry, message: StateMessage, datasets: DatasetTable): Set<DatasetId> {
  const changed = new Set<DatasetId>();
  if (message.complete?.begins === true) node.arriving = new Set();
  for (const report of message.datasets) {
    node.arriving?.add(report.dataset);
    if (takeReport(node, report, datasets)) changed.add(report.dataset);
  }
  for (const dataset of message.gone) {
    node.arriving?.delete(dataset);
    if (forgetReport(node, dataset, datasets)) changed.add(dataset);
  }
  if (message.complete?.ends === true && node.arriving !== null) {
    for (const dataset of node.reported)
      if (!node.arriving.has(dataset) && forgetReport(node, dataset, datasets)) changed.add(dataset);
    node.arriving = null;
    node.hasReported = true;
  }
  return changed;
}

function takeReport(node: NodeEntry, report: DatasetReport, datasets: DatasetTable): boolean {
  const entry = datasets.entryFor(report.dataset);
  const id = node.known.node;
  const before = entry.reports.get(id);
  entry.reports.set(id, report);
  node.reported.add(report.dataset);
  const isTransferOver = entry.transfer?.from === id && !sendingActions.has(report.activity?.action ?? "");
  if (isTransferOver) entry.transfer = null;
  // An agent that connects again says all it has: what is the same is no news.
  return before === undefined || isTransferOver || JSON.stringify(before) !== JSON.stringify(report);
}

function forgetReport(node: NodeEntry, dataset: DatasetId, datasets: DatasetTable): boolean {
  node.reported.delete(dataset);
  const entry = datasets.get(dataset);
  const id: NodeId = node.known.node;
  if (entry === undefined || !entry.reports.delete(id)) return false;
  if (entry.transfer?.from === id) entry.transfer = null;
  return true;
}
