/** How many columns a line of a comment or document may have. */
export const proseColumns = 110;

/**
 * A run of lines that flow as one: the text, and what stands before it on its first line and on the others.
 */
interface Paragraph {
  readonly first: string;
  readonly rest: string;
  readonly lines: string[];
}

/**
 * Fills the comments of a TypeScript file anew where one of their lines is too long. Lists keep their items;
 * what is indented within a comment (diagrams, examples) stays as it is, and so do comments beside code.
 */
export function wrapComments(text: string): string {
  return wrapParagraphs(text.split("\n").flatMap(unfoldShort), commentParagraph).join("\n");
}

/** Fills the paragraphs and list items of a Markdown file anew where one of their lines is too long. */
export function wrapMarkdown(text: string): string {
  let fenced = false;
  const start = (line: string): Paragraph | null => {
    if (/^\s*(```|~~~)/.test(line)) fenced = !fenced;
    return fenced ? null : markdownParagraph(line);
  };
  return wrapParagraphs(text.split("\n"), start).join("\n");
}

/** A doc comment on one line that does not fit becomes one on three. */
function unfoldShort(line: string): readonly string[] {
  const match = /^(\s*)\/\*\* (.*) \*\/$/.exec(line);
  if (match === null || columnsOf(line) <= proseColumns) return [line];
  const [, indent = "", text = ""] = match;
  return [`${indent}/**`, `${indent} * ${text}`, `${indent} */`];
}

/** Gathers lines into paragraphs, which `start` begins, and fills those that have a line that is too long. */
function wrapParagraphs(
  lines: readonly string[],
  start: (line: string) => Paragraph | null,
): readonly string[] {
  const wrapped: string[] = [];
  let open: Paragraph | null = null;
  const close = (): void => {
    if (open !== null) wrapped.push(...(open.lines.some(isLong) ? fill(open) : open.lines));
    open = null;
  };
  for (const line of lines) {
    const begun = start(line);
    if (open !== null && begun !== null && continues(open, line)) {
      open.lines.push(line);
      continue;
    }
    close();
    if (begun === null) wrapped.push(line);
    else open = { ...begun, lines: [line] };
  }
  close();
  return wrapped;
}

/** Whether a line goes on with the paragraph: the same margin, and neither a list item nor deeper. */
function continues(paragraph: Paragraph, line: string): boolean {
  if (!line.startsWith(paragraph.rest)) return false;
  const text = line.slice(paragraph.rest.length);
  return /^\S/.test(text) && !itemPattern.test(text);
}

const itemPattern = /^([-*+]|\d+[.)]) +/;

function commentParagraph(line: string): Paragraph | null {
  const match = /^(\s*(?:\*|\/\/) )(\S.*)$/.exec(line);
  if (match === null) return null;
  const [, margin = "", text = ""] = match;
  // Instructions to tools are one line, and the end of a comment belongs to its last line.
  if (/^(oxlint-|@ts-|eslint-|\||\/$)/.test(text) || text.endsWith("*/")) return null;
  return paragraphAt(margin, text);
}

function markdownParagraph(line: string): Paragraph | null {
  const match = /^(\s*)(\S.*)$/.exec(line);
  if (match === null) return null;
  const [, margin = "", text = ""] = match;
  if (/^(#|\||<|>|\[[^\]]+\]:)/.test(text)) return null;
  return paragraphAt(margin, text);
}

function paragraphAt(margin: string, text: string): Paragraph {
  const item = itemPattern.exec(text)?.[0] ?? "";
  return { first: margin + item, rest: margin + " ".repeat(item.length), lines: [] };
}

function fill(paragraph: Paragraph): readonly string[] {
  const { first, rest } = paragraph;
  const text = paragraph.lines
    .map((line, index) => line.slice(index === 0 ? first.length : rest.length))
    .join(" ");
  const filled: string[] = [];
  let line = first;
  let empty = true;
  for (const word of wordsOf(text)) {
    if (!empty && columnsOf(line) + 1 + columnsOf(word) > proseColumns) {
      filled.push(line);
      line = rest;
      empty = true;
    }
    line += empty ? word : ` ${word}`;
    empty = false;
  }
  return [...filled, line];
}

/**
 * What must not be broken: words, code, links; and nothing may begin a line that would make it a list item
 * there.
 */
function wordsOf(text: string): readonly string[] {
  const words: string[] = [];
  for (const [word] of text.matchAll(/(?:`[^`]*`|\[[^\]]*\]\([^)]*\)|\S)+/g)) {
    const last = words.at(-1);
    if (last !== undefined && /^([-+*#>|]+|\d+[.)])$/.test(word)) words[words.length - 1] = `${last} ${word}`;
    else words.push(word);
  }
  return words;
}

function isLong(line: string): boolean {
  return columnsOf(line) > proseColumns;
}

function columnsOf(text: string): number {
  return Array.from(text).length;
}
