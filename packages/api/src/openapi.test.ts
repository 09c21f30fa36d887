import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { openapiV1, openapiV2 } from "./openapi.ts";

for (const [name, document] of [
  ["openapi-v1.json", openapiV1()],
  ["openapi-v2.json", openapiV2()],
] as const) {
  test(`docs/reference/${name} is what the endpoint table says; \`npm run openapi\` rewrites it`, () => {
    const written = readFileSync(new URL(`../../../docs/reference/${name}`, import.meta.url), "utf8");
    assert.equal(written, `${JSON.stringify(document, null, 2)}\n`);
  });

  test(`every reference in ${name} has its component, and no schema keeps a TypeScript-only keyword`, () => {
    const components = (document["components"] as { schemas: Record<string, unknown> }).schemas;
    const text = JSON.stringify(document);
    const references = [...text.matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)].map(
      (match) => match[1] ?? "",
    );
    assert.ok(references.length > 10);
    for (const reference of references) assert.ok(reference in components, reference);
    assert.doesNotMatch(text, /"\$id"|"~/);
  });

  test(`every path parameter of ${name} is declared, and operation ids are unique`, () => {
    const ids = new Set<string>();
    for (const [path, operations] of Object.entries(
      document["paths"] as unknown as Record<string, Record<string, Operation>>,
    ))
      for (const operation of Object.values(operations)) {
        assert.ok(!ids.has(operation.operationId), operation.operationId);
        ids.add(operation.operationId);
        const inPath = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
        const declared = (operation.parameters ?? [])
          .filter((one) => one.in === "path")
          .map((one) => one.name);
        assert.deepEqual(declared, inPath, path);
      }
    assert.ok(ids.size > 10);
  });
}

interface Operation {
  readonly operationId: string;
  readonly parameters?: readonly { readonly in: string; readonly name: string }[];
}
