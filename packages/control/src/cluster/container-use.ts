import { failure, type DatasetId } from "@flocker/core";
import type { ContainerTable } from "./container-table.ts";

/**
 * A dataset that a container uses is moved with its container, and is not deleted under it. (The original
 * answered with an internal error.)
 */
export function checkUnused(
  dataset: DatasetId,
  containers: Pick<ContainerTable, "using">,
  doing: string,
): ReturnType<typeof failure> | undefined {
  const user = containers.using(dataset);
  if (user === undefined) return undefined;
  return failure(
    "container-conflict",
    `${doing}: the container ${user.name} uses it.`,
    "Move or delete the container instead; its dataset moves along.",
    "dataset",
  );
}
