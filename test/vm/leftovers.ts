/**
 * Does something at the end of this process, also where it is told to end early, as a test run that is
 * interrupted does with those that it has started. Folders, emulators and services go with who made them.
 */
export function atEnd(duty: () => void): void {
  if (duties.length === 0) {
    process.on("exit", () => {
      for (const each of duties.toReversed()) each();
    });
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
      process.once(signal, () => process.exit(1));
  }
  duties.push(duty);
}

const duties: (() => void)[] = [];
