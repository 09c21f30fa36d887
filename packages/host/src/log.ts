import { pino } from "pino";
import type { DestinationStream, Logger } from "pino";
import type { Log, LogLevel } from "@flocker/core";

/** The names that every line has for itself; a field of that name gets an underscore behind it. */
const reservedNames: readonly string[] = ["level", "time", "event"];

/**
 * A log that writes one JSON object a line, to standard error unless told otherwise:
 * `{"level":"info","time":"2026-11-25T10:00:00.000Z",…fields,"event":"agent-started"}`.
 * Lines are written before `write` returns, so that the last words before a crash are there.
 */
export function createLog(options: {
  readonly level: LogLevel;
  readonly destination?: DestinationStream;
}): Log {
  return logOver(
    pino(
      {
        level: options.level,
        base: null,
        messageKey: "event",
        timestamp: pino.stdTimeFunctions.isoTime,
        formatters: { level: (label) => ({ level: label }) },
        serializers: { error: pino.stdSerializers.err, err: pino.stdSerializers.err },
      },
      options.destination ?? standardError(),
    ),
  );
}

function standardError(): DestinationStream {
  const destination = pino.destination({ fd: 2, sync: true });
  // Nobody reads the log any more: that must not stop a service that keeps people's data.
  destination.on("error", () => undefined);
  return destination;
}

function logOver(logger: Logger): Log {
  return {
    write: (level, event, fields = {}) => logger[level](withoutReserved(fields), event),
    with: (fields) => logOver(logger.child(withoutReserved(fields))),
  };
}

function withoutReserved(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const renamed = { ...fields };
  for (const name of reservedNames) {
    if (name in renamed) {
      renamed[`${name}_`] = renamed[name];
      delete renamed[name];
    }
  }
  return renamed;
}

/** A log that nobody reads. */
export const silentLog: Log = { write: () => undefined, with: () => silentLog };

/** One line of a log kept in memory. */
export interface LogEntry {
  readonly level: LogLevel;
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** A log that keeps its newest lines (of all that `with` derives from it, too) in memory, oldest first. */
export function ringLog(capacity: number = 1000): Log & { entries(): readonly LogEntry[] } {
  const entries: LogEntry[] = [];
  const derive = (base: Readonly<Record<string, unknown>>): Log => ({
    write(level, event, fields = {}) {
      entries.push({ level, event, fields: { ...base, ...fields } });
      if (entries.length > capacity) entries.shift();
    },
    with: (fields) => derive({ ...base, ...fields }),
  });
  return { ...derive({}), entries: () => [...entries] };
}
