export * from "./certificates.ts";
export * from "./tls-problem.ts";
