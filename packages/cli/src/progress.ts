import { printable, type Terminal } from "./output.ts";

/** Tells how something that is waited for goes on. */
export interface Progress {
  /**
   * Shows the state of things. On a terminal it rewrites one line; elsewhere it writes a line, but only when
   * `stage` is another than before, so that logs do not fill up with percentages.
   */
  show(stage: string, text: string): void;
  /** Writes a line that stays, above the one that changes. */
  remark(text: string): void;
  /** Takes the changing line away. */
  end(): void;
}

const clearLine = "\r\u001b[2K";

/** Progress on the standard error, so that it never gets in the way of the answer. */
export function progressOn(terminal: Terminal): Progress {
  let stage: string | undefined;
  let shown = false;
  const wipe = (): void => {
    if (shown) terminal.error(clearLine);
    shown = false;
  };
  return {
    show(newStage, text) {
      const line = printable(text);
      if (terminal.live) {
        // A line that wraps could not be taken away again.
        terminal.error(`${clearLine}${cut(line, terminal.columns - 1)}`);
        shown = true;
      } else if (newStage !== stage) {
        terminal.error(`${line}\n`);
      }
      stage = newStage;
    },
    remark(text) {
      wipe();
      terminal.error(`${printable(text)}\n`);
    },
    end: wipe,
  };
}

/** For programs (`--json`), which want no progress. */
export const silentProgress: Progress = {
  show: () => undefined,
  remark: () => undefined,
  end: () => undefined,
};

function cut(text: string, width: number): string {
  const characters = Array.from(text);
  return characters.length <= width ? text : `${characters.slice(0, Math.max(width - 1, 0)).join("")}…`;
}
