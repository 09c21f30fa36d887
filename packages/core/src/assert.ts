/**
 * Asserts what must hold whatever the outside world does. A failure is a programming mistake: it is left on
 * in production, and the process is expected to crash and rediscover its state when it is started again.
 */
export function assert(condition: unknown, mustHold: string): asserts condition {
  if (!condition) throw new AssertionError(mustHold);
}

/** Thrown by {@link assert}; never caught to continue, only to report before the process ends. */
export class AssertionError extends Error {
  override readonly name = "AssertionError";
  constructor(mustHold: string) {
    super(`Programming mistake, this must hold: ${mustHold}`);
  }
}

/** Makes a `switch` over a union total: a member that was forgotten does not compile. */
export function unreachable(value: never): never {
  throw new AssertionError(`no case for ${JSON.stringify(value)}`);
}
