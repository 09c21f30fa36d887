export * from "./agent-store.ts";
export * from "./boot-id.ts";
export * from "./certificates.ts";
export * from "./clock.ts";
export * from "./commands.ts";
export * from "./configuration-file.ts";
export * from "./https-client.ts";
export * from "./links.ts";
export * from "./log.ts";
export * from "./quantities.ts";
export * from "./randomness.ts";
export * from "./renewable-credentials.ts";
export * from "./revocations.ts";
export { closest } from "./schema-mistakes.ts";
export type { Mistake } from "./schema-mistakes.ts";
export * from "./service.ts";
export * from "./service-start.ts";
export * from "./tls-problem.ts";
export { dataChannelPeers } from "./data-channel/peers.ts";
export type { DataChannelPeersOptions } from "./data-channel/peers.ts";
export { dataChannelServer, defaultDataChannelLimits } from "./data-channel/server.ts";
export type {
  DataChannelLimits,
  DataChannelServer,
  DataChannelServerOptions,
} from "./data-channel/server.ts";
