// What existing clients of Flocker send, in the order in which they do, against real processes. Their names
// say whose habits they have; nothing of their code is here.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { suite, test } from "node:test";
import { pollUntil } from "@flocker/cli/local";
import { systemClock } from "@flocker/host";
import { ready, settled, show, startRig, type Rig } from "./rig.ts";
import { v1Client, type ClientHabits, type V1Answer, type V1Client } from "./v1-client.ts";

/** The client that Kubernetes had: a content type on every request, one connection, the host is checked. */
const flockerGo: ClientHabits = {
  keepAlive: true,
  headers: () => ({ "content-type": "application/json", "user-agent": "Go-http-client/1.1" }),
};
/** Python, over treq: the name control-service whatever the host, a connection for each request. */
const flockerClient: ClientHabits = {
  keepAlive: false,
  serverName: "control-service",
  headers: () => ({
    "content-type": "application/json",
    "accept-encoding": "gzip",
    connection: "close",
    "x-eliot-task-id": `${randomUUID()}@/2/3`,
  }),
};
/**
 * Of unofficial-flocker-tools, and like the Node client: TLS 1.2 alone, checks nothing, shows the authority,
 * too.
 */
const flockerctl: ClientHabits = {
  keepAlive: true,
  maxVersion: "TLSv1.2",
  trusting: true,
  showsAuthority: true,
  headers: () => ({ "content-type": "application/json" }),
};

interface ConfiguredDataset {
  readonly dataset_id: string;
  readonly primary: string;
  readonly deleted: boolean;
  readonly metadata: Readonly<Record<string, string>>;
}
interface DatasetState {
  readonly dataset_id: string;
  readonly primary?: string;
  readonly path?: string;
}
interface NodeState {
  readonly uuid: string;
  readonly host: string;
}

async function list<Item>(client: V1Client, path: string): Promise<readonly Item[]> {
  const answer = await client.ask("GET", path);
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return answer.body as readonly Item[];
}

/** Polls the state of a dataset, as all of them do. */
async function stateOf(
  client: V1Client,
  dataset: string,
  isDone: (state: DatasetState | undefined) => boolean,
): Promise<DatasetState | undefined> {
  const result = await pollUntil(systemClock, {
    waitingFor: `the state of dataset ${dataset}`,
    timeoutMs: 60_000,
    ask: async () => {
      const states = await list<DatasetState>(client, "/state/datasets");
      const state = states.find((one) => one.dataset_id === dataset);
      return isDone(state) ? { state } : undefined;
    },
  });
  assert.ok(result.ok, result.ok ? "" : result.problem.message);
  return result.value.state;
}

function body<Body>(answer: V1Answer, status: number): Body {
  assert.equal(answer.status, status, JSON.stringify(answer.body));
  assert.equal(answer.headers["content-type"], "application/json");
  return answer.body as Body;
}

async function withClient(rig: Rig, habits: ClientHabits, story: (client: V1Client) => Promise<void>) {
  const client = await v1Client(rig, habits);
  try {
    await story(client);
  } finally {
    client.close();
  }
}

suite("existing clients", () => {
  test("flocker-go: a volume of Kubernetes is made, found by name, mounted elsewhere and deleted", async (t) => {
    const rig = await startRig(t, { nodeCount: 2 });
    await withClient(rig, flockerGo, async (client) => {
      const nodes = await list<NodeState>(client, "/state/nodes");
      const [here, there] = [rig.node(0).node, rig.node(1).node];
      assert.ok(nodes.every((node) => node.host === "127.0.0.1"));
      assert.deepEqual(new Set(nodes.map((node) => node.uuid)), new Set<string>([here, there]));
      const metadata = { type: "k8s-dynamic-prov", pvc: "data-claim", name: "kubernetes-dynamic-pvc-1" };
      const wish = { primary: here, maximum_size: 67_108_864, metadata, deleted: false };
      const created = body<ConfiguredDataset>(await client.ask("POST", "/configuration/datasets", wish), 201);
      const id = created.dataset_id;
      // It waits until the dataset appears, mounted or not.
      await stateOf(client, id, (state) => state !== undefined);
      const again = await client.ask("POST", "/configuration/datasets", { ...wish, dataset_id: id });
      assert.equal(again.status, 409);
      const listed = await list<ConfiguredDataset>(client, "/configuration/datasets");
      const found = listed.find((one) => !one.deleted && one.metadata["name"] === metadata.name);
      assert.equal(found?.dataset_id, id);
      body(await client.ask("POST", `/configuration/datasets/${id}`, { primary: there }), 200);
      await stateOf(client, id, (state) => state?.primary === there && state.path !== undefined);
      body(await client.ask("DELETE", `/configuration/datasets/${id}`), 200);
      await stateOf(client, id, (state) => state === undefined);
    });
  });

  test("FlockerClient: conditional creation, leases, and the node of this boot", async (t) => {
    const rig = await startRig(t, { nodeCount: 1 });
    await withClient(rig, flockerClient, async (client) => {
      assert.deepEqual(Object.keys(body<object>(await client.ask("GET", "/version"), 200)), ["flocker"]);
      const era = (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
      const { uuid } = body<{ uuid: string }>(await client.ask("GET", `/state/nodes/by_era/${era}`), 200);
      assert.equal(uuid, rig.node(0).node);
      const tagOf = async (): Promise<string> =>
        String((await client.ask("GET", "/configuration/datasets")).headers["x-configuration-tag"]);
      const create = (tag: string, name: string): Promise<V1Answer> =>
        client.ask(
          "POST",
          "/configuration/datasets",
          { primary: uuid, metadata: { name } },
          { "x-if-configuration-matches": tag },
        );
      // Two that have read the same configuration: one wins, the other reads again.
      const tag = await tagOf();
      const [first, second] = await Promise.all([create(tag, "one"), create(tag, "one")]);
      assert.deepEqual(new Set([first.status, second.status]), new Set([201, 412]));
      const winner = (first.status === 201 ? first : second).body as ConfiguredDataset;
      assert.equal((await create(await tagOf(), "two")).status, 201);
      const lease = { dataset_id: winner.dataset_id, node_uuid: uuid, expires: 60 };
      const acquired = body<{ expires: number }>(
        await client.ask("POST", "/configuration/leases", lease),
        201,
      );
      assert.equal(acquired.expires, 60);
      assert.equal((await client.ask("POST", "/configuration/leases", lease)).status, 200);
      const other = { ...lease, node_uuid: randomUUID() };
      const held = await client.ask("POST", "/configuration/leases", other);
      assert.deepEqual(body(held, 409), { description: "Lease already held." });
      const [listed] = await list<{ expires: number }>(client, "/configuration/leases");
      assert.ok(listed !== undefined && listed.expires > 0 && listed.expires <= 60);
      assert.equal((await client.ask("DELETE", `/configuration/leases/${winner.dataset_id}`)).status, 200);
      const gone = await client.ask("DELETE", `/configuration/leases/${winner.dataset_id}`);
      assert.deepEqual(body(gone, 404), { description: "Lease not found." });
    });
  });

  test("a lease delays a move, through restarts of everything, until it is released", async (t) => {
    const rig = await startRig(t, { nodeCount: 2 });
    await withClient(rig, flockerClient, async (client) => {
      const [here, there] = [rig.node(0).node, rig.node(1).node];
      const created = await client.ask("POST", "/configuration/datasets", { primary: here, metadata: {} });
      const { dataset_id: id } = body<ConfiguredDataset>(created, 201);
      await stateOf(client, id, (state) => state?.primary === here && state.path !== undefined);
      const lease = { dataset_id: id, node_uuid: here, expires: null };
      body(await client.ask("POST", "/configuration/leases", lease), 201);
      // The move is accepted; it is the node that waits.
      body(await client.ask("POST", `/configuration/datasets/${id}`, { primary: there }), 200);
      const isHeld = async (): Promise<void> => {
        const result = await pollUntil(systemClock, {
          waitingFor: "the reason lease-held",
          timeoutMs: 60_000,
          ask: async () => {
            const { reasons } = await show(rig, id);
            return reasons.some((reason) => reason.code === "lease-held") ? true : undefined;
          },
        });
        assert.ok(result.ok, result.ok ? "" : result.problem.message);
        const state = await stateOf(client, id, (one) => one?.path !== undefined);
        assert.equal(state?.primary, here);
      };
      await isHeld();
      await rig.cluster.stop();
      rig.cluster.start();
      await ready(rig);
      await isHeld();
      body(await client.ask("DELETE", `/configuration/leases/${id}`), 200);
      await stateOf(client, id, (state) => state?.primary === there && state.path !== undefined);
      await settled(rig, id, rig.node(1));
    });
  });

  test("flockerctl: TLS 1.2, an unchecked server, three lists joined, deleted ones listed", async (t) => {
    const rig = await startRig(t, { nodeCount: 2 });
    await withClient(rig, flockerctl, async (client) => {
      const nodes = await list<NodeState>(client, "/state/nodes");
      const [first, second] = nodes;
      assert.ok(first !== undefined && second !== undefined);
      const wish = { primary: first.uuid, maximum_size: 10 * 2 ** 30, metadata: { a: "b", c: "d" } };
      const created = body<ConfiguredDataset>(await client.ask("POST", "/configuration/datasets", wish), 201);
      const id = created.dataset_id;
      await stateOf(client, id, (state) => state?.primary === first.uuid);
      body(await client.ask("POST", `/configuration/datasets/${id}`, { primary: second.uuid }), 200);
      await stateOf(client, id, (state) => state?.primary === second.uuid && state.path !== undefined);
      body(await client.ask("DELETE", `/configuration/datasets/${id}`), 200);
      await stateOf(client, id, (state) => state === undefined);
      const listed = await list<ConfiguredDataset>(client, "/configuration/datasets");
      assert.equal(listed.find((one) => one.dataset_id === id)?.deleted, true);
      // It reads JSON from refusals as well.
      const refused = await client.ask("POST", "/configuration/datasets", { primary: first.uuid, size: 1 });
      assert.deepEqual(Object.keys(body<object>(refused, 400)).toSorted(), ["description", "errors"]);
    });
  });
});
