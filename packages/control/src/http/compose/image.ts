/**
 * An image's name with its tag, `latest` unless it has one; undefined where it has no repository or an empty
 * tag.
 */
export function parseImage(text: string): string | undefined {
  const colon = text.lastIndexOf(":");
  if (colon < 0) return text === "" ? undefined : `${text}:latest`;
  return colon === 0 || colon === text.length - 1 ? undefined : text;
}

/** What the original says of an image's name that it cannot read. */
export function imageMistake(text: string): string {
  return `Docker image names must have format 'repository[:tag]'. Found '${text}'.`;
}
