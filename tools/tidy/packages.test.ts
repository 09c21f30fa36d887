import assert from "node:assert/strict";
import { test } from "node:test";
import { packages, read, readJson, report, root, tableUnder, files } from "./repository.ts";
import { posix } from "node:path";

// The direction of the packages and what they may depend on. docs/ARCHITECTURE.md and docs/decisions/ hold
// the tables.

interface Manifest {
  readonly name: string;
  readonly dependencies?: Readonly<Record<string, string>>;
}

interface Lockfile {
  readonly packages: Readonly<
    Record<string, { dev?: boolean; link?: boolean; hasInstallScript?: boolean; resolved?: string }>
  >;
}

const architecture = "docs/ARCHITECTURE.md";
const dependencyRecord = "docs/decisions/0008-runtime-dependencies.md";
const allowed = new Map(
  tableUnder(architecture, "Packages and their direction").map(([name = "", , imports = ""]) => [
    name,
    imports === "nothing" ? [] : imports.split(",").map((text) => text.trim()),
  ]),
);
const manifests = new Map(
  packages.map((name) => [name, readJson<Manifest>(`packages/${name}/package.json`)]),
);

function ownPackage(specifier: string): string | undefined {
  return /^@flocker\/([^/]+)/.exec(specifier)?.[1];
}

function ownDependencies(name: string): readonly string[] {
  return Object.keys(manifests.get(name)?.dependencies ?? {}).flatMap((key) => ownPackage(key) ?? []);
}

/** What a source file imports, exports from or loads, as written. */
function importsOf(path: string): readonly string[] {
  const pattern = /(?:^|[;}\s])(?:import|export)\s(?:[^;"'`]*?\sfrom\s*)?"([^"]+)"|import\(\s*"([^"]+)"/g;
  return [...read(path).matchAll(pattern)].flatMap((match) => match[1] ?? match[2] ?? []);
}

function sourcesOf(name: string): readonly string[] {
  return files.filter((path) => path.startsWith(`packages/${name}/src/`) && path.endsWith(".ts"));
}

test("the table of packages names exactly the packages there are", () => {
  assert.deepEqual(
    [...allowed.keys()].sort(),
    packages,
    `A reader finds the packages in ${architecture}, and the other rules here start from that table.`,
  );
});

test("packages depend only in the direction of the table", () => {
  const breaks = packages.flatMap((name) =>
    ownDependencies(name)
      .filter((dependency) => allowed.get(name)?.includes(dependency) !== true)
      .map((dependency) => `packages/${name}/package.json depends on @flocker/${dependency}`),
  );
  const rule = `Decisions stay testable because packages point one way; the table is in ${architecture}.`;
  assert.equal(breaks.length, 0, report(rule, breaks));
});

test("nobody imports the simulator, and the agent nothing of the control service", () => {
  const importers = packages.filter((name) => ownDependencies(name).includes("sim"));
  assert.deepEqual(importers, [], "What runs in production must not hang on the simulator.");
  const agent = allowed.get("agent") ?? [];
  assert.ok(!agent.includes("control"), "Agents control the system and never write configuration.");
  assert.deepEqual(allowed.get("core"), [], "core imports nothing: all else stands on it.");
});

test("each package's tsconfig references exactly its dependencies", () => {
  const breaks = packages.flatMap((name) => {
    const { references = [] } = readJson<{ references?: { path: string }[] }>(
      `packages/${name}/tsconfig.json`,
    );
    const referenced = references.map(({ path }) => path.replace("../", "")).sort();
    const wanted = ownDependencies(name).toSorted();
    if (referenced.join() === wanted.join()) return [];
    return [
      `packages/${name}/tsconfig.json references ${referenced.join()}, package.json has ${wanted.join()}`,
    ];
  });
  assert.equal(breaks.length, 0, report("tsc -b builds by references, so they must tell the truth.", breaks));
});

test("sources import only what their package.json declares, and never around a package's index", () => {
  const breaks = packages.flatMap((name) => {
    const declared = new Set(Object.keys(manifests.get(name)?.dependencies ?? {}));
    const devTools = new Set(["fast-check"]);
    return sourcesOf(name).flatMap((path) =>
      importsOf(path).flatMap((specifier) => {
        if (specifier.startsWith("node:"))
          return name === "core" && !isTest(path) ? [`${path}: ${specifier}`] : [];
        if (specifier.startsWith(".")) {
          const target = posix.join(posix.dirname(path), specifier);
          return target.startsWith(`packages/${name}/`) ? [] : [`${path}: ${specifier} leaves the package`];
        }
        const parts = specifier.split("/");
        const packageName = specifier.startsWith("@") ? parts.slice(0, 2).join("/") : (parts[0] ?? "");
        if (declared.has(packageName) || (isTest(path) && devTools.has(packageName))) return [];
        return [`${path}: ${specifier} is no dependency of @flocker/${name}`];
      }),
    );
  });
  assert.equal(breaks.length, 0, report("What a package needs is in its package.json.", breaks));
});

test("runtime dependencies are exactly those agreed on", () => {
  const agreed = tableUnder(dependencyRecord, "The agreed list").map(([name = ""]) => name);
  const used = [...manifests.values()].flatMap(({ dependencies }) =>
    Object.keys(dependencies ?? {}).filter((key) => ownPackage(key) === undefined),
  );
  const rule = `Each runtime dependency is argued for in ${dependencyRecord}; its table lists all, and none besides.`;
  assert.deepEqual([...new Set(used)].sort(), agreed.toSorted(), rule);
});

test("no runtime dependency has an install script", () => {
  const lock = readJson<Lockfile>("package-lock.json");
  const breaks = Object.entries(lock.packages)
    .filter(([, entry]) => entry.hasInstallScript === true && entry.dev !== true)
    .map(([path]) => path);
  const rule =
    "npm 12 does not run install scripts, and storage software should not run strangers' code to install.";
  assert.equal(breaks.length, 0, report(rule, breaks));
});

test("the lockfile names no registry", () => {
  const lock = readJson<Lockfile>("package-lock.json");
  const breaks = Object.entries(lock.packages)
    .filter(([, entry]) => entry.link !== true && entry.resolved !== undefined)
    .map(([path]) => path);
  const rule =
    "Whoever installs decides the registry: set omit-lockfile-registry-resolved=true and lock again.";
  assert.equal(breaks.length, 0, report(rule, breaks));
  assert.ok(!read("package-lock.json").includes(root), "The lockfile names no folder of a machine.");
});

function isTest(path: string): boolean {
  return path.endsWith(".test.ts");
}
