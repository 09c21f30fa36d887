import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import type { ContainerConfiguration, DatasetConfiguration, Lease } from "@flocker/core";
import {
  sampleBirth,
  sampleContainer,
  sampleDataset,
  sampleDatasetId,
  sampleLease,
  sampleNodeId,
} from "./sample-values.ts";
import { storeConformance } from "./store-conformance.ts";
import { storeUnderTest } from "./store-fixtures.test.ts";
import type { Change, ConfigurationStore, StoredConfiguration } from "./store.ts";

storeConformance("SQLite in a file", () => storeUnderTest("file"), { outlivesProcess: true });
storeConformance("SQLite in memory", () => storeUnderTest("memory"), { outlivesProcess: false });

type Step =
  | { readonly do: "put"; readonly number: number; readonly size: number }
  | { readonly do: "lease"; readonly number: number; readonly node: number }
  | { readonly do: "run"; readonly number: number; readonly node: number }
  | { readonly do: "release" | "stop"; readonly number: number };

const number = fc.integer({ min: 1, max: 5 });
const step = fc.oneof(
  fc.record({ do: fc.constant("put" as const), number, size: fc.nat(100) }),
  fc.record({ do: fc.constant("lease" as const), number, node: fc.integer({ min: 1, max: 3 }) }),
  fc.record({ do: fc.constant("run" as const), number, node: fc.integer({ min: 1, max: 3 }) }),
  fc.record({ do: fc.constantFrom("release" as const, "stop" as const), number }),
);
const action = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("commit" as const),
      steps: fc.array(step, { minLength: 1, maxLength: 4 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("wrong" as const), offset: fc.constantFrom(-1, 1, 7) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("reopen" as const) }) },
);

/** The trivial model: every configuration that there ever was. */
class Model {
  readonly states: Omit<StoredConfiguration, "tag">[] = [
    { revision: 0, datasets: [], leases: [], containers: [] },
  ];
  readonly #datasets = new Map<string, DatasetConfiguration>();
  readonly #leases = new Map<string, Lease>();
  readonly #containers = new Map<string, ContainerConfiguration>();

  changesOf(steps: readonly Step[]): readonly Change[] {
    const revision = this.states.length;
    const changes = steps.map((one): Change => {
      const dataset = sampleDatasetId(one.number);
      switch (one.do) {
        case "put": {
          const value = sampleDataset(one.number, { maximumSizeBytes: one.size, revision });
          const isNew = !this.#datasets.has(dataset);
          this.#datasets.set(dataset, value);
          return isNew
            ? { ...sampleBirth(one.number), kind: "put-dataset", value }
            : { kind: "put-dataset", value };
        }
        case "lease": {
          const value = sampleLease(one.number, { node: sampleNodeId(one.node) });
          this.#leases.set(dataset, value);
          return { kind: "put-lease", value };
        }
        case "release":
          this.#leases.delete(dataset);
          return { kind: "remove-lease", dataset };
        case "run": {
          const value = sampleContainer(one.number, { node: sampleNodeId(one.node) });
          this.#containers.set(value.name, value);
          return { kind: "put-container", value };
        }
        case "stop": {
          const { name } = sampleContainer(one.number);
          this.#containers.delete(name);
          return { kind: "remove-container", name };
        }
      }
    });
    const leases = [...this.#leases.values()].toSorted((a, b) => (a.dataset < b.dataset ? -1 : 1));
    const containers = [...this.#containers.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
    this.states.push({ revision, datasets: [...this.#datasets.values()], leases, containers });
    return changes;
  }
}

function withoutTag({ tag: _tag, ...rest }: StoredConfiguration): Omit<StoredConfiguration, "tag"> {
  return rest;
}

function checkEveryRevision(store: ConfigurationStore, model: Model, tags: readonly string[]): void {
  assert.deepEqual(withoutTag(store.current()), model.states.at(-1));
  model.states.forEach((state, revision) => {
    const read = store.readAt(revision);
    assert.ok(read.ok);
    assert.deepEqual(withoutTag(read.value), state);
    assert.equal(read.value.tag, tags[revision]);
  });
  assert.equal(new Set(tags).size, tags.length, "no tag comes twice");
}

suite("the store against a model", () => {
  for (const kind of ["memory", "file"] as const) {
    test(`random commits, refused commits and reopening, ${kind}`, () => {
      fc.assert(
        fc.property(fc.array(action, { maxLength: 25 }), (actions) => {
          const under = storeUnderTest(kind);
          let { store } = under;
          try {
            const model = new Model();
            const tags = [store.current().tag];
            for (const one of actions) {
              const revision = model.states.length - 1;
              if (one.do === "commit") {
                const changes = model.changesOf(one.steps);
                const done = store.commit({ expectedRevision: revision, changes, author: "user-a", at: 1 });
                assert.ok(done.ok);
                assert.equal(done.value.revision, revision + 1);
                tags.push(done.value.tag);
              } else if (one.do === "wrong") {
                const changes: Change[] = [{ kind: "put-lease", value: sampleLease(1) }];
                const expectedRevision = revision + one.offset;
                const refused = store.commit({ expectedRevision, changes, author: "user-a", at: 1 });
                assert.equal(refused.ok ? "" : refused.problem.code, "revision-mismatch");
              } else if (kind === "file") {
                store = under.reopen();
              }
              assert.equal(store.current().tag, tags.at(-1));
            }
            checkEveryRevision(store, model, tags);
          } finally {
            under.dispose();
          }
        }),
        { numRuns: kind === "memory" ? 150 : 25 },
      );
    });
  }
});
