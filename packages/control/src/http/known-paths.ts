import { v1Endpoints, v2Endpoints, v2Streams, type Endpoint } from "@flocker/api";

const all: readonly Endpoint[] = [v1Endpoints, v2Endpoints, v2Streams].flatMap((table) =>
  Object.values(table),
);
const paths = Map.groupBy(all, (endpoint) => endpoint.path);
const known = [...paths].map(([path, endpoints]) => ({
  pattern: new RegExp(`^${path.replaceAll(/[.]/g, "\\.").replaceAll(/\{\w+\}/g, "[^/]+")}$`),
  methods: endpoints.flatMap((one) =>
    one.method === "GET" && !isStream(one) ? ["GET", "HEAD"] : [one.method],
  ),
}));

/**
 * The methods that a path (without its query) answers to, in alphabetical order; empty for an unknown path.
 */
export function allowedMethods(path: string): readonly string[] {
  return known.find((one) => one.pattern.test(path))?.methods.toSorted() ?? [];
}

function isStream(endpoint: Endpoint): boolean {
  return endpoint.mediaType !== undefined;
}
