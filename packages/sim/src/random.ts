import type { Random } from "@flocker/core";
import { fingerprint } from "./fingerprint.ts";

/** Chance from a seed: the same seed and the same calls give the same numbers, on every machine. */
export interface SeededRandom extends Random {
  /** A number from `min` up to, not including, `max`. */
  between(min: number, max: number): number;
  /** A whole number from `min` up to and including `max`. */
  integer(min: number, max: number): number;
  /** True with that probability. */
  chance(probability: number): boolean;
  /** A version 4 uuid in lower case. */
  uuid(): string;
  /**
   * Independent chance for one purpose. It depends only on the seed and the label, not on what was drawn
   * before, so a draw more in one place does not shift the numbers everywhere else.
   */
  fork(label: string): SeededRandom;
}

/** Chance from the seed (the generator is sfc32 by Chris Doty-Humphrey). */
export function seededRandom(seed: string): SeededRandom {
  const uint32 = sfc32(seed);
  const next = (): number => uint32() / 0x1_0000_0000;
  return {
    next,
    between: (min, max) => min + next() * (max - min),
    integer: (min, max) => min + Math.floor(next() * (max - min + 1)),
    chance: (probability) => next() < probability,
    uuid: () => uuidFrom(uint32),
    fork: (label) => seededRandom(`${seed}/${label}`),
  };
}

function sfc32(seed: string): () => number {
  const [low, high] = fingerprint(seed);
  let a = low;
  let b = high;
  let c = low ^ 0x9e3779b9;
  let counter = 1;
  const next = (): number => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return sum >>> 0;
  };
  // The generator's author asks for some rounds before the first number, so that similar seeds part ways.
  for (let round = 0; round < 16; round += 1) next();
  return next;
}

function uuidFrom(uint32: () => number): string {
  const digits = [uint32(), uint32(), uint32(), uint32()]
    .map((word) => word.toString(16).padStart(8, "0"))
    .join("");
  // The variant's two bits are 10, so its digit is one of 8, 9, a, b.
  const variant = (8 + (Number.parseInt(digits.slice(16, 17), 16) & 3)).toString(16);
  return [
    digits.slice(0, 8),
    digits.slice(8, 12),
    `4${digits.slice(13, 16)}`,
    `${variant}${digits.slice(17, 20)}`,
    digits.slice(20, 32),
  ].join("-");
}
