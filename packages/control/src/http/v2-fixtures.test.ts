import assert from "node:assert/strict";
import { answerResult, compileCheck, createClient, v2Endpoints, type Client } from "@flocker/api";
import { join, nodeA, nodeB, testApi, type TestApi } from "./api-fixtures.test.ts";

export type V2Client = Client<typeof v2Endpoints>;

const answerChecks = new Map(
  Object.entries(v2Endpoints).flatMap(([name, { responses }]) =>
    Object.entries(responses).map(([status, schema]) => [`${name} ${status}`, compileCheck(schema)] as const),
  ),
);

type Call = (input: never) => Promise<{ readonly status: number; readonly body: unknown }>;

/** A client over injected requests; every answer is held to its schema. */
function clientOf({ app }: TestApi): V2Client {
  const plain = createClient(v2Endpoints, async ({ method, path, headers, body }) => {
    const response = await app.inject({
      method: method as "GET",
      url: path,
      headers,
      ...(body === null ? {} : { payload: body }),
    });
    return {
      status: response.statusCode,
      headers: response.headers as Readonly<Record<string, string>>,
      body: response.body,
    };
  });
  const checked = Object.entries(plain).map(([name, call]) => [
    name,
    async (input: never) => {
      const answer = await (call as Call)(input);
      const check = answerChecks.get(`${name} ${answer.status}`);
      assert.ok(check !== undefined, `${name} ${answer.status}`);
      assert.deepEqual(check(answer.body), [], `${name} ${answer.status} ${JSON.stringify(answer.body)}`);
      return answer;
    },
  ]);
  return Object.fromEntries(checked) as V2Client;
}

/** The API with its client and two nodes that have nothing yet. */
export async function startV2(): Promise<TestApi & { readonly client: V2Client }> {
  const api = await testApi();
  join(api, nodeA);
  join(api, nodeB);
  return Object.assign(api, { client: clientOf(api) });
}

/** The status, code and field of a refusal. */
export function refusal(answer: { readonly status: number; readonly body: unknown }): readonly unknown[] {
  const result = answerResult(answer);
  assert.ok(!result.ok, JSON.stringify(answer.body));
  return [answer.status, result.problem.code, result.problem.field];
}
