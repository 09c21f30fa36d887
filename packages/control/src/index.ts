export type * from "./cluster/cluster.ts";
export { openSqliteStore } from "./store/sqlite-store.ts";
export type * from "./store/store.ts";
export { startHttpServer, type HttpServer, type HttpServerOptions } from "./http/server.ts";
