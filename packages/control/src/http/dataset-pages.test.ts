import assert from "node:assert/strict";
import { test } from "node:test";
import type { DatasetId } from "@flocker/core";
import type { DatasetView } from "../cluster/cluster.ts";
import { datasetPage, type DatasetFilter, type DatasetPage } from "./dataset-pages.ts";

const all: DatasetFilter = { name: undefined, node: undefined, deleted: "any", converged: undefined };

/** Datasets by number; those from 100 on are copies that nobody configured. */
function listOf(numbers: readonly number[]) {
  let looks = 0;
  const views = new Map<DatasetId, DatasetView>();
  for (const number of numbers) {
    const dataset = `16bc5d94-95ad-4d80-ae1d-${String(number).padStart(12, "0")}` as DatasetId;
    const configuration =
      number >= 100
        ? null
        : {
            dataset,
            primary: dataset as never,
            maximumSizeBytes: null,
            metadata: {},
            deletion: null,
            revision: 1,
          };
    views.set(dataset, {
      dataset,
      configuration,
      ownership: null,
      conflict: false,
      lease: null,
      reports: [],
      transfer: null,
      reasons: [],
      converged: number % 2 === 0,
    });
  }
  return {
    *datasets() {
      for (const view of views.values()) {
        looks += 1;
        yield view;
      }
    },
    dataset: (dataset: DatasetId) => views.get(dataset),
    looks: () => looks,
  };
}

function pageOf(
  numbers: readonly number[],
  cursor?: string | null,
  filter: DatasetFilter = all,
): DatasetPage & { readonly shown: readonly number[] } {
  const page = datasetPage(listOf(numbers), filter, { limit: 3, cursor: cursor ?? undefined });
  assert.ok(page.ok);
  return { ...page.value, shown: page.value.views.map((view) => Number(view.dataset.slice(-12))) };
}

test("pages follow each other without gaps or repetitions, filtered or not", () => {
  for (const converged of [undefined, true, false]) {
    for (const length of [0, 1, 2, 3, 4, 5, 6, 7, 13]) {
      const numbers = Array.from({ length }, (_, index) => index + 1);
      const shown: number[] = [];
      let cursor: string | null | undefined;
      for (let pages = 0; cursor !== null; pages += 1) {
        assert.ok(pages < 6);
        const page = pageOf(numbers, cursor, { ...all, converged });
        shown.push(...page.shown);
        cursor = page.nextCursor;
      }
      const expected = numbers.filter(
        (number) => converged === undefined || (number % 2 === 0) === converged,
      );
      assert.deepEqual(shown, expected);
    }
  }
});

test("a page goes on after its cursor's dataset, although copies without a configuration come and go", () => {
  const { nextCursor, shown } = pageOf([1, 100, 101, 102, 103]);
  assert.deepEqual(shown, [1, 100, 101]);
  assert.deepEqual(pageOf([1, 2, 100, 101, 102, 103], nextCursor).shown, [102, 103]);
  assert.deepEqual(pageOf([1, 101, 102, 103], nextCursor).shown, [102, 103]);
  // Where the cursor's own dataset is gone, it goes on at its place.
  assert.deepEqual(pageOf([1, 100, 102, 103], nextCursor).shown, [103]);
  assert.deepEqual(pageOf([1], nextCursor).shown, []);
});

test("a dataset that is created between two pages comes at the end", () => {
  const { nextCursor } = pageOf([1, 2, 3, 4]);
  assert.deepEqual(pageOf([1, 2, 3, 4, 5], nextCursor).shown, [4, 5]);
});

test("what stands behind the page is not looked at", () => {
  const list = listOf(Array.from({ length: 99 }, (_, index) => index + 1));
  assert.ok(datasetPage(list, all, { limit: 3, cursor: undefined }).ok);
  assert.equal(list.looks(), 4);
});

test("a text that is no cursor is refused", () => {
  for (const cursor of ["", "x", "bm9wZQ", "\u0000", "a".repeat(1000)]) {
    const page = datasetPage(listOf([1]), all, { limit: 3, cursor });
    assert.ok(!page.ok);
    assert.deepEqual([page.problem.code, page.problem.field], ["bad-request", "cursor"]);
  }
});
