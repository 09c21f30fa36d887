/** At most so many candidates help; more are a list. */
const candidatesMaximum = 3;
const differencesMaximum = 3;

/**
 * Those that somebody may have meant: ids that differ in up to three places, or begin with the same eight
 * characters, and names that contain the text or differ from it in as little. Cheap enough to look at every
 * id there is.
 */
export function nearCandidates(wanted: string, known: Iterable<string>): readonly string[] {
  const found: string[] = [];
  for (const candidate of known) {
    if (candidate === wanted || !isNear(wanted, candidate)) continue;
    found.push(candidate);
    if (found.length === candidatesMaximum) break;
  }
  return found;
}

function isNear(wanted: string, candidate: string): boolean {
  if (candidate.startsWith(wanted.slice(0, 8))) return true;
  if (candidate.length !== wanted.length) return false;
  let differences = 0;
  for (let index = 0; index < wanted.length; index += 1) {
    if (wanted[index] !== candidate[index]) differences += 1;
    if (differences > differencesMaximum) return false;
  }
  return true;
}

/** A sentence for a problem's remedy: ` Did you mean … or …?`, or nothing where nothing is near. */
export function didYouMean(candidates: readonly string[]): string {
  return candidates.length === 0 ? "" : ` Did you mean ${candidates.join(" or ")}?`;
}
