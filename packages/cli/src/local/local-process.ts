import { spawn, type ChildProcess } from "node:child_process";
import { createWriteStream } from "node:fs";
import { assert } from "@flocker/core";

/** How a child process has ended. */
export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** One service of a local cluster as a child process, with its log in a file. */
export class LocalProcess {
  readonly name: string;
  readonly logFile: string;
  readonly #argv: readonly string[];
  #child: ChildProcess | undefined;
  #ended: Promise<Ending> = Promise.resolve({ code: 0, signal: null });
  /** The last lines that it wrote, for the case that it ends by itself. */
  #tail = "";
  #hasFailed = false;
  #isStopping = false;
  #unfinished = "";
  readonly #listeners = new Set<(line: string) => void>();

  constructor(options: {
    readonly name: string;
    readonly logFile: string;
    readonly argv: readonly string[];
  }) {
    this.name = options.name;
    this.logFile = options.logFile;
    this.#argv = options.argv;
  }

  get running(): boolean {
    return this.#child !== undefined;
  }

  /** It was started and has ended without having been told to. */
  get hasFailed(): boolean {
    return this.#hasFailed;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** What it wrote last. */
  get tail(): string {
    return this.#tail;
  }

  start(): void {
    assert(this.#child === undefined, "a process is started once at a time");
    const [program, ...rest] = this.#argv;
    assert(program !== undefined, "a command line names a program");
    this.#tail = "";
    this.#hasFailed = false;
    this.#isStopping = false;
    const log = createWriteStream(this.logFile, { flags: "a" });
    // In a group of its own: Ctrl-C reaches the starter alone, which then stops all in order.
    const child = spawn(program, rest, { stdio: ["ignore", "pipe", "pipe"], detached: true });
    this.#child = child;
    for (const output of [child.stdout, child.stderr])
      output?.on("data", (chunk: Buffer) => {
        log.write(chunk);
        this.#tail = (this.#tail + chunk.toString()).slice(-4_000);
        this.#hear(chunk.toString());
      });
    this.#ended = new Promise((resolve) => {
      child.once("error", (error) => {
        this.#tail += `${error.message}\n`;
        this.#child = undefined;
        this.#hasFailed = true;
        resolve({ code: 127, signal: null });
      });
      child.once("close", (code, signal) => {
        log.end();
        this.#child = undefined;
        this.#hasFailed ||= !this.#isStopping;
        resolve({ code, signal });
      });
    });
  }

  /** Calls back with each line of the log that it writes. Returns what ends it. */
  onLine(listener: (line: string) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #hear(chunk: string): void {
    const lines = (this.#unfinished + chunk).split("\n");
    this.#unfinished = lines.pop() ?? "";
    for (const line of lines) for (const listener of this.#listeners) listener(line);
  }

  /** Resolves when it has ended, for whatever reason; at once if it does not run. */
  ended(): Promise<Ending> {
    return this.#ended;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** Ends it: politely, or at once as a power failure would. */
  async stop(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<Ending> {
    this.#isStopping = true;
    this.signal(signal);
    return this.#ended;
  }
}
