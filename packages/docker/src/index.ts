export * from "./configuration.ts";
export * from "./service.ts";
