import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  PythonFloat,
  type PythonValue,
  readPythonJson,
  writePythonFloat,
  writePythonJson,
  writePythonString,
} from "./python-json.ts";
import { pythonFaults, pythonRepr } from "./python-messages.ts";
import { DatasetMove, Lease, NewDataset } from "./schemas.ts";

const id = "4f1a2c3d-0000-4000-8000-000000000001";
const uuidPattern =
  "'^[A-Fa-f0-9]{8}-[A-Fa-f0-9]{4}-4[A-Fa-f0-9]{3}-[89abAB][A-Fa-f0-9]{3}-[A-Fa-f0-9]{12}$'";

function faults(
  schema: typeof NewDataset | typeof Lease | typeof DatasetMove,
  text: string,
): readonly string[] {
  const read = readPythonJson(text);
  assert.ok(read !== undefined, text);
  return pythonFaults(schema, read.value);
}

test("JSON is written in ASCII with spaces after commas and colons", () => {
  assert.equal(
    writePythonJson({ a: [1, null, true], b: 'ü😀\u007f\n"\\/', c: undefined as never }),
    '{"a": [1, null, true], "b": "\\u00fc\\ud83d\\ude00\\u007f\\n\\"\\\\/"}',
  );
  assert.equal(writePythonString("plain text/~"), '"plain text/~"');
  for (const text of ["", "\u2028", "\ud800", "tab\t", "\u0000"])
    assert.equal(JSON.parse(writePythonString(text)), text);
});

test("whatever JSON can say is written in ASCII, and reads as the same again", () => {
  fc.assert(
    fc.property(fc.jsonValue({ stringUnit: "binary" }), (value) => {
      const text = writePythonJson(value as PythonValue);
      assert.match(text, /^[ -~]*$/);
      assert.deepEqual(JSON.parse(text), JSON.parse(JSON.stringify(value)));
    }),
  );
});

test("floats are written as Python writes them", () => {
  const written = [60, 0.5, -0, 1e15, 1e16, 1.5e22, 0.0001, 0.00001].map(writePythonFloat);
  assert.deepEqual(written, [
    "60.0",
    "0.5",
    "-0.0",
    "1000000000000000.0",
    "1e+16",
    "1.5e+22",
    "0.0001",
    "1e-05",
  ]);
});

test("reading tells integers from floats and keeps big ones exact", () => {
  assert.deepEqual(readPythonJson('[1, 1.0, 1e2, 9223372036854775808, "1.0"]')?.value, [
    1,
    new PythonFloat(1),
    new PythonFloat(100),
    9223372036854775808n,
    "1.0",
  ]);
  assert.deepEqual(Object.keys(readPythonJson('{"__proto__": {"a": "b"}}')?.value as object), ["__proto__"]);
  for (const text of ["", "{", "nul", "\ufeff{}", "[1,]"])
    assert.equal(readPythonJson(text), undefined, text);
});

test("JSON nested too deep to be walked is not read rather than crashing", () => {
  assert.equal(readPythonJson("[".repeat(500_000) + "]".repeat(500_000)), undefined);
});

test("values are shown as Python 2 shows them", () => {
  const shown = [
    null,
    true,
    "it's",
    'say "it\'s"',
    "ü\u20ac😀\n\\",
    5,
    new PythonFloat(5),
    2n ** 63n,
    2n ** 62n,
  ].map(pythonRepr);
  assert.deepEqual(shown, [
    "None",
    "True",
    'u"it\'s"',
    "u'say \"it\\'s\"'",
    "u'\\xfc\\u20ac\\U0001f600\\n\\\\'",
    "5",
    "5.0",
    "9223372036854775808L",
    "4611686018427387904",
  ]);
  assert.equal(pythonRepr({ a: [1, "b"] }), "{u'a': [1, u'b']}");
});

test("faults of a new dataset come in the original's words", () => {
  assert.deepEqual(faults(NewDataset, `{"primary": "${id}"}`), []);
  assert.deepEqual(
    faults(NewDataset, `{"primary": "${id.toUpperCase()}", "maximum_size": null, "deleted": false}`),
    [],
  );
  assert.deepEqual(faults(NewDataset, "[]"), ["[] is not of type 'object'"]);
  assert.deepEqual(faults(NewDataset, "5"), ["5 is not of type 'object'"]);
  assert.deepEqual(faults(NewDataset, "{}"), ["'primary' is a required property"]);
  assert.deepEqual(faults(NewDataset, `{"primary": "x", "foo": 1, "bar": 2}`), [
    `u'x' does not match ${uuidPattern}`,
    "u'x' is too short",
    "Additional properties are not allowed (u'foo', u'bar' were unexpected)",
  ]);
  assert.deepEqual(faults(NewDataset, `{"primary": "${id}", "deleted": true}`), [
    "True is not one of [False]",
  ]);
});

test("faults of a maximum size come in the original's words", () => {
  const sizes: readonly (readonly [string, readonly string[]])[] = [
    ["67108864", []],
    ["67108863", ["67108863 is less than the minimum of 67108864", "67108863 is not a multiple of 1024"]],
    ["67108865", ["67108865 is not a multiple of 1024"]],
    ["1073741824.0", ["1073741824.0 is not of type 'integer', 'null'"]],
    ["true", ["True is not of type 'integer', 'null'"]],
    ['"1GiB"', ["u'1GiB' is not of type 'integer', 'null'"]],
    ["9223372036854775808", ["9223372036854775808L is greater than the maximum of 9007199254740991"]],
  ];
  for (const [size, expected] of sizes)
    assert.deepEqual(faults(NewDataset, `{"primary": "${id}", "maximum_size": ${size}}`), expected, size);
});

test("faults of metadata come in the original's words", () => {
  const many = JSON.stringify(
    Object.fromEntries(Array.from({ length: 17 }, (_, index) => [`k${index}`, ""])),
  );
  const [first, ...more] = faults(NewDataset, `{"primary": "${id}", "metadata": ${many}}`);
  assert.match(first ?? "", /^\{u'k0': u'', .*\} has too many properties$/);
  assert.deepEqual(more, []);
  const cases: readonly (readonly [string, string])[] = [
    ['{"": "v"}', "Additional properties are not allowed (u'' was unexpected)"],
    ['{"k": 5}', "5 is not of type 'string'"],
    [`{"k": "${"v".repeat(257)}"}`, `u'${"v".repeat(257)}' is too long`],
    ["null", "None is not of type 'object'"],
  ];
  for (const [metadata, expected] of cases)
    assert.deepEqual(
      faults(NewDataset, `{"primary": "${id}", "metadata": ${metadata}}`),
      [expected],
      metadata,
    );
  assert.deepEqual(faults(NewDataset, `{"primary": "${id}", "metadata": {"k": "${"😀".repeat(256)}"}}`), []);
});

test("a lease has all three of its members, and a move only its primary", () => {
  assert.deepEqual(faults(Lease, `{"dataset_id": "${id}", "node_uuid": "${id}"}`), [
    "'expires' is a required property",
  ]);
  assert.deepEqual(faults(Lease, `{"dataset_id": "${id}", "node_uuid": "${id}", "expires": -1.5}`), []);
  assert.deepEqual(faults(Lease, `{"dataset_id": "${id}", "node_uuid": "${id}", "expires": "60"}`), [
    "u'60' is not of type 'number', 'null'",
  ]);
  assert.deepEqual(faults(DatasetMove, "{}"), []);
  assert.deepEqual(faults(DatasetMove, '{"primary": null}'), ["None is not of type 'string'"]);
  assert.deepEqual(faults(DatasetMove, '{"metadata": {}}'), [
    "Additional properties are not allowed (u'metadata' was unexpected)",
  ]);
});
