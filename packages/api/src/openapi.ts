import type { TObject, TSchema } from "typebox";
import type { Endpoint, EndpointTable } from "./contract.ts";
import { problemMediaType } from "./problem.ts";
import { v1Endpoints } from "./v1/endpoints.ts";
import { v2Endpoints, v2Streams } from "./v2/endpoints.ts";

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type JsonObject = { [key: string]: Json };

const license = { name: "Apache-2.0", identifier: "Apache-2.0" };

/** The OpenAPI 3.1 document of /v2. */
export function openapiV2(): JsonObject {
  return openapiDocument(
    {
      title: "Flocker API",
      version: "2",
      description:
        "Datasets, nodes and leases of a cluster: what should be and what is. Clients show a certificate named " +
        "`user-<name>`. Errors are problem details (RFC 9457) with a code and a remedy.",
      license,
    },
    { ...v2Endpoints, ...v2Streams },
  );
}

/** The OpenAPI 3.1 document of /v1. */
export function openapiV1(): JsonObject {
  return openapiDocument(
    {
      title: "Flocker API of 2016",
      version: "1",
      description:
        "For existing clients of Flocker 1.15. Clients show a certificate named `user-<name>`. Bodies are read as JSON " +
        "whatever their content type says; unknown paths and methods are answered with an HTML page.",
      license,
    },
    v1Endpoints,
  );
}

/**
 * Writes the document for a table. Schemas with an `$id` become components; equal ids must be equal schemas,
 * which is for the table to see to.
 */
export function openapiDocument(info: JsonObject, table: EndpointTable): JsonObject {
  const components: JsonObject = {};
  const paths: { [path: string]: JsonObject } = {};
  for (const [name, endpoint] of Object.entries(table)) {
    const operations = (paths[endpoint.path] ??= {});
    operations[endpoint.method.toLowerCase()] = operation(name, endpoint, components);
  }
  return {
    openapi: "3.1.0",
    info,
    security: [{ clientCertificate: [] }],
    paths,
    components: {
      schemas: Object.fromEntries(Object.entries(components).toSorted(([a], [b]) => (a < b ? -1 : 1))),
      securitySchemes: { clientCertificate: { type: "mutualTLS" } },
    },
  };
}

function operation(name: string, endpoint: Endpoint, components: JsonObject): JsonObject {
  const parameters = [
    ...parametersOf("path", endpoint.params, components),
    ...parametersOf("query", endpoint.query, components),
    ...parametersOf("header", endpoint.headers, components),
  ];
  const responses = Object.entries(endpoint.responses).map(([status, schema]): [string, Json] => [
    status,
    response(Number(status), schema, endpoint, components),
  ]);
  return {
    operationId: name,
    summary: endpoint.summary,
    description: endpoint.description,
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(endpoint.body === undefined
      ? {}
      : {
          requestBody: {
            required: true,
            content: { "application/json": { schema: schemaJson(endpoint.body, components) } },
          },
        }),
    responses: Object.fromEntries(responses),
  };
}

function parametersOf(place: string, schema: TObject | undefined, components: JsonObject): Json[] {
  if (schema === undefined) return [];
  return Object.entries(schema.properties).map(([name, property]) => {
    const { description, ...rest } = schemaJson(property, components) as JsonObject;
    return {
      name,
      in: place,
      required: schema.required?.includes(name) ?? false,
      ...(description === undefined ? {} : { description }),
      schema: rest,
    };
  });
}

function response(status: number, schema: TSchema, endpoint: Endpoint, components: JsonObject): JsonObject {
  const isProblem = (schema as { readonly $id?: string }).$id === "Problem";
  const isSuccess = status < 300;
  const mediaType = isProblem
    ? problemMediaType
    : isSuccess
      ? (endpoint.mediaType ?? "application/json")
      : "application/json";
  const headers = isSuccess ? Object.entries(endpoint.responseHeaders ?? {}) : [];
  return {
    description: statusWords[status] ?? "Success",
    ...(headers.length === 0
      ? {}
      : {
          headers: Object.fromEntries(
            headers.map(([name, description]) => [name, { description, schema: { type: "string" } }]),
          ),
        }),
    content: { [mediaType]: { schema: schemaJson(schema, components) } },
  };
}

const statusWords: Readonly<Record<number, string>> = {
  200: "Done",
  201: "Created",
  400: "The request is not as specified",
  403: "The certificate does not allow it",
  404: "Not found",
  405: "Not allowed",
  409: "In conflict with what is",
  410: "Gone",
  412: "Changed meanwhile",
  500: "A mistake in the service",
  503: "Not able to serve now",
};

/** A schema as plain JSON, with references in place of those that have an id. */
function schemaJson(schema: TSchema, components: JsonObject): Json {
  return convert(JSON.parse(JSON.stringify(schema)) as Json, components);
}

function convert(json: Json, components: JsonObject): Json {
  if (Array.isArray(json)) return json.map((item) => convert(item, components));
  if (typeof json !== "object" || json === null) return json;
  const { $id, ...rest } = json;
  const converted = Object.fromEntries(
    Object.entries(rest).map(([key, value]) => [key, convert(value, components)]),
  );
  if (typeof $id !== "string") return converted;
  components[$id] = converted;
  return { $ref: `#/components/schemas/${$id}` };
}
