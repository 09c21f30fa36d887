export * from "./cluster-files.ts";
export * from "./local-client.ts";
export * from "./local-cluster.ts";
export * from "./local-process.ts";
