import fc from "fast-check";
import { v1Endpoints, v2Endpoints, type Endpoint } from "@flocker/api";

// Requests of all kinds for both versions of the API: what clients send, with members left out, exchanged for
// others, too long, too deep or of the wrong type; and bytes that are no JSON at all.

/** One request, its path percent-encoded and its body as bytes. */
export interface FuzzRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer | null;
}

const ids = Array.from({ length: 4 }, (_none, index) => `16bc5d94-95ad-4d80-ae1d-00000000000${index}`);
const id = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom(...ids) },
  { weight: 1, arbitrary: fc.constantFrom("", "nope", ids[0]?.toUpperCase() ?? "", "x".repeat(36)) },
);
const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 40 }),
  fc.constantFrom("", "name", "__proto__", "constructor", "\u0000", "x".repeat(300)),
);
const scalar = fc.oneof(
  text,
  id,
  fc.double(),
  fc.integer(),
  fc.constantFrom(null, true, false, 67_108_864, 2 ** 53, -0, 1e300),
);
const anything = fc.oneof(
  { depthSize: "small" },
  scalar,
  fc.array(scalar, { maxLength: 4 }),
  fc.dictionary(text, scalar, { maxKeys: 4 }),
  fc.json({ maxDepth: 4 }).map((json) => JSON.parse(json) as unknown),
);

const container = fc.record(
  {
    node_uuid: id,
    name: fc.constantFrom("web", "db", "/db.1", "x"),
    image: fc.constantFrom("nginx", "nginx:1", ":", ""),
    ports: fc.array(fc.record({ internal: fc.nat(99), external: fc.nat(9) }), { maxLength: 3 }),
    links: fc.array(fc.record({ alias: text, local_port: fc.nat(9), remote_port: fc.nat(9) }), {
      maxLength: 2,
    }),
    volumes: fc.array(fc.record({ dataset_id: id, mountpoint: fc.constantFrom("/data", "data") }), {
      maxLength: 2,
    }),
    environment: fc.dictionary(text, text, { maxKeys: 3 }),
    restart_policy: fc.record({ name: fc.constantFrom("always", "on-failure", "nope") }),
    memory_limit: fc.integer(),
  },
  { requiredKeys: [] },
);
const application = fc.record(
  {
    image: fc.constantFrom<unknown>("nginx", ":x", 1),
    build: fc.constant("."),
    ports: fc.oneof(anything, fc.array(fc.constantFrom("80:80", "x"), { maxLength: 2 })),
    links: fc.oneof(anything, fc.array(fc.constantFrom("web", "db:x"), { maxLength: 2 })),
    volume: fc.record({ mountpoint: text, maximum_size: fc.constantFrom<unknown>("1G", "9".repeat(40), 1) }),
    volumes: fc.array(text, { maxLength: 2 }),
    environment: anything,
  },
  { requiredKeys: [] },
);
const composition = fc.record({
  applications: fc.oneof(
    anything,
    fc.dictionary(fc.constantFrom("web", "db"), application),
    fc.record({ version: fc.constantFrom(1, 2), applications: fc.dictionary(text, application) }),
  ),
  deployment: fc.oneof(
    anything,
    fc.record({
      version: fc.constant(1),
      nodes: fc.dictionary(fc.constantFrom("127.0.0.1", "x"), fc.oneof(anything, fc.array(text))),
    }),
  ),
});
const dataset = fc.record(
  {
    primary: id,
    dataset_id: id,
    maximum_size: fc.oneof(fc.constantFrom(67_108_864, 67_108_865, null), fc.double()),
    metadata: fc.dictionary(text, text, { maxKeys: 17 }),
    name: text,
    deleted: fc.boolean(),
  },
  { requiredKeys: [] },
);
const lease = fc.record(
  { dataset_id: id, node_uuid: id, node_id: id, expires: fc.double(), expires_in: fc.double() },
  { requiredKeys: [] },
);

const known = fc.oneof(dataset, lease, container, composition);
const json = fc.oneof(
  { weight: 4, arbitrary: known },
  {
    weight: 2,
    arbitrary: fc.tuple(known, text, anything).map(([object, key, value]) => ({ ...object, [key]: value })),
  },
  { weight: 1, arbitrary: anything },
);
const body = fc.oneof(
  { weight: 8, arbitrary: json.map((value) => Buffer.from(JSON.stringify(value) ?? "")) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)) },
  { weight: 1, arbitrary: fc.nat(3000).map((depth) => Buffer.from("[".repeat(depth))) },
);

const segment = fc.oneof(
  { weight: 3, arbitrary: id },
  { weight: 1, arbitrary: fc.constantFrom("web", "%2Fdb.1", "%ff", "%00", "..", "*") },
  { weight: 1, arbitrary: text.filter((part) => part.isWellFormed()).map(encodeURIComponent) },
);
const endpoint = fc.constantFrom<Endpoint>(...Object.values(v1Endpoints), ...Object.values(v2Endpoints));
const query = fc.oneof(
  { weight: 5, arbitrary: fc.constant("") },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom("limit", "after", "cursor", "name", "node"), segment)
      .map(([key, value]) => `?${key}=${value}`),
  },
);
const headers = fc.record(
  {
    "content-type": fc.constantFrom("application/json", "text/plain; charset=utf-16", "nonsense", ""),
    "if-match": fc.constantFrom('"1"', "*", "nonsense", '"1","2"'),
    "x-if-configuration-matches": fc.constantFrom("", "a, b", "0".repeat(32)),
  },
  { requiredKeys: [] },
);

const validId = fc.constantFrom(...ids);
const fittingDataset = fc.record({ primary: validId, dataset_id: validId }, { requiredKeys: ["primary"] });
const fittingLease = fc.record({
  dataset_id: validId,
  node_uuid: validId,
  expires: fc.constantFrom(null, 1, 60),
});
const fittingContainer = fc.record(
  { node_uuid: validId, name: fc.constantFrom("web", "db"), image: fc.constant("nginx") },
  { requiredKeys: ["node_uuid", "name", "image"] },
);

/** What an endpoint of /v1 takes, so that the configuration does not stay empty. */
function fittingBody(
  path: string,
  bodies: { readonly dataset: unknown; readonly lease: unknown; readonly container: unknown },
): unknown {
  if (path === "/v1/configuration/datasets") return bodies.dataset;
  if (path === "/v1/configuration/leases") return bodies.lease;
  return path === "/v1/configuration/containers" ? bodies.container : undefined;
}

/** Any request. Most are of a known endpoint with its own method. */
export const anyRequest: fc.Arbitrary<FuzzRequest> = fc
  .record({
    endpoint,
    fitting: fc.record({ dataset: fittingDataset, lease: fittingLease, container: fittingContainer }),
    fits: fc.boolean(),
    segment,
    query,
    headers,
    body,
    method: fc.oneof(
      { weight: 8, arbitrary: fc.constant(null) },
      { weight: 1, arbitrary: fc.constantFrom("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") },
    ),
  })
  .map((parts) => {
    const method = parts.method ?? parts.endpoint.method;
    const path = `${parts.endpoint.path.replaceAll(/\{\w+\}/g, parts.segment)}${parts.query}`;
    const fitting = fittingBody(parts.endpoint.path, parts.fitting);
    const body = parts.fits && fitting !== undefined ? Buffer.from(JSON.stringify(fitting)) : parts.body;
    return { method, path, headers: parts.headers, body: method === "HEAD" ? null : body };
  });
