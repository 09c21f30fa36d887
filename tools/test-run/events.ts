import { AssertionError } from "node:assert";
import { inspect } from "node:util";
import type { TestEvent } from "node:test/reporters";

/** One line of what a test process writes about its tests. */
export type TestLine =
  | { readonly kind: "started"; readonly file: string; readonly name: string; readonly nesting: number }
  | { readonly kind: "completed"; readonly file: string; readonly name: string; readonly nesting: number }
  | {
      readonly kind: "result";
      readonly file: string;
      readonly name: string;
      readonly nesting: number;
      readonly outcome: "passed" | "failed" | "skipped";
      readonly suite: boolean;
      /** Why it was skipped; null where the test does not say. */
      readonly skipReason: string | null;
      /** The error as text, for a failed one. */
      readonly error: string | null;
      readonly line: number | null;
    }
  | { readonly kind: "finished" };

/**
 * A reporter for node:test that writes one JSON object a line, so that the runner can tell exactly what
 * happened in a process, even in one that it had to kill.
 */
// oxlint-disable-next-line import/no-default-export -- node takes a reporter's default export
export default async function* writeTestLines(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of events) {
    const line = toLine(event);
    if (line !== null) yield `${JSON.stringify(line)}\n`;
  }
}

function toLine(event: TestEvent): TestLine | null {
  switch (event.type) {
    case "test:dequeue":
    case "test:complete": {
      const { name, nesting, file = "" } = event.data;
      return { kind: event.type === "test:dequeue" ? "started" : "completed", file, name, nesting };
    }
    case "test:pass":
    case "test:fail":
      return resultOf(event);
    case "test:summary":
      // Processes that run several files write one summary per file and one without a file at the end.
      return { kind: "finished" };
    default:
      return null;
  }
}

function resultOf(event: Extract<TestEvent, { type: "test:pass" | "test:fail" }>): TestLine | null {
  const { name, nesting, file = "", line = null, details } = event.data;
  const suite = details.type === "suite";
  const base = { kind: "result", file, name, nesting, suite, line, skipReason: null, error: null } as const;
  const { skip, todo } = event.data;
  if (skip !== undefined && skip !== false) {
    return { ...base, outcome: "skipped", skipReason: typeof skip === "string" && skip !== "" ? skip : null };
  }
  if (todo !== undefined && todo !== false) {
    const reason = typeof todo === "string" && todo !== "" ? `to do: ${todo}` : null;
    return { ...base, outcome: "skipped", skipReason: reason };
  }
  if (event.type === "test:pass") return { ...base, outcome: "passed" };
  const error = event.data.details.error;
  // A parent fails with its children; only the child's own failure is news.
  if ((error as { failureType?: string }).failureType === "subtestsFailed") return null;
  return { ...base, outcome: "failed", error: describeError(error.cause ?? error) };
}

function describeError(error: unknown): string {
  // An assertion's message has the difference in it; its properties would only show it again.
  if (error instanceof AssertionError) return error.stack ?? error.message;
  return inspect(error, { depth: 6 });
}
