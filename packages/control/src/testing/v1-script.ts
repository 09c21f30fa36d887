import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

/** The scripts, in an order in which one server that is empty at first can be put through all of them. */
export const scriptNames = [
  "v1-datasets",
  "v1-leases",
  "v1-http",
  "v1-state",
  "v1-containers",
  "v1-compose",
] as const;

/** Reads a script of `http/testdata/`. */
export function readScript(name: (typeof scriptNames)[number]): readonly Step[] {
  const file = new URL(`../http/testdata/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(file, "utf8")) as Step[];
}

/** One step of a script in testdata/: a request and what has to be answered. */
export interface Step {
  readonly name: string;
  readonly request: {
    readonly method: string;
    readonly path: string;
    readonly headers?: Readonly<Record<string, string>>;
    readonly json?: unknown;
    readonly text?: string;
  };
  readonly answer: {
    readonly status: number;
    /** Null: must not be there. */
    readonly headers?: Readonly<Record<string, string | null>>;
    /** The body as JSON; the order of members does not matter. */
    readonly json?: unknown;
    /** The body, byte by byte. */
    readonly text?: string;
    readonly contains?: string;
  };
  /** Keeps a header of the answer, to stand for `$name` from here on. */
  readonly keep?: Readonly<Record<string, string>>;
  /**
   * What of the world the step needs: a node that reports (`$node` and its `$address`), its era (`$era`), or
   * that there is no node.
   */
  readonly needs?: "node" | "era" | "no-node";
  /** What the original Flocker answers, where we have decided otherwise; on it, the step is left out. */
  readonly original?: string;
}

/** Why a step cannot be played with what is known of the server; undefined where it can. */
export function unmetNeed({ needs }: Step, variables: ReadonlyMap<string, string>): string | undefined {
  if (needs === "node" && !variables.has("node")) return "the server has no node that reports";
  if (needs === "era" && !variables.has("era")) return "no node's era is known";
  if (needs === "no-node" && variables.has("node")) return "the server has nodes";
  return undefined;
}

export interface Sent {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
}

export interface Received {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
}

/**
 * Plays one step against whatever server `send` reaches. `variables` go from step to step: those kept, and
 * always `tag`, the last X-Configuration-Tag that was asked for.
 */
export async function playStep(
  step: Step,
  variables: Map<string, string>,
  send: (request: Sent) => Promise<Received>,
): Promise<{ readonly sent: Sent; readonly received: Received }> {
  const { method, path, headers = {}, json, text } = step.request;
  const fill = (value: string): string =>
    value.replaceAll(/\$(\w+)/g, (all, name: string) => variables.get(name) ?? all);
  const sent: Sent = {
    method,
    path: fill(path),
    headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, fill(value)])),
    body: json === undefined ? text : fill(JSON.stringify(json)),
  };
  const received = await send(sent);
  const { answer } = step;
  assert.equal(received.status, answer.status, received.body);
  for (const [name, value] of Object.entries(answer.headers ?? {})) {
    if (value === "$tag") assert.match(String(received.headers[name]), /^[0-9a-f]{32,64}$/);
    else assert.equal(received.headers[name] ?? null, value, name);
  }
  if (answer.text !== undefined) assert.equal(received.body, fill(answer.text));
  if (answer.contains !== undefined) assert.ok(received.body.includes(fill(answer.contains)), received.body);
  if (answer.json !== undefined) {
    assert.equal(received.headers["content-type"], "application/json");
    assertFits(JSON.parse(received.body), answer.json, fill);
  }
  for (const [name, header] of Object.entries(step.keep ?? {}))
    variables.set(name, String(received.headers[header]));
  return { sent, received };
}

/**
 * Equal, where `$uuid` and `$any` stand for what cannot be known, and `$mismatch TAG` for the refusal of that
 * tag.
 */
function assertFits(actual: unknown, expected: unknown, fill: (value: string) => string): void {
  if (typeof expected === "string" && expected.startsWith("$mismatch ")) {
    const required = fill(expected.slice("$mismatch ".length));
    assert.match(String(actual), /^Tag doesn't match\. Required: .*, current: [0-9a-f]{32,64}$/);
    assert.ok(
      String(actual).startsWith(`Tag doesn't match. Required: ${required}, current: `),
      String(actual),
    );
  } else if (expected === "$any") assert.equal(typeof actual, "string");
  else if (expected === "$uuid") assert.match(String(actual), /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  else if (Array.isArray(expected) && Array.isArray(actual)) {
    assert.equal(actual.length, expected.length, JSON.stringify(actual));
    for (const [index, item] of expected.entries()) assertFits(actual[index], item, fill);
  } else if (
    typeof expected === "object" &&
    expected !== null &&
    typeof actual === "object" &&
    actual !== null
  ) {
    assert.deepEqual(Object.keys(actual).toSorted(), Object.keys(expected).toSorted());
    for (const [key, item] of Object.entries(expected)) {
      const value = (actual as Readonly<Record<string, unknown>>)[key];
      // The faults of a body come in no order.
      if (key === "errors") assertFits(sorted(value), sorted(item), fill);
      else assertFits(value, item, fill);
    }
  } else assert.deepEqual(actual, typeof expected === "string" ? fill(expected) : expected);
}

function sorted(list: unknown): unknown {
  return Array.isArray(list) ? list.map(String).toSorted((a, b) => (a < b ? -1 : 1)) : list;
}
