import { formatSize } from "@flocker/core";
import type { Colour } from "../output.ts";
import type { Difference, Step } from "./difference.ts";

const namesMax = 20;

/** A line of the difference, in the colour of its kind. */
export interface DifferenceLine {
  readonly text: string;
  readonly colour: Colour | null;
}

/** The difference for people. */
export function differenceLines(
  difference: Difference,
  nameOf: (node: string) => string,
): readonly DifferenceLine[] {
  const { steps, unchanged, unmanaged } = difference;
  const width = steps.reduce((longest, step) => Math.max(longest, step.name.length), 0);
  const lines: DifferenceLine[] = steps.map((step) => ({
    text: `${signs[step.kind]} ${step.kind}  ${step.name.padEnd(width)}  ${stepText(step, nameOf)}`.trimEnd(),
    colour: colours[step.kind],
  }));
  if (unmanaged.length > 0) {
    const names = unmanaged.slice(0, namesMax).map((dataset) => dataset.name ?? dataset.dataset_id);
    const more = unmanaged.length > namesMax ? `, and ${unmanaged.length - namesMax} more` : "";
    lines.push({
      text: `  not in the file, left alone (--prune deletes): ${names.join(", ")}${more}`,
      colour: "dim",
    });
  }
  const count = (kind: Step["kind"]): number => steps.filter((step) => step.kind === kind).length;
  lines.push({
    text:
      `${count("create")} to create, ${count("change")} to change, ${count("delete")} to delete, ` +
      `${unchanged.length} unchanged`,
    colour: null,
  });
  return lines;
}

const signs = { create: "+", change: "~", delete: "-" } as const;
const colours = { create: "green", change: "yellow", delete: "red" } as const;

/** What a step does, in words. */
export function stepText(step: Step, nameOf: (node: string) => string): string {
  switch (step.kind) {
    case "create": {
      const entries = Object.entries(step.metadata).map(([key, value]) => `${key}=${value}`);
      const limit = step.maximumSizeBytes === null ? [] : [`at most ${formatSize(step.maximumSizeBytes)}`];
      return [`on ${nameOf(step.node)}`, ...limit, ...entries].join(", ");
    }
    case "change": {
      const parts: string[] = [];
      if (step.node !== undefined) parts.push(`node: ${nameOf(step.node.from)} -> ${nameOf(step.node.to)}`);
      if (step.maximumSizeBytes !== undefined) {
        const { from, to } = step.maximumSizeBytes;
        parts.push(`size: ${limitText(from)} -> ${limitText(to)}`);
      }
      for (const [key, { from, to }] of step.metadata) {
        parts.push(`metadata ${key}: ${from ?? "(none)"} -> ${to ?? "(none)"}`);
      }
      return parts.join(", ");
    }
    case "delete":
      return `from ${nameOf(step.dataset.desired?.primary ?? "")}; its bytes are kept for the grace time`;
  }
}

function limitText(bytes: number | null): string {
  return bytes === null ? "no limit" : formatSize(bytes);
}

/** The difference for programs. */
export function differenceJson(difference: Difference): Record<string, unknown> {
  const id = (dataset: { readonly dataset_id: string; readonly name: string | null }): unknown => ({
    dataset_id: dataset.dataset_id,
    name: dataset.name,
  });
  return {
    steps: difference.steps.map((step) => {
      if (step.kind === "create") {
        const { kind, name, node, maximumSizeBytes, metadata } = step;
        return { kind, name, node_id: node, maximum_size: maximumSizeBytes, metadata };
      }
      const { kind, name, dataset } = step;
      if (kind === "delete") return { kind, name, dataset_id: dataset.dataset_id };
      return {
        kind,
        name,
        dataset_id: dataset.dataset_id,
        ...(step.node === undefined ? {} : { node_id: step.node }),
        ...(step.maximumSizeBytes === undefined ? {} : { maximum_size: step.maximumSizeBytes }),
        ...(step.metadata.size === 0
          ? {}
          : {
              metadata: Object.fromEntries(
                [...step.metadata].map(([key, { from, to }]) => [
                  key,
                  { from: from ?? null, to: to ?? null },
                ]),
              ),
            }),
      };
    }),
    unchanged: difference.unchanged.map(id),
    unmanaged: difference.unmanaged.map(id),
  };
}
