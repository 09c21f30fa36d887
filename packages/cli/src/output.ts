import { styleText } from "node:util";
import type { Problem } from "@flocker/core";

/** What stands out on a screen that can show it. Nothing is said by colour alone. */
export type Colour = "red" | "yellow" | "green" | "cyan" | "dim" | "bold";

/** Where the command writes to: what was asked for to `out`, everything else to `error`. */
export interface Terminal {
  /** Writes to the standard output as it is. */
  out(text: string): void;
  /** Writes to the standard error as it is. */
  error(text: string): void;
  /** Somebody watches the standard error: progress may rewrite its line. */
  readonly live: boolean;
  /** Whether the standard output takes colours. */
  readonly colour: boolean;
  /** The width of the screen. */
  readonly columns: number;
}

/** Writes lines to the standard output. */
export function printLines(terminal: Terminal, ...lines: readonly string[]): void {
  for (const line of lines) terminal.out(`${line}\n`);
}

/** Writes a value for programs: JSON, indented, to the standard output. */
export function printJson(terminal: Terminal, value: unknown): void {
  terminal.out(`${JSON.stringify(value, null, 2)}\n`);
}

/** A remark that is not what was asked for, to the standard error. */
export function printNote(terminal: Terminal, text: string): void {
  terminal.error(`${printable(text)}\n`);
}

/**
 * Tells a problem: for people as sentences, for programs (with `json`) as one line of JSON, to the standard
 * error.
 */
export function printProblem(terminal: Terminal, problem: Problem, json: boolean): void {
  if (json) {
    terminal.error(`${JSON.stringify({ problem })}\n`);
    return;
  }
  const field = problem.field === undefined ? "" : ` (${problem.field})`;
  terminal.error(`error: ${printable(problem.message, true)}${printable(field)}\n`);
  terminal.error(`  ${printable(problem.remedy, true)}\n`);
}

/** The text in a colour, where the standard output takes colours. */
export function coloured(terminal: Terminal, colour: Colour, text: string): string {
  return terminal.colour ? styleText(colour, text, { validateStream: false }) : text;
}

export interface Column<Row> {
  readonly title: string;
  readonly value: (row: Row) => string;
  readonly alignRight?: boolean;
  readonly colour?: (row: Row) => Colour | null;
}

/** A table for people: columns two spaces apart under capital titles, as wide as their longest value. */
export function renderTable<Row>(
  terminal: Pick<Terminal, "colour">,
  columns: readonly Column<Row>[],
  rows: readonly Row[],
): string[] {
  const cells = rows.map((row) => columns.map((column) => printable(column.value(row))));
  const widths = columns.map((column, index) =>
    cells.reduce((width, line) => Math.max(width, widthOf(line[index] ?? "")), widthOf(column.title)),
  );
  const pad = (text: string, index: number): string => {
    const space = " ".repeat(Math.max((widths[index] ?? 0) - widthOf(text), 0));
    return columns[index]?.alignRight === true ? space + text : text + space;
  };
  const join = (parts: readonly string[]): string => parts.join("  ").trimEnd();
  const head = join(columns.map((column, index) => pad(column.title, index)));
  const body = rows.map((row, rowIndex) =>
    join(
      columns.map((column, index) => {
        const text = pad(cells[rowIndex]?.[index] ?? "", index);
        const colour = column.colour?.(row) ?? null;
        return colour === null || !terminal.colour
          ? text
          : styleText(colour, text, { validateStream: false });
      }),
    ),
  );
  return [head, ...body];
}

/**
 * The text without characters that would do something to the terminal: names come from the network, and must
 * not move the cursor or hide lines. With `lines`, line feeds stay.
 */
export function printable(text: string, lines = false): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => {
    if (lines && character === "\n") return character;
    const code = character.codePointAt(0) ?? 0;
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
  });
}

function widthOf(text: string): number {
  let width = 0;
  for (const _ of text) width += 1;
  return width;
}
