export * from "./node-agent.ts";
