export * from "./boot-id.ts";
export * from "./certificates.ts";
export * from "./clock.ts";
export * from "./commands.ts";
export * from "./log.ts";
export * from "./randomness.ts";
export * from "./tls-problem.ts";
