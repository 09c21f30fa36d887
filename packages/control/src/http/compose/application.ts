import type { ContainerConfiguration } from "@flocker/core";

/** An application as a file describes it: a container that is not placed yet. */
export interface Application {
  readonly name: string;
  readonly image: string;
  readonly ports: ContainerConfiguration["ports"];
  readonly links: ContainerConfiguration["links"];
  readonly volume: ApplicationVolume | null;
  readonly environment: Readonly<Record<string, string>>;
  readonly memoryLimitBytes: number | null;
  readonly cpuShares: number | null;
  readonly restartPolicy: ContainerConfiguration["restartPolicy"];
}

/** An application's volume. */
export interface ApplicationVolume {
  readonly mountpoint: string;
  /** Null: that of the application's name. */
  readonly dataset: string | null;
  readonly maximumSizeBytes: number | null;
}
