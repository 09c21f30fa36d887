export type * from "./cluster/cluster.ts";
export { openSqliteStore } from "./store/sqlite-store.ts";
export type * from "./store/store.ts";
export { startHttpServer, type HttpServer, type HttpServerOptions } from "./http/server.ts";
export { AgentHub, type HubCluster, type HubOptions } from "./agents/hub.ts";
export * from "./configuration.ts";
export * from "./service.ts";
export { createCluster, type ClusterOptions } from "./cluster/create-cluster.ts";
export type { ClusterCore } from "./cluster/cluster-core.ts";
