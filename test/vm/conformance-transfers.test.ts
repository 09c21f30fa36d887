import { conformanceInMachine, isOfTransfers } from "./conformance.ts";

conformanceInMachine(isOfTransfers);
