import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { v1Endpoints, type Endpoint } from "@flocker/api";
import { readScript, scriptNames, type Step } from "../testing/v1-script.ts";

// What the recorded cases cover: every endpoint with every status, and every text that the original's clients
// know.

const steps = scriptNames.flatMap(readScript);

function endpointOf({ request }: Step): string | undefined {
  const path = request.path.split("?")[0] ?? "";
  const method = request.method === "HEAD" ? "GET" : request.method;
  const found = Object.entries(v1Endpoints as Readonly<Record<string, Endpoint>>).find(
    ([, one]) =>
      one.method === method && new RegExp(`^${one.path.replaceAll(/\{\w+\}/g, "[^/]+")}$`).test(path),
  );
  return found?.[0];
}

const covered = new Set(steps.map((step) => `${endpointOf(step)} ${step.answer.status}`));

suite("each endpoint with each of its statuses has a case", () => {
  for (const [name, endpoint] of Object.entries(v1Endpoints as Readonly<Record<string, Endpoint>>))
    for (const status of Object.keys(endpoint.responses)) {
      // Our own mistakes cannot be called forth from outside; they have a test of their own.
      if (status === "500") continue;
      // A DELETE reads no body that could be wrong; only leases look at the form of the id.
      if (status === "400" && name === "deleteContainer") continue;
      test(`${name} ${status}`, () => assert.ok(covered.has(`${name} ${status}`)));
    }
});

/** The descriptions of the original's API, and the templates of those about files. */
const texts = [
  "The request body could not be decoded according to the value of the\nContent-Type header.",
  "The provided JSON doesn't match the required schema.",
  "The provided dataset_id is already in use.",
  "Dataset not found.",
  "The dataset has been deleted.",
  "$mismatch ",
  "Lease already held.",
  "Lease not found.",
  "No node found with given era.",
  "The container name already exists.",
  "The dataset is on another node.",
  "The dataset is being used by another container.",
  "A specified external port is already in use.",
  "Link aliases must be unique.",
  "The local ports in a container's links must be unique.",
  "Container not found.",
  "Application configuration must be a dictionary, got ",
  "Application configuration has an error. Missing 'applications' key.",
  "Application configuration has an error. Missing 'version' key.",
  "Application configuration has an error. Incorrect version specified.",
  "has a config error. Unrecognised keys: ",
  "has a config error. Missing 'image' key.",
  "has a config error. Must specify either 'build' or 'image'; found both.",
  "has a config error. Invalid ports specification. ",
  "has a config error. Invalid links specification. ",
  "has a config error. Invalid volume specification. ",
  "has a config error. Invalid Docker image name. ",
  "has a config error. Only one volume per application is supported at this time.",
  "has a config error. 'ports' must be list of string values in the form of 'host_port:container_port'.",
  "could not be mapped to any application; application 'db' does not exist.",
  "has a configuration error. Invalid 'restart_policy' name 'sometimes'. Use one of: always, never, on-failure",
  "Deployment configuration has an error. Missing 'nodes' key.",
  "Deployment configuration has an error. Missing 'version' key.",
  "Deployment configuration has an error. Incorrect version specified.",
  "specified, but deployment configuration expects an IPv4 address.",
  "has a config error. Unrecognised application name: ",
  "has a config error. Wrong value type: unicode. Should be list.",
  "appears more than once.",
  "No known node with address ",
];

/** What a step expects of the description, in whichever way it does. */
const described = steps.map(({ answer: { json, text, contains } }) => {
  const body = json ?? (text?.startsWith("{") === true ? JSON.parse(text) : undefined);
  return (body as { readonly description?: string } | undefined)?.description ?? contains ?? "";
});

suite("each text of the original has a case", () => {
  for (const text of texts)
    test(JSON.stringify(text), () => assert.ok(described.some((one) => one.includes(text))));
});

/** The words of the original's schema validation, as `errors` has them. */
const faults = [
  "is a required property",
  "Additional properties are not allowed (",
  "does not match '",
  "is too short",
  "is too long",
  "is not of type '",
  "is less than the minimum of",
  "is greater than the maximum of",
  "is not a multiple of 1024",
  "has too many properties",
  "has non-unique elements",
  "is not one of [",
  "is not valid under any of the given schemas",
];

test("each kind of fault in a body has a case", () => {
  const all = steps.map(({ answer }) => `${JSON.stringify(answer.json)} ${answer.contains ?? ""}`).join("\n");
  assert.deepEqual(
    faults.filter((fault) => !all.includes(fault)),
    [],
  );
});

test("a case is marked where the original answers otherwise, and says how", () => {
  for (const { original, name } of steps) assert.notEqual(original, "", name);
  assert.ok(steps.some((step) => step.original !== undefined));
});
