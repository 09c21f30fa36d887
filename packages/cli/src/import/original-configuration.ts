import type { v1 } from "@flocker/api";
import { failure, parseDatasetId, parseNodeId, success, type Milliseconds, type Result } from "@flocker/core";
import {
  membersOf,
  pairsOf,
  pathOf,
  recordOf,
  textsOf,
  uuidOf,
  type OriginalRecord,
} from "./original-values.ts";

/** What of the original's configuration can be carried over, as the requests of /v1 that ask for it. */
export interface OriginalConfiguration {
  /** From 1 to 6. */
  readonly version: number;
  readonly datasets: readonly (v1.NewDataset & { readonly dataset_id: string })[];
  readonly containers: readonly v1.NewContainer[];
  readonly leases: readonly {
    readonly dataset: string;
    readonly node: string;
    readonly expiresAt: Milliseconds | null;
  }[];
  /** What cannot be, and what had to be changed, in sentences. */
  readonly notes: readonly string[];
}

const newestVersion = 6;
const smallestSizeBytes = 67_108_864;
const sizeStepBytes = 1024;

/**
 * Reads the text of the original's current_configuration.json (or, of version 1,
 * current_configuration.v1.json). `configuration-invalid` where it is neither. `nodesByAddress` is for files
 * from before nodes had uuids.
 */
export function readOriginalConfiguration(
  text: string,
  nodesByAddress: ReadonlyMap<string, string> = new Map(),
): Result<OriginalConfiguration> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    return invalid(`it is not JSON: ${(error as Error).message}`);
  }
  const wrapped = recordOf(json, "Configuration");
  const version = wrapped === undefined ? 1 : wrapped.fields["version"];
  if (typeof version !== "number" || !Number.isInteger(version) || version < 1)
    return invalid("its version is not a number");
  if (version > newestVersion)
    return invalid(`it has version ${version}, and Flocker 1.15 wrote version ${newestVersion}`);
  const deployment = recordOf(wrapped === undefined ? json : wrapped.fields["deployment"], "Deployment");
  if (deployment === undefined) return invalid("there is no Deployment in it");
  return success(new Reader(nodesByAddress).read(deployment, version));
}

function invalid(why: string): Result<never> {
  return failure(
    "configuration-invalid",
    `The file cannot be the configuration of the original Flocker: ${why}.`,
    "Give the control service's current_configuration.json, from /var/lib/flocker.",
  );
}

class Reader {
  readonly #nodesByAddress: ReadonlyMap<string, string>;
  readonly #datasets = new Map<string, OriginalConfiguration["datasets"][number]>();
  readonly #containers: v1.NewContainer[] = [];
  readonly #leases: OriginalConfiguration["leases"][number][] = [];
  readonly #notes: string[] = [];

  constructor(nodesByAddress: ReadonlyMap<string, string>) {
    this.#nodesByAddress = nodesByAddress;
  }

  read({ fields }: OriginalRecord, version: number): OriginalConfiguration {
    for (const member of membersOf(fields["nodes"])) {
      const record = recordOf(member, "Node");
      if (record === undefined) this.#note("Something that is no node stands among the nodes.");
      else this.#readNode(record);
    }
    for (const [, value] of pairsOf(fields["leases"])) this.#readLease(recordOf(value, "Lease"));
    const devices = pairsOf(
      recordOf(fields["persistent_state"], "PersistentState")?.fields["blockdevice_ownership"],
    );
    if (devices.length > 0)
      this.#note(
        `Which block device holds which dataset (${devices.length} entries) means nothing here and is left out.`,
      );
    return {
      version,
      datasets: [...this.#datasets.values()],
      containers: this.#containers,
      leases: this.#leases,
      notes: this.#notes,
    };
  }

  #note(text: string): void {
    this.#notes.push(text);
  }

  #readNode({ fields }: OriginalRecord): void {
    const { uuid, hostname } = fields;
    const node =
      parseNodeId(uuidOf(uuid) ?? "") ??
      (typeof hostname === "string" ? this.#nodesByAddress.get(hostname) : undefined);
    const manifestations = membersOf(fields["manifestations"]);
    const applications = membersOf(fields["applications"]);
    if (node === undefined) {
      const name = typeof hostname === "string" ? hostname : JSON.stringify(uuid ?? null);
      if (manifestations.length + applications.length > 0)
        this.#note(
          `What is on node ${name} is left out: it has no uuid, and no node of this cluster has that address.`,
        );
      return;
    }
    for (const member of manifestations) this.#readManifestation(recordOf(member, "Manifestation"), node);
    for (const member of applications) this.#readApplication(recordOf(member, "Application"), node);
  }

  #readManifestation(record: OriginalRecord | undefined, node: string): void {
    const dataset = recordOf(record?.fields["dataset"], "Dataset");
    const id = parseDatasetId(uuidOf(dataset?.fields["dataset_id"]) ?? "");
    if (record === undefined || dataset === undefined || id === undefined) {
      const shown = JSON.stringify(dataset?.fields["dataset_id"] ?? null);
      return this.#note(`A dataset on node ${node} is left out: its id ${shown} is no version 4 uuid.`);
    }
    if (record.fields["primary"] !== true)
      return this.#note(
        `A replica of dataset ${id} on node ${node} is left out: the original never made one.`,
      );
    if (dataset.fields["deleted"] === true)
      return this.#note(
        `Dataset ${id} is left out: it was deleted. Nothing keeps its id from being used again.`,
      );
    const known = this.#datasets.get(id);
    if (known !== undefined)
      return this.#note(
        `Dataset ${id} is on nodes ${known.primary} and ${node}: it is taken from the first.`,
      );
    const size = this.#sizeOf(id, dataset.fields["maximum_size"]);
    const metadata = textsOf(dataset.fields["metadata"]);
    this.#datasets.set(id, {
      dataset_id: id,
      primary: node,
      metadata,
      ...(size === null ? {} : { maximum_size: size }),
    });
  }

  /** Before 1.10.2 a size could be any number. */
  #sizeOf(dataset: string, value: unknown): number | null {
    if (value === null || value === undefined) return null;
    if (typeof value !== "number" || !Number.isFinite(value) || value > Number.MAX_SAFE_INTEGER) {
      this.#note(`Dataset ${dataset} gets no maximum size: ${JSON.stringify(value)} is none.`);
      return null;
    }
    const size = Math.max(smallestSizeBytes, Math.ceil(value / sizeStepBytes) * sizeStepBytes);
    if (size !== value)
      this.#note(`The maximum size of dataset ${dataset} is raised from ${value} to ${size} bytes.`);
    return size;
  }

  #readLease(record: OriginalRecord | undefined): void {
    const dataset = parseDatasetId(uuidOf(record?.fields["dataset_id"]) ?? "");
    const node = parseNodeId(uuidOf(record?.fields["node_id"]) ?? "");
    if (record === undefined || dataset === undefined || node === undefined)
      return this.#note("A lease is left out: its dataset or node is no version 4 uuid.");
    const expiration = record.fields["expiration"];
    if (expiration === null || expiration === undefined) {
      this.#leases.push({ dataset, node, expiresAt: null });
      return;
    }
    const seconds = recordOf(expiration, "datetime")?.fields["seconds"];
    if (typeof seconds === "number") this.#leases.push({ dataset, node, expiresAt: seconds * 1000 });
    else this.#note(`The lease on dataset ${dataset} is left out: its end cannot be read.`);
  }

  #readApplication(record: OriginalRecord | undefined, node: string): void {
    if (typeof record?.fields["name"] !== "string")
      return this.#note(`A container on node ${node} is left out: it has no name.`);
    const container = containerOf(record, record.fields["name"], node);
    if (container === undefined)
      this.#note(`The container ${record.fields["name"]} is left out: its image cannot be read.`);
    else this.#containers.push(container);
  }
}

function containerOf({ fields }: OriginalRecord, name: string, node: string): v1.NewContainer | undefined {
  const image = recordOf(fields["image"], "DockerImage")?.fields;
  if (typeof image?.["repository"] !== "string") return undefined;
  const ports = membersOf(fields["ports"]).flatMap((member) => {
    const port = recordOf(member, "Port")?.fields;
    return port === undefined
      ? []
      : [{ internal: Number(port["internal_port"]), external: Number(port["external_port"]) }];
  });
  const links = membersOf(fields["links"]).flatMap((member) => {
    const link = recordOf(member, "Link")?.fields;
    if (typeof link?.["alias"] !== "string") return [];
    return [
      {
        alias: link["alias"],
        local_port: Number(link["local_port"]),
        remote_port: Number(link["remote_port"]),
      },
    ];
  });
  const environment = textsOf(fields["environment"]);
  const { command_line: commandLine, swappiness } = fields;
  return {
    name,
    node_uuid: node,
    image: `${image["repository"]}:${typeof image["tag"] === "string" ? image["tag"] : "latest"}`,
    restart_policy: restartPolicyOf(fields["restart_policy"]),
    ...(ports.length === 0 ? {} : { ports }),
    ...(links.length === 0 ? {} : { links }),
    ...volumesOf(fields["volume"]),
    ...(Object.keys(environment).length === 0 ? {} : { environment }),
    ...(typeof fields["memory_limit"] === "number" ? { memory_limit: fields["memory_limit"] } : {}),
    ...(typeof fields["cpu_shares"] === "number" ? { cpu_shares: fields["cpu_shares"] } : {}),
    ...(Array.isArray(commandLine) ? { command_line: commandLine.map(String) } : {}),
    ...(typeof swappiness === "number" && swappiness !== 0 ? { swappiness } : {}),
  };
}

function volumesOf(value: unknown): Pick<v1.NewContainer, "volumes"> {
  const volume = recordOf(value, "AttachedVolume")?.fields;
  const dataset = recordOf(
    recordOf(volume?.["manifestation"], "Manifestation")?.fields["dataset"],
    "Dataset",
  );
  const id = uuidOf(dataset?.fields["dataset_id"]);
  const mountpoint = pathOf(volume?.["mountpoint"]);
  return id === undefined || mountpoint === undefined ? {} : { volumes: [{ dataset_id: id, mountpoint }] };
}

function restartPolicyOf(value: unknown): NonNullable<v1.NewContainer["restart_policy"]> {
  const policy = recordOf(value);
  if (policy?.$class === "RestartAlways") return { name: "always" };
  if (policy?.$class !== "RestartOnFailure") return { name: "never" };
  const count = policy.fields["maximum_retry_count"];
  return typeof count === "number"
    ? { name: "on-failure", maximum_retry_count: count }
    : { name: "on-failure" };
}
