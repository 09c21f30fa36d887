import { datasetName, failure, success, type NodeId, type Result } from "@flocker/core";
import type { DatasetView } from "../cluster/cluster.ts";

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
 * One page of a list. The cursor names the last dataset of the page before; where that is gone meanwhile, it goes on at its
 * place in the order.
 */
export function datasetPage(
  views: Iterable<DatasetView>,
  filter: DatasetFilter,
  page: { readonly limit: number; readonly cursor: string | undefined },
): Result<DatasetPage> {
  const all = [...views];
  const start = page.cursor === undefined ? 0 : startAfter(all, page.cursor);
  if (start === undefined) {
    return failure(
      "bad-request",
      "The cursor is not one that this API gave.",
      "Give `next_cursor` of the page before as it came, or leave it out to begin at the start.",
      "cursor",
    );
  }
  const chosen: DatasetView[] = [];
  let end = start;
  for (const [index, view] of all.entries()) {
    if (index < start || !matches(view, filter)) continue;
    if (chosen.length === page.limit) return success({ views: chosen, nextCursor: cursorAfter(all, end) });
    chosen.push(view);
    end = index + 1;
  }
  return success({ views: chosen, nextCursor: null });
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

/** `end` counts the datasets up to the last of the page, that one included. */
function cursorAfter(all: readonly DatasetView[], end: number): string {
  return Buffer.from(`${end} ${all[end - 1]?.dataset}`).toString("base64url");
}

function startAfter(all: readonly DatasetView[], cursor: string): number | undefined {
  const match = /^(\d{1,9}) ([0-9a-f-]{36})$/.exec(Buffer.from(cursor, "base64url").toString("latin1"));
  if (match === null) return undefined;
  const end = Number(match[1]);
  if (all[end - 1]?.dataset === match[2]) return end;
  const found = all.findIndex((view) => view.dataset === match[2]);
  return found < 0 ? end : found + 1;
}
