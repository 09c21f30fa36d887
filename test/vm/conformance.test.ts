import { conformanceInMachine, isOfTransfers } from "./conformance.ts";

conformanceInMachine((...rule) => !isOfTransfers(...rule));
