import assert from "node:assert/strict";
import { test } from "node:test";
import { ProblemError } from "@flocker/core";
import { createClient, type TransportRequest } from "./client.ts";
import { answerResult, problemBody } from "./problem.ts";
import { v2Endpoints } from "./v2/endpoints.ts";

const id = "4f1a2c3d-0000-4000-8000-000000000001";

/** A client whose transport keeps what it is given and always answers the same. */
function clientAnswering(status: number, body: string) {
  const sent: TransportRequest[] = [];
  const client = createClient(v2Endpoints, async (request) => {
    sent.push(request);
    return { status, headers: { etag: '"7"' }, body };
  });
  return { client, sent };
}

test("path, query, headers and body go where the endpoint has them", async () => {
  const { client, sent } = clientAnswering(200, "{}");
  await client.listDatasets({ query: { name: "a b&c", converged: false, limit: 5 } });
  await client.updateDataset({
    params: { dataset_id: id },
    headers: { "if-match": '"3"' },
    body: { primary: id },
  });
  await client.deleteDataset({ params: { dataset_id: "../x" } });
  assert.deepEqual(sent, [
    {
      method: "GET",
      path: "/v2/datasets?name=a%20b%26c&converged=false&limit=5",
      headers: { accept: "application/json" },
      body: null,
    },
    {
      method: "PATCH",
      path: `/v2/datasets/${id}`,
      headers: { accept: "application/json", "content-type": "application/json", "if-match": '"3"' },
      body: `{"primary":"${id}"}`,
    },
    { method: "DELETE", path: "/v2/datasets/..%2Fx", headers: { accept: "application/json" }, body: null },
  ]);
});

test("an answer's body narrows with its status", async () => {
  const problem = { code: "unknown-dataset", message: "There is none.", remedy: "List them." } as const;
  const { client } = clientAnswering(404, JSON.stringify(problemBody(problem)));
  const answer = await client.getDataset({ params: { dataset_id: id } });
  const shown = answer.status === 200 ? answer.body.dataset_id : answer.body.code;
  assert.equal(shown, "unknown-dataset");
  assert.deepEqual(answerResult(answer), { ok: false, problem });
});

test("a success as a result is its body", async () => {
  const { client } = clientAnswering(200, '{"flocker":"1.0.0","api":"v2"}');
  const result = answerResult(await client.version({}));
  assert.ok(result.ok);
  assert.equal(result.value.flocker, "1.0.0");
});

test("a status that the endpoint does not have rejects with the service's problem", async () => {
  const problem = { code: "not-authorised", message: "No.", remedy: "Ask." } as const;
  const { client } = clientAnswering(410, JSON.stringify(problemBody(problem)));
  await assert.rejects(
    client.version({}),
    (error) => error instanceof ProblemError && error.problem.code === "not-authorised",
  );
});

test("what is no answer of a control service rejects with a problem that says so", async () => {
  const { client } = clientAnswering(502, "<html>Bad gateway</html>");
  await assert.rejects(
    client.version({}),
    (error) => error instanceof ProblemError && error.problem.code === "protocol-violation",
  );
});

test("the faults of a body come with the problem's message", () => {
  const body = problemBody(
    { code: "bad-request", message: "The body has 2 faults.", remedy: "Mend them." },
    {
      errors: [
        { pointer: "#/primary", detail: "is missing" },
        { pointer: "#/name", detail: "is too long" },
      ],
    },
  );
  const result = answerResult({ status: 400, body });
  assert.ok(!result.ok);
  assert.equal(
    result.problem.message,
    "The body has 2 faults. Faults: #/primary is missing; #/name is too long.",
  );
});
