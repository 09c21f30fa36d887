import { existsSync, globSync, statSync } from "node:fs";
import { join, sep } from "node:path";

/**
 * Test files of which many share one process: their tests are pure, so nothing leaks from one into the next.
 */
const sharedPatterns = ["packages/core/src/**/*.test.ts", "packages/api/src/**/*.test.ts"];
/** Test files that get a process each: they use files, sockets, processes or the working directory. */
const separatePatterns = ["packages/*/src/**/*.test.ts", "tools/**/*.test.ts"];
/** Stories over real processes; they run last, when the quick tests have said what is wrong. */
const storyPatterns = ["test/**/*.test.ts"];
/** Tests with virtual machines take long, and have a command of their own: `npm run test:vm`. */
const machinePatterns = ["test/vm/**"];

/** What tests share is named so, so that it is left out of the build as tests are; it holds none itself. */
export const fixturesSuffix = "-fixtures.test.ts";

/** The bound after which a file's process is killed. */
const quickBoundMs = 240_000;
const storyBoundMs = 300_000;

/** Test files that run in one process, with the bound for all of them. */
export interface Job {
  readonly files: readonly string[];
  readonly boundMs: number;
}

/** What runs when: every job of a stage ends before the next stage begins. */
export type Stage = readonly Job[];

/** The test files below the root, as stages; with filters only those whose path contains one of them. */
export function planJobs(root: string, filters: readonly string[]): readonly Stage[] {
  const shared = find(root, sharedPatterns);
  const separate = find(root, separatePatterns).filter((file) => !shared.includes(file));
  const stories = find(root, storyPatterns);
  const wanted = (files: readonly string[]): string[] => files.filter((file) => matches(file, filters));
  // Large files first, as far as size tells time: a long one that starts last would run alone.
  const size = (file: string): number => statSync(join(root, file)).size;
  const stage = (files: readonly string[], boundMs: number): Job[] =>
    files.toSorted((a, b) => size(b) - size(a)).map((file) => ({ files: [file], boundMs }));
  const sharedWanted = wanted(shared);
  return [
    [
      ...(sharedWanted.length === 0 ? [] : [{ files: sharedWanted, boundMs: quickBoundMs }]),
      ...stage(wanted(separate), quickBoundMs),
    ],
    stage(wanted(stories), storyBoundMs),
  ];
}

function find(root: string, patterns: readonly string[]): string[] {
  if (!existsSync(root)) return [];
  return globSync([...patterns], {
    cwd: root,
    exclude: ["**/node_modules/**", "**/dist/**", ...machinePatterns],
  })
    .map((path) => path.split(sep).join("/"))
    .filter((path) => !path.endsWith(fixturesSuffix))
    .sort();
}

function matches(file: string, filters: readonly string[]): boolean {
  return filters.length === 0 || filters.some((filter) => file.includes(filter.replace(/^\.\//, "")));
}
