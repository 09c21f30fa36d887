import type { Client, v1Endpoints } from "@flocker/api";
import type { Clock } from "@flocker/core";
import type { OriginalConfiguration } from "./original-configuration.ts";

/** What became of one thing of the file. */
export interface Imported {
  readonly kind: "dataset" | "container" | "lease";
  /** The dataset's id, or the container's name. */
  readonly name: string;
  /** `there`: it was there already, whether in this form or another, and was left as it is. */
  readonly result: "created" | "there" | "failed";
  /** What is otherwise there, or why it failed. */
  readonly detail: string | null;
}

type V1Client = Client<typeof v1Endpoints>;

/**
 * Asks for everything that is not there yet, in an order in which each finds what it needs: datasets,
 * containers, leases. Only looks, where `dryRun`; what is reported as created then would be.
 */
export async function* importAll(
  client: V1Client,
  configuration: OriginalConfiguration,
  options: { readonly dryRun: boolean; readonly clock: Clock },
): AsyncGenerator<Imported> {
  yield* importDatasets(client, configuration.datasets, options.dryRun);
  yield* importContainers(client, configuration.containers, options.dryRun);
  yield* importLeases(client, configuration.leases, options);
}

async function* importDatasets(
  client: V1Client,
  wanted: OriginalConfiguration["datasets"],
  dryRun: boolean,
): AsyncGenerator<Imported> {
  const listed = await client.listConfiguredDatasets({});
  const there = new Map(
    listed.status === 200 ? listed.body.map((dataset) => [dataset.dataset_id, dataset] as const) : [],
  );
  for (const dataset of wanted) {
    const named = { kind: "dataset", name: dataset.dataset_id } as const;
    const known = there.get(dataset.dataset_id);
    if (known !== undefined) {
      const isElsewhere = known.primary !== dataset.primary;
      const detail = known.deleted
        ? "it is deleted here"
        : isElsewhere
          ? `it is on node ${known.primary} here`
          : null;
      yield { ...named, result: "there", detail };
    } else if (dryRun) yield { ...named, result: "created", detail: null };
    else yield { ...named, ...outcome(await client.createDataset({ headers: {}, body: dataset })) };
  }
}

async function* importContainers(
  client: V1Client,
  wanted: OriginalConfiguration["containers"],
  dryRun: boolean,
): AsyncGenerator<Imported> {
  if (wanted.length === 0) return;
  const listed = await client.listConfiguredContainers({});
  const there = new Map(
    listed.status === 200 ? listed.body.map((container) => [container.name, container] as const) : [],
  );
  for (const container of wanted) {
    const named = { kind: "container", name: container.name } as const;
    const known = there.get(container.name);
    if (known !== undefined) {
      const isElsewhere = known.node_uuid !== container.node_uuid;
      yield {
        ...named,
        result: "there",
        detail: isElsewhere ? `it is on node ${known.node_uuid} here` : null,
      };
    } else if (dryRun) yield { ...named, result: "created", detail: null };
    else yield { ...named, ...outcome(await client.createContainer({ body: container })) };
  }
}

async function* importLeases(
  client: V1Client,
  wanted: OriginalConfiguration["leases"],
  { dryRun, clock }: { readonly dryRun: boolean; readonly clock: Clock },
): AsyncGenerator<Imported> {
  if (wanted.length === 0) return;
  const listed = await client.listLeases({});
  const there = new Map(
    listed.status === 200 ? listed.body.map((lease) => [lease.dataset_id, lease] as const) : [],
  );
  for (const { dataset, node, expiresAt } of wanted) {
    const named = { kind: "lease", name: dataset } as const;
    const known = there.get(dataset);
    const seconds = expiresAt === null ? null : (expiresAt - clock.now()) / 1000;
    if (known !== undefined)
      yield {
        ...named,
        result: "there",
        detail: known.node_uuid === node ? null : `node ${known.node_uuid} holds it here`,
      };
    else if (seconds !== null && seconds <= 0)
      yield { ...named, result: "there", detail: "it has ended meanwhile" };
    else if (dryRun) yield { ...named, result: "created", detail: null };
    else {
      const body = { dataset_id: dataset, node_uuid: node, expires: seconds };
      yield { ...named, ...outcome(await client.acquireLease({ body })) };
    }
  }
}

function outcome(answer: {
  readonly status: number;
  readonly body: unknown;
}): Pick<Imported, "result" | "detail"> {
  if (answer.status < 300) return { result: "created", detail: null };
  const { description, errors } = answer.body as {
    readonly description?: string;
    readonly errors?: string[];
  };
  return {
    result: "failed",
    detail: [description ?? `status ${answer.status}`, ...(errors ?? [])].join(" "),
  };
}
