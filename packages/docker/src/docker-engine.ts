import { request } from "node:http";
import { Type } from "typebox";
import { compileCheck } from "@flocker/api";
import { failure, success, type Milliseconds, type Result } from "@flocker/core";

/** States in which a container does not use its volumes; in all others (also `created`) it may. */
const idle: ReadonlySet<string> = new Set(["exited", "dead"]);
const answerBytesMaximum = 16 * 2 ** 20;

const checkContainers = compileCheck(Type.Array(Type.Object({ Id: Type.String(), State: Type.String() })));

/**
 * How many containers of this Docker may be using a volume now. `peer-unreachable` where it does not answer
 * in time: then nothing is known.
 */
export async function containersUsing(
  volume: string,
  options: { readonly socketPath: string; readonly timeoutMs: Milliseconds },
): Promise<Result<number>> {
  const filters = encodeURIComponent(JSON.stringify({ volume: [volume] }));
  try {
    const containers: unknown = JSON.parse(
      await getText(`/containers/json?all=1&filters=${filters}`, options),
    );
    if (checkContainers(containers).length > 0)
      return unknown(options.socketPath, "its answer is not understood");
    return success((containers as { State: string }[]).filter(({ State }) => !idle.has(State)).length);
  } catch (error) {
    return unknown(options.socketPath, error instanceof Error ? error.message : String(error));
  }
}

function getText(
  path: string,
  { socketPath, timeoutMs }: { readonly socketPath: string; readonly timeoutMs: Milliseconds },
): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request(
      { socketPath, path, headers: { host: "docker" }, agent: false, signal: AbortSignal.timeout(timeoutMs) },
      (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("error", reject);
        response.on("data", (piece: string) => {
          text += piece;
          if (text.length > answerBytesMaximum) response.destroy(new Error("its answer is too long"));
        });
        response.on("end", () =>
          response.statusCode === 200
            ? resolve(text)
            : reject(new Error(`it answered ${response.statusCode}`)),
        );
      },
    );
    asked.on("error", reject);
    asked.end();
  });
}

function unknown(socketPath: string, why: string): ReturnType<typeof failure> {
  return failure(
    "peer-unreachable",
    `Docker at ${socketPath} could not be asked which containers run: ${why}.`,
    "Mounts from before stay noted as in use, until Docker unmounts them or the machine is started again.",
  );
}
