import { constants } from "node:fs";
import { open, readFile, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "@flocker/core";
import { judgeRecords } from "./judge.ts";

/** Where a dataset is mounted now, or undefined. */
export type FindMount = () => Promise<string | undefined>;

const defaultPauseMs = 5;

/**
 * Writes numbered records through wherever the dataset is mounted, each synced, and never a number twice. It
 * makes its file once, at the first mount: where the file is missing later, the dataset was born again or the
 * mount is not there.
 */
export class Writer {
  readonly kept: number[] = [];
  readonly unsure: Set<number> = new Set();
  readonly #findMount: FindMount;
  readonly #clock: Clock;
  readonly #pauseMs: number;
  readonly #stop = new AbortController();
  #next = 1;
  #hasFile = false;
  /** Until then it keeps the file open, as a database does, which keeps the mount busy. */
  #holdsUntil = 0;
  #ended: Promise<void> = Promise.resolve();

  constructor(findMount: FindMount, clock: Clock, pauseMs: number = defaultPauseMs) {
    this.#pauseMs = pauseMs;
    this.#findMount = findMount;
    this.#clock = clock;
  }

  start(): void {
    this.#ended = this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#ended;
  }

  /** Keeps the file open for so long. */
  hold(forMs: number): void {
    this.#holdsUntil = this.#clock.monotonic() + forMs;
  }

  /** I3 and I2: what is there now, compared with what was written. */
  async check(folder: string): Promise<string | undefined> {
    if (!this.#hasFile) return undefined;
    const kept = [...this.kept];
    const text = await readFile(join(folder, "records"), "utf8").catch(() => undefined);
    if (text === undefined) return `the file with ${kept.length} synced records is not there`;
    const records = text.split("\n").slice(0, -1).map(Number);
    // What has been written since is not judged yet.
    const last = kept.at(-1) ?? 0;
    const found = records.filter((record) => record <= last);
    return judgeRecords({ kept, unsure: this.unsure, found });
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const folder = await this.#findMount();
      const file = folder === undefined ? undefined : await this.#open(folder);
      if (file !== undefined) await this.#write(file);
      await this.#clock.sleep(this.#pauseMs, this.#stop.signal);
    }
  }

  async #open(folder: string): Promise<FileHandle | undefined> {
    const creation = this.#hasFile ? 0 : constants.O_CREAT;
    try {
      const flags = constants.O_WRONLY | constants.O_APPEND | creation;
      const file = await open(join(folder, "records"), flags, 0o600);
      this.#hasFile = true;
      return file;
    } catch {
      // It has just been unmounted, or there is no space: the next look tells.
      return undefined;
    }
  }

  async #write(file: FileHandle): Promise<void> {
    try {
      do {
        const record = this.#next;
        this.#next += 1;
        this.unsure.add(record);
        await file.write(`${record}\n`);
        await file.sync();
        this.unsure.delete(record);
        this.kept.push(record);
      } while (this.#clock.monotonic() < this.#holdsUntil && !this.#stop.signal.aborted);
    } catch {
      // No space, or no longer writable: nobody knows of this record.
    } finally {
      await file.close();
    }
  }
}
