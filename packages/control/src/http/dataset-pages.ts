import { datasetName, failure, parseDatasetId, success, type NodeId, type Result } from "@flocker/core";
import type { Cluster, DatasetView } from "../cluster/cluster.ts";

/** Which datasets a list shows. */
export interface DatasetFilter {
  readonly name: string | undefined;
  /** Should hold it, or has a copy of it. */
  readonly node: NodeId | undefined;
  readonly deleted: "false" | "true" | "any";
  readonly converged: boolean | undefined;
}

export interface DatasetPage {
  readonly views: readonly DatasetView[];
  readonly nextCursor: string | null;
}

/**
 * One page of a list. The cursor names the last dataset of the page before; where that is gone meanwhile, it
 * goes on at its place in the order. Nothing behind the page is looked at, so that the first pages of long
 * lists are cheap.
 */
export function datasetPage(
  list: Pick<Cluster, "datasets" | "dataset">,
  filter: DatasetFilter,
  page: { readonly limit: number; readonly cursor: string | undefined },
): Result<DatasetPage> {
  const cursor = page.cursor === undefined ? startOfList : parseCursor(page.cursor);
  if (cursor === undefined) {
    return failure(
      "bad-request",
      "The cursor is not one that this API gave.",
      "Give `next_cursor` of the page before as it came, or leave it out to begin at the start.",
      "cursor",
    );
  }
  const views: DatasetView[] = [];
  let end = 0;
  let index = 0;
  const start = startAfter(list, cursor);
  for (const view of list.datasets()) {
    index += 1;
    if (index <= start || !matches(view, filter)) continue;
    const last = views.at(-1);
    if (last !== undefined && views.length === page.limit)
      return success({ views, nextCursor: writeCursor({ end, dataset: last.dataset }) });
    views.push(view);
    end = index;
  }
  return success({ views, nextCursor: null });
}

function matches(view: DatasetView, filter: DatasetFilter): boolean {
  const { configuration } = view;
  const isDeleted = configuration !== null && configuration.deletion !== null;
  if (filter.deleted !== "any" && isDeleted !== (filter.deleted === "true")) return false;
  if (filter.converged !== undefined && view.converged !== filter.converged) return false;
  if (filter.name !== undefined && (configuration === null || datasetName(configuration) !== filter.name))
    return false;
  const { node } = filter;
  return (
    node === undefined ||
    configuration?.primary === node ||
    view.reports.some(
      (one) => one.node === node && (one.report.copy !== null || one.report.unreadable !== null),
    )
  );
}

interface Cursor {
  /** How many datasets there were up to the last one of the page before, that one included. */
  readonly end: number;
  readonly dataset: string;
}

const startOfList: Cursor = { end: 0, dataset: "" };

/**
 * How many datasets stand before the page. Configured ones are in order of creation and never go, so their
 * places stay; copies that nobody configured come after them, and may go.
 */
function startAfter(list: Pick<Cluster, "datasets" | "dataset">, cursor: Cursor): number {
  const id = parseDatasetId(cursor.dataset);
  const last = id === undefined ? undefined : list.dataset(id);
  if (last === undefined || last.configuration !== null) return cursor.end;
  let index = 0;
  for (const { dataset } of list.datasets()) {
    index += 1;
    if (dataset === id) return index;
  }
  return cursor.end;
}

function writeCursor({ end, dataset }: Cursor): string {
  return Buffer.from(`${end} ${dataset}`).toString("base64url");
}

function parseCursor(text: string): Cursor | undefined {
  const match = /^(\d{1,9}) ([0-9a-f-]{36})$/.exec(Buffer.from(text, "base64url").toString("latin1"));
  return match === null ? undefined : { end: Number(match[1]), dataset: match[2] ?? "" };
}
