import { readFileSync } from "node:fs";
import { failure, success } from "@flocker/core";
import type { Result } from "@flocker/core";
import type { Static, TSchema } from "typebox";
import { Default } from "typebox/value";
import { LineCounter, isAlias, isMap, isNode, isScalar, parseDocument } from "yaml";
import type { Document, Pair } from "yaml";
import { mistakesIn } from "./schema-mistakes.ts";
import type { Mistake } from "./schema-mistakes.ts";

const maxFileBytes = 2 ** 20;

/** What else a configuration file is held to. */
export interface ConfigurationFileOptions<Value> {
  /** Rules that the schema cannot say, looked at once it fits. */
  readonly check?: (value: Value) => readonly Mistake[];
}

interface Located {
  readonly line: number;
  readonly column: number;
  /** The keys to it, as in `control.port`; empty for errors of the syntax. */
  readonly key: string;
  readonly cause: string;
  readonly remedy: string;
}

/**
 * Reads a service's configuration from a YAML 1.2 file and checks it against a schema, whose defaults are
 * filled in. Everything that is wrong is listed at once, with line, column and key: `configuration-invalid`,
 * or `file-unreadable`.
 */
export function loadConfigurationFile<Schema extends TSchema>(
  path: string,
  schema: Schema,
  options: ConfigurationFileOptions<Static<Schema>> = {},
): Result<Static<Schema>> {
  const text = readText(path);
  if (!text.ok) return text;
  return parseConfiguration(path, text.value, schema, options);
}

/** The same for a text; the path is for the problems' words only. */
export function parseConfiguration<Schema extends TSchema>(
  path: string,
  text: string,
  schema: Schema,
  options: ConfigurationFileOptions<Static<Schema>> = {},
): Result<Static<Schema>> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, version: "1.2" });
  const syntax = [...document.errors, ...document.warnings].map((error): Located => {
    const { line, col } = lines.linePos(error.pos[0]);
    return { line, column: col, key: "", ...syntaxWords(error.code, error.message) };
  });
  if (syntax.length > 0) return invalid(path, syntax);

  let value: unknown;
  try {
    value = document.toJS() ?? {};
  } catch (error) {
    // Aliases that name no anchor, or that multiply without end.
    const cause = error instanceof Error ? error.message : String(error);
    return invalid(path, [{ line: 1, column: 1, key: "", cause, remedy: "Write the values out." }]);
  }
  const filled = Default(schema, value);
  const mistakes = mistakesIn(schema, filled);
  if (mistakes.length > 0) return invalid(path, located(mistakes, document, lines));
  const checked = filled as Static<Schema>;
  const others = options.check?.(checked) ?? [];
  return others.length > 0 ? invalid(path, located(others, document, lines)) : success(checked);
}

function readText(path: string): Result<string> {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? String(error);
    return failure(
      "file-unreadable",
      `Reading the configuration file ${path} failed: ${reason}.`,
      "Check the path, and that this user may read the file.",
    );
  }
  if (bytes.length > maxFileBytes) {
    return failure(
      "configuration-invalid",
      `The configuration file ${path} has ${bytes.length} bytes, and this can be none: at most ${maxFileBytes} are read.`,
      "Check the path.",
    );
  }
  try {
    return success(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return failure(
      "configuration-invalid",
      `The configuration file ${path} is no text in UTF-8.`,
      "Save it as UTF-8, and check the path.",
    );
  }
}

function syntaxWords(code: string, message: string): { readonly cause: string; readonly remedy: string } {
  switch (code) {
    case "DUPLICATE_KEY":
      return { cause: "this key is here a second time", remedy: "Keep one of the two." };
    case "TAB_AS_INDENT":
      return { cause: "a tab is used to indent", remedy: "Indent with spaces." };
    case "MULTIPLE_DOCS":
      return { cause: "a second document starts here", remedy: "Keep one document in the file." };
    default:
      return {
        cause: `this is no YAML: ${message}`,
        remedy: "Correct the syntax; mind indentation and quotes.",
      };
  }
}

function located(mistakes: readonly Mistake[], document: Document, lines: LineCounter): readonly Located[] {
  return mistakes.map((mistake) => {
    const { line, col } = lines.linePos(offsetOf(mistake, document));
    const key = mistake.path.map(String).join(".");
    return { line, column: col, key, cause: mistake.cause, remedy: mistake.remedy };
  });
}

/** Where in the text a mistake is. */
function offsetOf(mistake: Mistake, document: Document): number {
  const parentPath = mistake.path.slice(0, -1);
  if (mistake.at !== "parent") {
    const pair = pairAt(document, mistake.path);
    const value = document.getIn(mistake.path, true);
    // An empty value has no place of its own.
    const target = mistake.at === "key" || (isScalar(value) && value.source === "") ? pair?.key : value;
    if (isNode(target) && target.range) return target.range[0];
    if (isNode(pair?.key) && pair.key.range) return pair.key.range[0];
  }
  if (parentPath.length === 0) return 0;
  const parentKey = pairAt(document, parentPath)?.key;
  if (isNode(parentKey) && parentKey.range) return parentKey.range[0];
  const parent = document.getIn(parentPath, true);
  if (isNode(parent) && parent.range) return parent.range[0];
  // The parent is not in the text itself: it came out of an alias or a default.
  return offsetOf({ ...mistake, path: parentPath, at: "parent" }, document);
}

function pairAt(document: Document, path: readonly (string | number)[]): Pair | undefined {
  let parent: unknown = path.length === 1 ? document.contents : document.getIn(path.slice(0, -1), true);
  if (isAlias(parent)) parent = parent.resolve(document);
  if (!isMap(parent)) return undefined;
  return parent.items.find((pair) => isScalar(pair.key) && String(pair.key.value) === String(path.at(-1)));
}

function invalid(path: string, errors: readonly Located[]): ReturnType<typeof failure> {
  const sorted = errors.toSorted((a, b) => a.line - b.line || a.column - b.column);
  const [only, ...more] = sorted.map((error) => {
    const key = error.key === "" ? "" : `${error.key}: `;
    return `line ${error.line}, column ${error.column}: ${key}${error.cause}`;
  });
  const field = sorted[0]?.key === "" ? undefined : sorted[0]?.key;
  const said =
    more.length === 0
      ? `The configuration file ${path} cannot be used: ${only}.`
      : `The configuration file ${path} cannot be used, it has ${sorted.length} mistakes:\n` +
        [only, ...more].map((line) => `  ${line}`).join("\n");
  const remedies = sorted.map((error) => (more.length === 0 ? "" : `Line ${error.line}: `) + error.remedy);
  return failure("configuration-invalid", said, remedies.join("\n"), field);
}
