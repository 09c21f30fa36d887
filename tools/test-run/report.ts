import { styleText } from "node:util";
import type { Failure, FileOutcome, Skip } from "./outcome.ts";

/** How many lines of a failed file's output are shown. */
const outputLines = 60;

type Style = Parameters<typeof styleText>[0];

function styled(style: Style, text: string): string {
  return styleText(style, text, { stream: process.stdout });
}

/** One line for a file that has ended. */
export function progressLine(outcome: FileOutcome): string {
  const failed = outcome.failures.length > 0;
  const counts = [
    `${outcome.passed} passed`,
    ...(failed ? [`${outcome.failures.length} failed`] : []),
    ...(outcome.skips.length > 0 ? [`${outcome.skips.length} skipped`] : []),
  ].join(", ");
  const mark = failed ? styled(["red", "bold"], "FAIL") : styled("green", "ok  ");
  return `${mark} ${outcome.file}  ${styled("dim", `${counts}, ${seconds(outcome.durationMs)}`)}`;
}

/** Everything that failed, file by file, with the command that repeats just that file. */
export function failureReport(
  failures: readonly Failure[],
  outcomes: readonly FileOutcome[],
): readonly string[] {
  const files = [...new Set(failures.map((failure) => failure.file))];
  return files.flatMap((file) => {
    const own = failures.filter((failure) => failure.file === file);
    const output = outcomes.find((outcome) => outcome.file === file)?.output.trimEnd() ?? "";
    return [
      "",
      styled(["red", "bold"], `FAIL ${file}`),
      ...own.flatMap((failure) => [`  ${styled("bold", failure.name)}`, indent(failure.error, 6)]),
      ...(output === "" ? [] : ["  output (its end):", indent(tail(output), 6)]),
      `  again: npm test -- ${file}`,
    ];
  });
}

/** The skipped tests under their reasons. */
export function skipReport(skips: readonly Skip[]): readonly string[] {
  if (skips.length === 0) return [];
  const reasons = [...new Set(skips.map((skip) => skip.reason ?? "no reason given"))];
  return [
    "",
    styled("bold", "Skipped"),
    ...reasons.flatMap((reason) => [
      `  ${reason}`,
      ...skips
        .filter((skip) => (skip.reason ?? "no reason given") === reason)
        .map((skip) => styled("dim", `    ${skip.file}: ${skip.name}`)),
    ]),
  ];
}

/** The totals; the last line stands alone, for people and programs. */
export function totals(
  outcomes: readonly FileOutcome[],
  failures: readonly Failure[],
  durationMs: number,
): readonly string[] {
  const passed = outcomes.reduce((sum, outcome) => sum + outcome.passed, 0);
  const skipped = outcomes.reduce((sum, outcome) => sum + outcome.skips.length, 0);
  const slowest = outcomes.toSorted((a, b) => b.durationMs - a.durationMs).slice(0, 3);
  const names = slowest.map((outcome) => `${outcome.file} ${seconds(outcome.durationMs)}`).join(", ");
  return [
    "",
    styled("dim", `${outcomes.length} files in ${seconds(durationMs)}; slowest: ${names}`),
    `${passed} passed, ${failures.length} failed, ${skipped} skipped`,
  ];
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

function indent(text: string, by: number): string {
  return text.replaceAll(/^(?=.)/gm, " ".repeat(by));
}

function tail(text: string): string {
  return text.split("\n").slice(-outputLines).join("\n");
}
