import { failure, success } from "@flocker/core";
import type { Link, LinkDialer, NodeId, Result } from "@flocker/core";
import type { ChannelEnd } from "./channel.ts";
import { kindOf } from "./counters.ts";
import { Inbox } from "./inbox.ts";
import type { SimNetwork } from "./network.ts";
import type { Incarnation, SimNode } from "./node.ts";

/** Who has dialled, as its certificate and its address say. */
export interface LinkOrigin {
  readonly node: NodeId;
  readonly host: string;
}

/** Takes in the links that agents open to the control service. */
export type LinkAcceptor = (link: Link, from: LinkOrigin) => void;

type JsonEnd = ChannelEnd<string, string>;

/** Opens links to the control service that runs on the target node. */
export function simLinkDialer(
  network: SimNetwork,
  incarnation: Incarnation,
  target: () => SimNode,
): LinkDialer {
  return {
    dial: (abort) =>
      new Promise<Result<Link>>((resolve) => {
        if (!incarnation.alive) return;
        const { node } = incarnation;
        node.counters.countDial();
        let waiting = true;
        const answer = (result: Result<Link>): void => {
          waiting = false;
          abort.removeEventListener("abort", onAbort);
          resolve(result);
        };
        const onAbort = (): void => {
          if (waiting && incarnation.alive) answer(unreachable(node, "it was called off"));
        };
        if (abort.aborted) {
          onAbort();
          return;
        }
        abort.addEventListener("abort", onAbort, { once: true });
        network.connect<string, string>(incarnation, target(), "link", {
          connected: (end) => {
            if (waiting) answer(success(simLink(end)));
            else end.close();
          },
          failed: (why) => {
            const what = why === "refused" ? "the connection was refused" : "there was no answer in time";
            if (waiting) answer(unreachable(node, what));
          },
        });
      }),
  };
}

/** Lets the control service on this incarnation's node take in links. Returns what ends it. */
export function listenForLinks(
  network: SimNetwork,
  incarnation: Incarnation,
  acceptor: LinkAcceptor,
): () => void {
  return network.listen(incarnation, "link", (end, from) => {
    acceptor(simLink(end as unknown as JsonEnd), { node: from.id, host: from.name });
  });
}

/** A link over one end of a connection. Messages are carried as JSON, as on the wire: nothing is shared. */
function simLink(end: JsonEnd): Link {
  const inbox = new Inbox<unknown>();
  end.listen({
    onItem: (text) => inbox.push(JSON.parse(text)),
    onEnd: () => inbox.end(),
  });
  return {
    send: (message) => {
      if (!end.isOpen) return;
      const text = JSON.stringify(message);
      end.owner.node.counters.countMessage(message);
      end.owner.perform(`sends ${kindOf(message)}`, () => end.send(text, text));
    },
    messages: () => inbox.iterate(),
    close: () => {
      end.close();
      inbox.end();
    },
  };
}

function unreachable(node: SimNode, why: string): Result<Link> {
  return failure(
    "control-unreachable",
    `Connecting ${node.name} to the control service: ${why}.`,
    "Check that the control service runs and can be reached from this node.",
  );
}
