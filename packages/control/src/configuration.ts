import Type from "typebox";
import { Duration } from "@flocker/host";

const listener = Type.Object(
  {
    /** The address to listen on; all if absent. */
    address: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })),
    port: Type.Optional(Type.Integer({ minimum: 1, maximum: 65_535 })),
  },
  { additionalProperties: false },
);

/** control.yml; paths are relative to the file's own folder. */
export const ControlConfiguration = Type.Object(
  {
    version: Type.Literal(1),
    /** Where clients come; port 4523 if absent. */
    api: Type.Optional(listener),
    /** Where agents come; port 4524 if absent. */
    agents: Type.Optional(listener),
    /** Where cluster.crt, control-service.crt and control-service.key are; the folder of this file if absent. */
    "certificates-directory": Type.Optional(Type.String({ minLength: 1 })),
    "data-directory": Type.Optional(Type.String({ minLength: 1 })),
    /** How long deleted datasets can be had back; seven days if absent. */
    "grace-time": Type.Optional(Duration),
    "log-level": Type.Optional(
      Type.Union([Type.Literal("debug"), Type.Literal("info"), Type.Literal("warn"), Type.Literal("error")]),
    ),
  },
  { additionalProperties: false },
);

export type ControlConfiguration = Type.Static<typeof ControlConfiguration>;
