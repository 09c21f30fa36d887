import { randomUUID } from "node:crypto";
import type { Ids, Random } from "@flocker/core";

/** Chance for jitter and the like; not for secrets. */
export const systemRandom: Random = { next: () => Math.random() };

/** Fresh version 4 uuids from the system's random source. */
export const systemIds: Ids = { uuid: () => randomUUID() };
