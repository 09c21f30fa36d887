export * from "./client.ts";
export * from "./contract.ts";
export * from "./problem.ts";
export { v2Endpoints, v2Streams } from "./v2/endpoints.ts";
export * as v2 from "./v2/schemas.ts";
