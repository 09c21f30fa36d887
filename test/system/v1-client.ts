import { readFile } from "node:fs/promises";
import { Agent, request as httpsRequest } from "node:https";
import { join } from "node:path";
import type { Rig } from "./rig.ts";

/** An answer as clients of /v1 get it. */
export interface V1Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: unknown;
}

/** How a client behaves on the wire. */
export interface ClientHabits {
  /** Sent with every request. */
  readonly headers?: () => Readonly<Record<string, string>>;
  /** The name that it asks for and checks; the host that is dialled unless given. */
  readonly serverName?: string;
  readonly maxVersion?: "TLSv1.2";
  /** It looks at no certificate of the server. */
  readonly trusting?: boolean;
  /** It shows the authority's certificate, too. */
  readonly showsAuthority?: boolean;
  /** One connection for all requests, or one for each. */
  readonly keepAlive: boolean;
}

/** A client of /v1 as others have written it: only what it sends is ours. */
export interface V1Client {
  ask(
    method: string,
    path: string,
    body?: unknown,
    headers?: Readonly<Record<string, string>>,
  ): Promise<V1Answer>;
  close(): void;
}

export async function v1Client(rig: Rig, habits: ClientHabits): Promise<V1Client> {
  const { folder, apiPort } = rig.cluster.files;
  const [ca, cert, key] = await Promise.all(
    ["cluster.crt", "user.crt", "user.key"].map((name) => readFile(join(folder, name), "utf8")),
  );
  const agent = new Agent({
    keepAlive: habits.keepAlive,
    maxSockets: 1,
    ca,
    cert: habits.showsAuthority === true ? `${cert}${ca}` : cert,
    key,
    ...(habits.serverName === undefined ? {} : { servername: habits.serverName }),
    ...(habits.maxVersion === undefined ? {} : { maxVersion: habits.maxVersion }),
    ...(habits.trusting === true ? { rejectUnauthorized: false } : {}),
  });
  return {
    ask: (method, path, body, headers = {}) =>
      new Promise((resolve, reject) => {
        const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
        const outgoing = httpsRequest({
          agent,
          host: "127.0.0.1",
          port: apiPort,
          method,
          path: `/v1${path}`,
          headers: {
            ...habits.headers?.(),
            ...headers,
            ...(bytes === undefined ? {} : { "content-length": bytes.length }),
          },
        });
        outgoing.once("error", reject);
        outgoing.once("response", (incoming) => {
          let text = "";
          incoming.setEncoding("utf8");
          incoming.on("data", (part: string) => (text += part));
          incoming.once("end", () => {
            const { statusCode: status = 0, headers: answered } = incoming;
            // They read JSON whatever the status is.
            resolve({ status, headers: answered, body: JSON.parse(text) });
          });
        });
        outgoing.end(bytes);
      }),
    close: () => agent.destroy(),
  };
}
