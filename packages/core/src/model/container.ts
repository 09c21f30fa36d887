import type { DatasetId, NodeId } from "./ids.ts";

/** When a container that has ended is started again. */
export type RestartPolicy =
  | { readonly name: "always" | "never" }
  | { readonly name: "on-failure"; readonly maximumRetryCount: number | null };

/**
 * What should run, for one container of Flocker's container API. It is kept for clients of /v1; no agent runs
 * containers yet.
 */
export interface ContainerConfiguration {
  /** Unique in the cluster. */
  readonly name: string;
  readonly node: NodeId;
  /** With its tag: `nginx:latest`. */
  readonly image: string;
  readonly restartPolicy: RestartPolicy;
  readonly ports: readonly { readonly internal: number; readonly external: number }[];
  /** Aliases are in lower case. */
  readonly links: readonly {
    readonly alias: string;
    readonly localPort: number;
    readonly remotePort: number;
  }[];
  /** The dataset that it uses: a container is where its dataset is. */
  readonly volume: { readonly dataset: DatasetId; readonly mountpoint: string } | null;
  readonly environment: Readonly<Record<string, string>>;
  readonly commandLine: readonly string[] | null;
  readonly memoryLimitBytes: number | null;
  /** Of 1,024: the weight that Docker calls CPU shares. */
  readonly cpuShares: number | null;
  /** From 0 to 100, as Docker has it. */
  readonly swappiness: number;
}
