import Type from "typebox";
import { Duration, Size } from "@flocker/host";

const port = Type.Integer({ minimum: 1, maximum: 65_535 });
const name = Type.String({ minLength: 1, maxLength: 255 });

/** The directory backend: plain folders, no privileges needed. */
const directoryBackend = Type.Object(
  {
    backend: Type.Literal("directory"),
    root: Type.Optional(Type.String({ minLength: 1 })),
    "mount-root": Type.Optional(Type.String({ minLength: 1 })),
  },
  { additionalProperties: false },
);

/** agent.yml, in the shape that the original Flocker's had; paths are relative to the file's own folder. */
export const AgentConfiguration = Type.Object(
  {
    version: Type.Literal(1),
    "control-service": Type.Object(
      { hostname: name, port: Type.Optional(port) },
      { additionalProperties: false },
    ),
    dataset: directoryBackend,
    /** What people call this node; its host name if absent. */
    name: Type.Optional(name),
    /** Where cluster.crt, node.crt and node.key are; the folder of this file if absent. */
    "certificates-directory": Type.Optional(Type.String({ minLength: 1 })),
    "state-directory": Type.Optional(Type.String({ minLength: 1 })),
    "data-channel": Type.Optional(
      Type.Object(
        {
          /** The address to listen on; all if absent. */
          address: Type.Optional(name),
          port: Type.Optional(port),
          /** The address that other nodes dial; the one that the control service sees if absent. */
          advertise: Type.Optional(name),
          "bandwidth-limit": Type.Optional(Size),
          /** A peer that says nothing for so long is taken for gone. */
          silence: Type.Optional(Duration),
        },
        { additionalProperties: false },
      ),
    ),
    "log-level": Type.Optional(
      Type.Union([Type.Literal("debug"), Type.Literal("info"), Type.Literal("warn"), Type.Literal("error")]),
    ),
  },
  { additionalProperties: false },
);

export type AgentConfiguration = Type.Static<typeof AgentConfiguration>;
