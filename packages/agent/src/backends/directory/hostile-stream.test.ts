import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";

import type { DatasetId, Snapshot } from "@flocker/core";

import { never, refused, requestOf, streamOf, value, World } from "../conformance/world.ts";
import { FrameWriter } from "./frames.ts";
import { directoryHarness, type DirectoryNode } from "./testing/directory-harness.ts";
import { tarEnd, tarMember, type TarMember } from "./testing/tar-member.ts";

/** A replica on B at a base with a symlink to a folder outside, and streams made by hand for it. */
interface Attack {
  readonly world: World;
  readonly target: DirectoryNode;
  readonly dataset: DatasetId;
  readonly base: Snapshot;
  /** A folder outside of the storage, with a file that must survive. */
  readonly outside: string;
}

/** All attacks go against the same copy, which is therefore still whole after each of them. */
let prepared: Attack;
let harness: Awaited<ReturnType<typeof directoryHarness>>;

before(async () => {
  harness = await directoryHarness();
  const world = new World(harness);
  const [a, target] = harness.nodes;
  const outside = join(target.folder, "outside");
  mkdirSync(outside);
  writeFileSync(join(outside, "victim"), "intact");
  const dataset = await world.bornWith(a, { "folder/file": "1", plain: "1" });
  value(await a.backend.mount(dataset));
  symlinkSync(outside, join(a.mountRoot, dataset, "escape"));
  value(await a.backend.unmount(dataset));
  const base = await world.snapshot(a, dataset);
  value(await world.transfer(a, target, dataset, null, base));
  prepared = { world, target, dataset, base, outside };
});

after(() => harness.dispose());

interface Parts {
  readonly remove?: readonly string[];
  readonly remake?: readonly string[];
  readonly members?: readonly Buffer[];
  readonly archive?: Buffer;
}

/**
 * Sends an increment made by hand, and asserts that it is refused as corrupt and has changed nothing
 * anywhere.
 */
async function isHarmless({ world, target, dataset, base, outside }: Attack, parts: Parts): Promise<void> {
  const snapshot = { guid: randomUUID(), name: "evil", createdAt: 1 };
  const frames = new FrameWriter();
  const digest = "0".repeat(64);
  const header = { dataset, base: base.guid, snapshot, digest, entries: 1, acls: false };
  const listed = (paths: readonly string[] = []): Buffer =>
    Buffer.from(paths.map((path) => `${path}\0`).join(""), "latin1");
  const archive = parts.archive ?? Buffer.concat([...(parts.members ?? []), tarEnd]);
  const bytes = Buffer.concat([
    frames.begin(header),
    ...frames.frame("D", [listed(parts.remove)]),
    ...frames.frame("F", [listed(parts.remake)]),
    ...frames.frame("T", [archive]),
    ...frames.end(),
  ]);
  const request = requestOf(dataset, base.guid, snapshot);
  refused(await target.backend.receive(request, streamOf(bytes), never), "transfer-corrupt");
  assert.deepEqual(readdirSync(outside), ["victim"]);
  assert.equal(readFileSync(join(outside, "victim"), "utf8"), "intact");
  const copy = await world.seen(target, dataset);
  assert.equal(copy.unchangedSince, base.guid);
  assert.deepEqual(readdirSync(join(target.root, "staging")), []);
  const tree = join(target.root, "copies", dataset, "tree-1");
  assert.deepEqual(readdirSync(tree).sort(), ["escape", "folder", "plain"]);
  assert.equal(readFileSync(join(tree, "plain"), "utf8"), "1");
  assert.equal(readFileSync(join(tree, "folder", "file"), "utf8"), "1");
}

const file = (name: string, options: Partial<TarMember> = {}): Buffer =>
  tarMember(name, { type: "0", content: "evil", ...options });

void suite("a stream made by an enemy changes nothing", () => {
  const attacks: Readonly<Record<string, (attack: Attack) => Parts>> = {
    "removing through ..": () => ({ remove: ["../../../outside/victim"] }),
    "removing by an absolute path": ({ outside }) => ({ remove: [join(outside, "victim")] }),
    "removing through a symlink of the base": () => ({ remove: ["escape/victim"] }),
    "removing the tree itself": () => ({ remove: [""] }),
    "removing what is not there": () => ({ remove: ["nothing"] }),
    "removing a folder without its entries": () => ({ remove: ["folder"] }),
    "renewing a folder through a symlink": () => ({ remake: ["escape"] }),
    "renewing a folder through ..": () => ({ remake: [".."] }),
    "renewing a folder behind a symlink": () => ({ remake: ["escape/inner"] }),
    "writing through ..": () => ({ members: [file("./../../../outside/evil")] }),
    "writing through .. in the middle": () => ({ members: [file("./folder/../../evil")] }),
    "writing to an absolute path": ({ outside }) => ({ members: [file(join(outside, "evil"))] }),
    "writing through a symlink of the base": () => ({ members: [file("./escape/evil")] }),
    "overwriting through a symlink of the base": () => ({ members: [file("./escape/victim")] }),
    "writing through a symlink of the archive": ({ outside }) => ({
      members: [tarMember("./way", { type: "2", target: outside }), file("./way/evil")],
    }),
    "writing through a symlink put over a folder": ({ outside }) => ({
      remove: ["folder/file"],
      members: [tarMember("./folder", { type: "2", target: outside }), file("./folder/evil")],
    }),
    "a folder over a symlink of the base, then into it": () => ({
      members: [tarMember("./escape", { type: "5" }), file("./escape/evil")],
    }),
    "a hard link to something outside": ({ outside }) => ({
      members: [tarMember("./link", { type: "1", target: join(outside, "victim") }), file("./link")],
    }),
    "a hard link through ..": () => ({
      members: [tarMember("./link", { type: "1", target: "./../../../outside/victim" })],
    }),
    "a hard link through a symlink of the base": () => ({
      members: [tarMember("./link", { type: "1", target: "./escape/victim" })],
    }),
    "a path in an extended header": () => ({
      members: [file("./fine", { extended: { path: "./escape/evil" } })],
    }),
    "a link target in an extended header": () => ({
      members: [
        tarMember("./link", { type: "1", target: "./plain", extended: { linkpath: "./escape/victim" } }),
      ],
    }),
    "a name of a sparse file": () => ({
      members: [
        file("./fine", { extended: { "GNU.sparse.name": "./escape/evil", "GNU.sparse.major": "1" } }),
      ],
    }),
    "an unknown extended header": () => ({
      members: [file("./fine", { extended: { "GNU.dumpdir": "Yx" } })],
    }),
    "a global extended header": () => ({
      members: [tarMember("./global", { type: "g", content: "13 path=evil\n" })],
    }),
    "a long name in GNU's old way": () => ({
      members: [tarMember("././@LongLink", { type: "L", content: "./escape/evil\0" }), file("./fine")],
    }),
    "a size in an extended header that hides a member": () => ({
      members: [
        tarMember("./fine", { type: "5", content: "", extended: { size: "1024" } }),
        file("./escape/evil"),
      ],
    }),
    "a symlink with content that hides a member": () => ({
      members: [
        tarMember("./fine", { type: "2", target: "x", content: "y".repeat(512) }),
        file("./escape/evil"),
      ],
    }),
    "a damaged header": () => {
      const bent = file("./fine");
      bent[0] = 0x2f;
      return { members: [bent] };
    },
    "an archive without an end": () => ({ archive: file("./fine") }),
    "an archive that ends within a member": () => ({ archive: file("./fine").subarray(0, 700) }),
    "a second archive behind the end": () => ({
      archive: Buffer.concat([tarEnd, file("./escape/evil"), tarEnd]),
    }),
    "no archive at all": () => ({ archive: Buffer.alloc(0) }),
    "a harmless archive that is not the promised tree": () => ({ members: [file("./fine")] }),
    "a change of a file that the old tree shares": () => ({ members: [file("./plain")] }),
    "a hard link to a shared file, then a file over it": () => ({
      members: [tarMember("./link", { type: "1", target: "./plain" }), file("./link")],
    }),
  };
  for (const [name, parts] of Object.entries(attacks)) {
    void test(name, async () => await isHarmless(prepared, parts(prepared)));
  }
});

test("a receive leaves nothing behind when it is refused at its first bytes", async () => {
  const { target, dataset, base } = prepared;
  const request = requestOf(dataset, base.guid, { guid: randomUUID(), name: "evil", createdAt: 1 });
  const bytes = Buffer.from("flocker-directory 2\n".repeat(100));
  refused(await target.backend.receive(request, streamOf(bytes), never), "transfer-corrupt");
  assert.deepEqual(readdirSync(join(target.root, "staging")), []);
  assert.ok(existsSync(join(target.root, "copies", dataset, "tree-1")));
});
