import assert from "node:assert/strict";
import { test } from "node:test";
import { nodeCommonName, roleOf, userCommonName } from "./certificate-name.ts";
import { parseNodeId } from "./ids.ts";

const uuid = "1f0e2d3c-4b5a-4968-8776-554433221100";

test("the role is read off the common name", () => {
  assert.deepEqual(roleOf("control-service"), { role: "control" });
  assert.deepEqual(roleOf(`node-${uuid}`), { role: "node", node: uuid });
  assert.deepEqual(roleOf("user-alice"), { role: "user", name: "alice" });
  assert.deepEqual(roleOf("user-node-x"), { role: "user", name: "node-x" });
});

test("a node's id is lower case whatever the certificate says", () => {
  assert.deepEqual(roleOf(`node-${uuid.toUpperCase()}`), { role: "node", node: uuid });
});

test("a name that is only similar has no role", () => {
  for (const name of [
    "",
    "control-service ",
    "Control-Service",
    "control-service2",
    "node-",
    "node-1",
    `node-${uuid}x`,
    `xnode-${uuid}`,
    "user-",
    "User-alice",
    "alice",
  ]) {
    assert.equal(roleOf(name), null, name);
  }
});

test("names that are made are read back as the role they were made for", () => {
  const node = parseNodeId(uuid);
  assert.ok(node);
  assert.deepEqual(roleOf(nodeCommonName(node)), { role: "node", node });
  assert.deepEqual(roleOf(userCommonName("bob")), { role: "user", name: "bob" });
});
