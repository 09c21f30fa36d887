import { backendConformance } from "../conformance.ts";
import { directoryHarness } from "./testing/directory-harness.ts";

backendConformance("directory", () => directoryHarness());
