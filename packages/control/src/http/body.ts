const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A body's bytes as text; undefined where they are no UTF-8. No body is an empty text. */
export function bodyText(body: unknown): string | undefined {
  if (!(body instanceof Uint8Array)) return "";
  try {
    return decoder.decode(body);
  } catch {
    return undefined;
  }
}
