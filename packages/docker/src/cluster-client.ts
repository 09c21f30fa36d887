import { answerResult, type Client, type SuccessBody, type v2Endpoints } from "@flocker/api";
import { ProblemError, type Result } from "@flocker/core";

/** The typed client of the control service's API. */
export type ClusterClient = Client<typeof v2Endpoints>;

/** Asks the control service, and answers what went wrong as a value. */
export async function ask<A extends { readonly status: number; readonly body: unknown }>(
  call: () => Promise<A>,
): Promise<Result<SuccessBody<A>>> {
  try {
    return answerResult(await call()) as Result<SuccessBody<A>>;
  } catch (error) {
    if (error instanceof ProblemError) return { ok: false, problem: error.problem };
    throw error;
  }
}

/** Problems that end by themselves when the control service is back. */
export function isPassing(code: string): boolean {
  return code === "control-unreachable" || code === "deadline-exceeded";
}
