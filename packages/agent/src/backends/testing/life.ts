import type { Abort, Commands } from "@flocker/core";
import { failure, ProblemError } from "@flocker/core";
import { systemCommands } from "@flocker/host";

import { nodeFiles, type Files } from "../files.ts";

/** The agent's process, as far as the backend can tell: once it is dead, nothing that it asks for happens. */
export interface Life {
  readonly files: Files;
  readonly commands: Commands;
  /** How many operations it has asked for. */
  operations(): number;
  /** Lets it do so many more operations; the next one is not done, and none after it. */
  dieAfter(operations: number): void;
  isDead(): boolean;
  die(): void;
}

/** A life that ends only when it is told to. Its commands are those of a machine, of this one unless told. */
export function newLife(machine: Commands = systemCommands): Life {
  let count = 0;
  let lastOperation = Number.POSITIVE_INFINITY;
  const death = new AbortController();
  const step = (): void => {
    if (count >= lastOperation) death.abort();
    if (death.signal.aborted) throw Object.assign(new Error("the agent is dead"), { code: "EIO" });
    count += 1;
  };
  const files: Files = {
    ...stepping(nodeFiles, step),
    read: (path) => nodeFiles.read(path),
    async createFile(path) {
      step();
      return stepping(await nodeFiles.createFile(path), step);
    },
  };
  const untilDeath = (abort: Abort | undefined): AbortSignal =>
    AbortSignal.any(abort instanceof AbortSignal ? [abort, death.signal] : [death.signal]);
  const commands: Commands = {
    async run(argv, options) {
      try {
        step();
      } catch {
        return failure("command-failed", "the agent is dead", "none");
      }
      return await machine.run(argv, { ...options, abort: untilDeath(options.abort) });
    },
    async *stream(argv, options) {
      try {
        step();
      } catch {
        throw new ProblemError({ code: "command-failed", message: "the agent is dead", remedy: "none" });
      }
      yield* machine.stream(argv, { ...options, abort: untilDeath(options.abort) });
    },
  };
  return {
    files,
    commands,
    operations: () => count,
    dieAfter: (operations) => {
      lastOperation = count + operations;
    },
    isDead: () => death.signal.aborted,
    die: () => death.abort(),
  };
}

/** The same object, whose every method first takes a step, which may throw. */
function stepping<Methods extends object>(methods: Methods, step: () => void): Methods {
  const wrapped = Object.entries(methods).map(([name, method]: [string, (...args: never[]) => unknown]) => [
    name,
    // The kernel closes the files of a dead process.
    name === "close"
      ? method
      : async (...args: never[]) => {
          step();
          return await method(...args);
        },
  ]);
  return Object.fromEntries(wrapped) as Methods;
}
