import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { Result } from "@flocker/core";
import {
  sampleBirth,
  sampleContainer,
  sampleDataset,
  sampleDatasetId,
  sampleLease,
  sampleNode,
  sampleNodeId,
  sampleOwnership,
} from "./sample-values.ts";
import type { Change, Commit, ConfigurationStore } from "./store.ts";

/** A store to be tested, with what the test cannot do itself. */
export interface StoreUnderTest {
  readonly store: ConfigurationStore;
  /** Closes the store and opens what it kept. */
  reopen(): ConfigurationStore;
  /** Opens another store from the file that `backup` wrote, and a name for such a file. */
  readonly backups: { readonly path: string; open(path: string): ConfigurationStore };
  /** Closes everything and removes what was written. */
  dispose(): void;
}

const author = "user-alice";

/** The value of a result that must be a success. */
function valueOf<Value>(result: Result<Value>): Value {
  assert.ok(result.ok, result.ok ? "" : `${result.problem.code}: ${result.problem.message}`);
  return result.value;
}

function commit(store: ConfigurationStore, changes: readonly Change[], at = 5_000) {
  return valueOf(store.commit({ expectedRevision: null, changes, author, at }));
}

/**
 * What every configuration store must do, as tests: run it with a function that opens an empty store. It
 * checks revisions, tags, history, configuration as of a revision, ownership records, watching, backups and
 * reopening.
 */
export function storeConformance(
  name: string,
  open: () => StoreUnderTest,
  options: { readonly outlivesProcess: boolean },
): void {
  const check = (rule: string, body: (under: StoreUnderTest) => void | Promise<void>): void =>
    void test(rule, async () => {
      const under = open();
      try {
        await body(under);
      } finally {
        under.dispose();
      }
    });
  void suite(`configuration store: ${name}`, () => {
    commitRules(check);
    valueRules(check);
    historyRules(check);
    watchRules(check);
    recordRules(check);
    backupRules(check);
    if (options.outlivesProcess) reopeningRules(check);
  });
}

type Check = (rule: string, body: (under: StoreUnderTest) => void | Promise<void>) => void;

function commitRules(check: Check): void {
  check("an empty store is at revision 0 and has a tag", ({ store }) => {
    const { tag, ...rest } = store.current();
    assert.deepEqual(rest, { revision: 0, datasets: [], leases: [], containers: [] });
    assert.match(tag, /^[0-9a-f]{32}$/);
    assert.match(store.clusterId, /^[0-9a-f-]{36}$/);
  });

  check("each commit raises the revision by one and changes the tag", ({ store }) => {
    const tags = new Set([store.current().tag]);
    for (let number = 1; number <= 20; number += 1) {
      const { revision, tag } = commit(store, [sampleBirth(number)]);
      assert.equal(revision, number);
      assert.equal(store.current().tag, tag);
      tags.add(tag);
    }
    // The same values again are another commit, so another tag.
    tags.add(commit(store, [{ kind: "put-lease", value: sampleLease(1) }]).tag);
    tags.add(commit(store, [{ kind: "put-lease", value: sampleLease(1) }]).tag);
    assert.equal(tags.size, 23);
  });

  check(
    "datasets come in the order of their creation, with the revision that changed them last",
    ({ store }) => {
      commit(store, [sampleBirth(7), sampleBirth(3)]);
      commit(store, [sampleBirth(5)]);
      commit(store, [
        { kind: "put-dataset", value: sampleDataset(7, { maximumSizeBytes: null, revision: 99 }) },
      ]);
      assert.deepEqual(store.current().datasets, [
        sampleDataset(7, { maximumSizeBytes: null, revision: 3 }),
        sampleDataset(3, { revision: 1 }),
        sampleDataset(5, { revision: 2 }),
      ]);
    },
  );

  check("a commit on another revision than the expected one changes nothing", ({ store }) => {
    commit(store, [sampleBirth(1)]);
    const before = store.current();
    for (const expectedRevision of [0, 2]) {
      const refused = store.commit({ expectedRevision, changes: [sampleBirth(2)], author, at: 1 });
      assert.equal(refused.ok ? "" : refused.problem.code, "revision-mismatch");
    }
    assert.deepEqual(store.current(), before);
    assert.equal(store.history(0, 10).length, 1);
    assert.ok(store.commit({ expectedRevision: 1, changes: [sampleBirth(2)], author, at: 1 }).ok);
  });

  check("a change that cannot be made leaves nothing of its commit behind", ({ store }) => {
    commit(store, [sampleBirth(1)]);
    const before = store.current();
    const unborn: Change = { kind: "put-dataset", value: sampleDataset(3) };
    for (const wrong of [unborn, sampleBirth(1)])
      assert.throws(() => commit(store, [sampleBirth(2), wrong]), /a dataset is born with its first commit/);
    assert.throws(() => commit(store, []), /a commit changes something/);
    assert.deepEqual(store.current(), before);
    assert.equal(store.ownerships().length, 1);
    assert.equal(commit(store, [sampleBirth(2)]).revision, 2);
  });
}

function valueRules(check: Check): void {
  check("leases are put, replaced and removed; removing none is a commit like others", ({ store }) => {
    commit(store, [
      { kind: "put-lease", value: sampleLease(9) },
      { kind: "put-lease", value: sampleLease(4) },
    ]);
    commit(store, [{ kind: "put-lease", value: sampleLease(9, { expiresAt: 12.5 }) }]);
    assert.deepEqual(store.current().leases, [sampleLease(4), sampleLease(9, { expiresAt: 12.5 })]);
    commit(store, [{ kind: "remove-lease", dataset: sampleDatasetId(4) }]);
    commit(store, [{ kind: "remove-lease", dataset: sampleDatasetId(4) }]);
    assert.deepEqual(store.current().leases, [sampleLease(9, { expiresAt: 12.5 })]);
    assert.equal(store.current().revision, 4);
  });

  check("any text and any number of a configuration come back exactly", ({ store }) => {
    const value = sampleDataset(1, {
      metadata: { name: "ü\u0000'\"\\\n😀", "": "", ["k".repeat(256)]: "v".repeat(256) },
      maximumSizeBytes: Number.MAX_SAFE_INTEGER,
      deletion: { at: 1.5, graceEndsAt: 2 ** 52, purged: true },
    });
    commit(store, [{ kind: "put-dataset", value, birth: sampleOwnership(1) }]);
    assert.deepEqual(store.current().datasets, [{ ...value, revision: 1 }]);
  });

  check("containers are kept whole, in the order of their names, until they are removed", ({ store }) => {
    const full = sampleContainer(1, {
      restartPolicy: { name: "on-failure", maximumRetryCount: 3 },
      ports: [{ internal: 80, external: 8080 }],
      links: [{ alias: "db", localPort: 1, remotePort: 2 }],
      volume: { dataset: sampleDatasetId(1), mountpoint: "/data" },
      environment: { "": "ü", A: "\u0000" },
      commandLine: ["", "x y"],
      memoryLimitBytes: 2 ** 30,
      cpuShares: 1024,
      swappiness: 100,
    });
    const other = sampleContainer(0);
    const { tag } = store.current();
    commit(
      store,
      [full, other].map((value): Change => ({ kind: "put-container", value })),
    );
    assert.deepEqual(store.current().containers, [other, full]);
    assert.notEqual(store.current().tag, tag);
    const moved = { ...full, node: sampleNodeId(2) };
    commit(store, [
      { kind: "put-container", value: moved },
      { kind: "remove-container", name: other.name },
    ]);
    assert.deepEqual(store.current().containers, [moved]);
    assert.deepEqual(store.history(1, 1)[0]?.changes, [
      { kind: "container", name: full.name, before: full, after: moved },
      { kind: "container", name: other.name, before: other, after: null },
    ]);
  });
}

function historyRules(check: Check): void {
  check("history keeps who, when, and each value before and after", ({ store }) => {
    commit(store, [sampleBirth(1), { kind: "put-lease", value: sampleLease(2) }], 10);
    const moved = sampleDataset(1, { primary: sampleNodeId(2) });
    const changes: Change[] = [
      { kind: "put-dataset", value: moved },
      { kind: "remove-lease", dataset: sampleDatasetId(2) },
    ];
    valueOf(store.commit({ expectedRevision: 1, changes, author: "control-service", at: 20.5 }));
    const expected: Commit[] = [
      {
        revision: 1,
        author,
        at: 10,
        changes: [
          { kind: "dataset", before: null, after: sampleDataset(1, { revision: 1 }) },
          { kind: "lease", dataset: sampleDatasetId(2), before: null, after: sampleLease(2) },
        ],
      },
      {
        revision: 2,
        author: "control-service",
        at: 20.5,
        changes: [
          { kind: "dataset", before: sampleDataset(1, { revision: 1 }), after: { ...moved, revision: 2 } },
          { kind: "lease", dataset: sampleDatasetId(2), before: sampleLease(2), after: null },
        ],
      },
    ];
    assert.deepEqual(store.history(0, 10), expected);
    assert.deepEqual(store.history(1, 10), expected.slice(1));
    assert.deepEqual(store.history(0, 1), expected.slice(0, 1));
    assert.deepEqual(store.history(2, 10), []);
  });

  check("the configuration can be read as of every revision, and of no other", ({ store }) => {
    const states = [store.current()];
    for (let number = 1; number <= 6; number += 1) {
      commit(store, [
        sampleBirth(number),
        { kind: "put-lease", value: sampleLease(number) },
        { kind: "put-container", value: sampleContainer(number) },
      ]);
      states.push(store.current());
      commit(store, [
        { kind: "put-dataset", value: sampleDataset(number, { metadata: { step: "2" } }) },
        { kind: "put-dataset", value: sampleDataset(1, { metadata: { step: String(number) } }) },
        { kind: "remove-lease", dataset: sampleDatasetId(number) },
        { kind: "remove-container", name: `container-${number - 1}` },
      ]);
      states.push(store.current());
    }
    states.forEach((state, revision) => assert.deepEqual(valueOf(store.readAt(revision)), state));
    for (const none of [-1, 13, 0.5, Number.NaN]) {
      const result = store.readAt(none);
      assert.equal(result.ok ? "" : result.problem.code, "not-found");
    }
  });
}

function watchRules(check: Check): void {
  check("watchers hear of each commit, in order, after it is durable, until they stop", ({ store }) => {
    const heard: Commit[] = [];
    const revisions: number[] = [];
    store.watch((commit) => {
      assert.ok(store.current().revision >= commit.revision);
      // What a watcher commits comes after, for everybody.
      if (commit.revision === 1) void store.commit({ ...request, changes: [sampleBirth(2)] });
    });
    const stop = store.watch((commit) => {
      heard.push(commit);
      revisions.push(commit.revision);
    });
    const request = { expectedRevision: null, author, at: 1 };
    commit(store, [sampleBirth(1)]);
    store.commit({ ...request, expectedRevision: 0, changes: [sampleBirth(3)] });
    commit(store, [sampleBirth(4)]);
    stop();
    commit(store, [sampleBirth(5)]);
    assert.deepEqual(revisions, [1, 2, 3]);
    assert.deepEqual(heard, store.history(0, 3));
  });
}

function recordRules(check: Check): void {
  check("a dataset's ownership record is made by the commit that creates it, and only rises", ({ store }) => {
    commit(store, [sampleBirth(1), sampleBirth(2)]);
    assert.deepEqual(store.ownerships(), [sampleOwnership(1), sampleOwnership(2)]);
    const raised = sampleOwnership(1, { epoch: { term: 1, step: 3 }, owner: sampleNodeId(2), born: true });
    const born = sampleOwnership(2, { born: true });
    const { revision } = store.current();
    store.saveOwnerships([raised, born]);
    assert.deepEqual(store.ownerships(), [raised, born]);
    assert.equal(store.current().revision, revision);
    const next = sampleOwnership(2, { epoch: { term: 2, step: 0 }, born: true });
    const older = { ...raised, epoch: { term: 1, step: 2 } };
    assert.throws(() => store.saveOwnerships([next, older]), /never gets older/);
    assert.throws(() => store.saveOwnerships([sampleOwnership(2)]), /a birth is never undone/);
    assert.throws(() => store.saveOwnerships([sampleOwnership(3)]), /made with its dataset/);
    assert.deepEqual(store.ownerships(), [raised, born], "all of a call is kept, or nothing");
  });

  check("nodes are kept as they were saved last", ({ store }) => {
    store.saveNode(sampleNode(2));
    store.saveNode(sampleNode(1));
    store.saveNode(sampleNode(2, { name: "renamed", lastSeenAt: 2_000 }));
    assert.deepEqual(store.nodes(), [sampleNode(1), sampleNode(2, { name: "renamed", lastSeenAt: 2_000 })]);
    assert.equal(store.current().revision, 0);
  });
}

function reopeningRules(check: Check): void {
  check("what was kept is the same when the store is opened again", (under) => {
    const { store } = under;
    commit(store, [sampleBirth(2), sampleBirth(1), { kind: "put-lease", value: sampleLease(1) }]);
    commit(store, [{ kind: "put-dataset", value: sampleDataset(2, { maximumSizeBytes: null }) }]);
    store.saveOwnerships([sampleOwnership(1, { born: true })]);
    store.saveNode(sampleNode(1));
    commit(store, [{ kind: "put-container", value: sampleContainer(1) }]);
    const before = everything(store);
    const again = under.reopen();
    assert.deepEqual(everything(again), before);
    assert.equal(commit(again, [sampleBirth(3)]).revision, 4);
  });
}

function backupRules(check: Check): void {
  check("a backup holds the store as it was, and goes its own way from there", async ({ store, backups }) => {
    commit(store, [sampleBirth(1)]);
    store.saveNode(sampleNode(1));
    const before = everything(store);
    valueOf(await store.backup(backups.path));
    commit(store, [sampleBirth(2)]);
    const restored = backups.open(backups.path);
    try {
      assert.deepEqual(everything(restored), before);
      commit(restored, [sampleBirth(3)]);
      assert.equal(restored.current().revision, store.current().revision);
      assert.notEqual(restored.current().tag, store.current().tag);
    } finally {
      restored.close();
    }
    const refused = await store.backup(backups.path);
    assert.equal(refused.ok ? "" : refused.problem.code, "file-exists");
  });
}

function everything(store: ConfigurationStore) {
  return {
    clusterId: store.clusterId,
    current: store.current(),
    ownerships: store.ownerships(),
    nodes: store.nodes(),
    history: store.history(0, 1_000),
  };
}
