import { suite, test, type TestContext } from "node:test";

import type { Backend, DatasetId } from "@flocker/core";

import { lifecycleRules } from "./conformance/lifecycle-rules.ts";
import { mountRules } from "./conformance/mount-rules.ts";
import { refusalRules } from "./conformance/refusal-rules.ts";
import { snapshotRules } from "./conformance/snapshot-rules.ts";
import { interruptionRules } from "./conformance/interruption-rules.ts";
import { resumeRules } from "./conformance/resume-rules.ts";
import { transferRules } from "./conformance/transfer-rules.ts";
import { trashRules } from "./conformance/trash-rules.ts";
import { unreadableRules } from "./conformance/unreadable-rules.ts";
import { World } from "./conformance/world.ts";

/**
 * Something that a harness can do, or the reason why it cannot; tests that need it are then skipped with
 * that.
 */
export type IfPossible<Ability> = Ability | { readonly notPossible: string };

/** Undoes what an ability of the harness has done. */
export type Release = () => Promise<void>;

/** One node's storage, with what a test does to it from outside. */
export interface BackendNode {
  /** The backend on this storage; after {@link reopen} another one. */
  readonly backend: Backend;
  /** The agent dies, as far as the backend can tell, and a new one starts on the same storage. */
  reopen(): Promise<void>;
  /** Writes a file in a mounted copy; folders on the way are made. Throws where the system refuses. */
  write(dataset: DatasetId, path: string, content: Uint8Array): Promise<void>;
  /** Removes a file in a mounted copy. */
  remove(dataset: DatasetId, path: string): Promise<void>;
  /** All files in a mounted copy: path → content. */
  files(dataset: DatasetId): Promise<ReadonlyMap<string, Uint8Array>>;
  /**
   * Uses a mounted copy, as a program with an open file does. `who` must be named by the `busy-mount`
   * problem.
   */
  readonly hold: IfPossible<
    (dataset: DatasetId) => Promise<{ readonly who: string; readonly release: Release }>
  >;
  /** Makes a copy's record impossible to understand. */
  readonly breakRecord: IfPossible<(dataset: DatasetId) => Promise<Release>>;
  /** Makes the whole storage impossible to read, as when its disk is gone. */
  readonly breakStorage: IfPossible<() => Promise<Release>>;
  /** Leaves less than 4 MiB free. */
  readonly fillDisk: IfPossible<() => Promise<Release>>;
}

/** Three nodes with fresh, empty storage, able to send to each other. */
export interface BackendHarness {
  readonly nodes: readonly [BackendNode, BackendNode, BackendNode];
  dispose(): Promise<void>;
}

/** A rule that every backend keeps. */
export type Rule = (world: World, context: TestContext) => Promise<void>;

/** Rules by their name, which is the sentence that they prove. */
export type Rules = Readonly<Record<string, Rule>>;

const chapters: Readonly<Record<string, Rules>> = {
  "birth and record": lifecycleRules,
  refusals: refusalRules,
  "unreadable is not absent": unreadableRules,
  mounting: mountRules,
  snapshots: snapshotRules,
  transfer: transferRules,
  "broken transfers": interruptionRules,
  "resumed transfers": resumeRules,
  trash: trashRules,
};

/**
 * Registers the tests that every backend passes, for `node --test`. `make` gives a fresh harness to each
 * test. What differs between backends follows from their declared capabilities. `chosen` picks rules by their
 * sentence and chapter, for a second harness that can do something which the first cannot.
 */
export function backendConformance(
  name: string,
  make: () => Promise<BackendHarness>,
  chosen: (sentence: string, chapter: string) => boolean = () => true,
): void {
  void suite(`the ${name} backend`, () => {
    for (const [chapter, rules] of Object.entries(chapters)) {
      const those = Object.entries(rules).filter(([sentence]) => chosen(sentence, chapter));
      if (those.length === 0) continue;
      void suite(chapter, () => {
        for (const [sentence, rule] of those) {
          void test(sentence, async (context) => {
            const harness = await make();
            try {
              await rule(new World(harness), context);
            } finally {
              await harness.dispose();
            }
          });
        }
      });
    }
  });
}
