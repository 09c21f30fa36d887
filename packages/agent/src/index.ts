export * from "./node-agent.ts";
export * from "./backends/directory/directory-backend.ts";
export * from "./backends/zfs/zfs-backend.ts";
export * from "./configuration.ts";
export * from "./service.ts";
