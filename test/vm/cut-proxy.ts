import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** A link between two agents that a test can cut, and that counts what crosses it. */
export interface CutProxy extends AsyncDisposable {
  readonly port: number;
  /** Bytes from asking to answering sides so far. */
  readonly forwardedBytes: number;
  readonly cutCount: number;
  /** Cuts each connection after as many bytes as the function answers for it; null lets it be. */
  cutAfter: (() => number | null) | null;
}

/** Stands before the port of a data channel on this machine, which may change. */
export async function openCutProxy(
  target: () => number,
  { host, port }: { readonly host: string; readonly port: number } = { host: "127.0.0.1", port: 0 },
): Promise<CutProxy> {
  const sockets = new Set<Socket>();
  const state = { forwardedBytes: 0, cutCount: 0 };
  const proxy = createServer({ allowHalfOpen: true }, (near) => {
    const far = connect({ host: "127.0.0.1", port: target(), allowHalfOpen: true });
    let leftBytes = opened.cutAfter?.() ?? Number.POSITIVE_INFINITY;
    const cut = (): void => {
      state.cutCount += 1;
      // What has crossed the link arrives; nothing more does, in either direction.
      far.end(() => far.destroy());
      near.destroy();
    };
    near.on("data", (chunk: Buffer) => {
      if (leftBytes <= 0) return;
      const crossing = chunk.subarray(0, leftBytes);
      leftBytes -= crossing.length;
      state.forwardedBytes += crossing.length;
      if (!far.write(crossing)) near.pause();
      if (leftBytes <= 0) cut();
    });
    far.on("drain", () => near.resume());
    far.on("data", (chunk: Buffer) => {
      if (!near.write(chunk)) far.pause();
    });
    near.on("drain", () => far.resume());
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on("end", () => to.end());
      from.on("error", () => to.destroy());
      from.on("close", () => {
        sockets.delete(from);
        if (from === far || leftBytes > 0) to.destroy();
      });
    }
  });
  proxy.listen(port, host);
  await once(proxy, "listening");
  const opened: CutProxy = {
    port: (proxy.address() as AddressInfo).port,
    get forwardedBytes() {
      return state.forwardedBytes;
    },
    get cutCount() {
      return state.cutCount;
    },
    cutAfter: null,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      proxy.close();
      await once(proxy, "close");
    },
  };
  return opened;
}
