import { refuse } from "../problems.ts";

/** A named set of what new copies get. */
export interface ZfsProfile {
  /** The pool, or a dataset in one, that they are made in; absent: where all others are. */
  readonly pool?: string;
  /** Properties of ZFS, over those that every copy gets. */
  readonly properties: Readonly<Record<string, string>>;
}

/**
 * The profiles that the original's clients know by name, unless the configuration has its own. Gold is for
 * databases, whose pages are small; bronze trades speed for space.
 */
export const usualProfiles: Readonly<Record<string, ZfsProfile>> = {
  gold: { properties: { compression: "lz4", recordsize: "16K" } },
  silver: { properties: { compression: "lz4", recordsize: "128K" } },
  bronze: { properties: { compression: "zstd", recordsize: "1M" } },
};

/** The profile of that name, or an empty one where none is asked for; throws `profile-unknown`. */
export function profileNamed(
  profiles: Readonly<Record<string, ZfsProfile>>,
  name: string | undefined,
): ZfsProfile {
  if (name === undefined) return { properties: {} };
  const profile = Object.hasOwn(profiles, name) ? profiles[name] : undefined;
  if (profile !== undefined) return profile;
  throw refuse(
    "profile-unknown",
    `The dataset asks for the profile "${name}", and this node has only ${Object.keys(profiles).join(", ")}.`,
    "Add it to dataset.profiles in agent.yml on this node and restart the agent.",
  );
}
