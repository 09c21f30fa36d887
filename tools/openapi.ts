/** Rewrites the checked-in OpenAPI documents from the endpoint tables: `npm run openapi`. */
import { writeFileSync } from "node:fs";
import { openapiV1, openapiV2 } from "@flocker/api";

const folder = new URL("../docs/reference/", import.meta.url);
for (const [name, document] of [
  ["openapi-v1.json", openapiV1()],
  ["openapi-v2.json", openapiV2()],
] as const) {
  writeFileSync(new URL(name, folder), `${JSON.stringify(document, null, 2)}\n`);
  console.log(`wrote docs/reference/${name}`);
}
