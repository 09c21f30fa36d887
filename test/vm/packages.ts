import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** The Debian release that the virtual machine is made of: the oldest OpenZFS that is supported, 2.1. */
export const debianSuite = "bookworm";

/** Where Debian's packages are had from: unless told otherwise, where this machine's own apt has its own. */
export function debianMirror(): string {
  const told = process.env["FLOCKER_VM_MIRROR"];
  if (told !== undefined) return told;
  const format = ["--format", "$(REPO_URI)", "Created-By: Packages"];
  const [first] = execFileSync("apt-get", ["indextargets", ...format], { encoding: "utf8" }).split(/\s+/);
  return first ?? "";
}

/** What the virtual machine's programs come from; apt adds what these depend on. */
const wanted = ["zfsutils-linux", "busybox-static", "ucspi-tcp"];
/** What Debian's packages ask for, but programs run by hand do not need. */
const unneeded = new RegExp(
  "^(coreutils|util-linux|tar_|dpkg_|" +
    "perl|libperl|libgdbm|python3|libpython|usrmerge|debconf|media-types|init-system|libfile-find|" +
    "libnumber|libtext-glob|libsqlite|libdb5|readline|libreadline|libncursesw)",
);

/**
 * Downloads the packages for the virtual machine's programs, with an apt of its own that neither needs root
 * nor looks at what is installed on this machine. Answers the packages' files.
 */
export function downloadPackages(folder: string): readonly string[] {
  const configuration = prepareApt(folder);
  apt(configuration, "update", "-qq");
  apt(configuration, "install", "-y", "-qq", "--download-only", "--no-install-recommends", ...wanted);
  const archives = join(folder, "cache", "archives");
  const names = readdirSync(archives).filter((name) => name.endsWith(".deb") && !unneeded.test(name));
  return names.map((name) => join(archives, name));
}

function prepareApt(folder: string): string {
  const below = (...parts: readonly string[]): string => join(folder, ...parts);
  for (const each of ["lists/partial", "cache/archives/partial", "state", "etc"])
    mkdirSync(below(each), { recursive: true });
  writeFileSync(below("state", "status"), "");
  const keys = "/usr/share/keyrings/debian-archive-keyring.gpg";
  writeFileSync(
    below("etc", "sources.list"),
    `deb [signed-by=${keys}] ${debianMirror()} ${debianSuite} main contrib\n`,
  );
  const settings = {
    "Dir::Etc::sourcelist": below("etc", "sources.list"),
    "Dir::Etc::sourceparts": "/dev/null",
    "Dir::State": below("state"),
    "Dir::State::Lists": below("lists"),
    "Dir::State::status": below("state", "status"),
    "Dir::Cache": below("cache"),
    "APT::Sandbox::User": "",
  };
  const configuration = below("etc", "apt.conf");
  const lines = Object.entries(settings).map(([name, value]) => `${name} "${value}";\n`);
  writeFileSync(configuration, lines.join(""));
  return configuration;
}

function apt(configuration: string, ...args: readonly string[]): void {
  execFileSync("apt-get", args, {
    env: { ...process.env, APT_CONFIG: configuration, DEBIAN_FRONTEND: "noninteractive" },
    stdio: ["ignore", "ignore", "inherit"],
  });
}

/** Unpacks a package's files into a folder, through the links to folders that are there already. */
export function unpackPackage(file: string, folder: string): void {
  const archive = execFileSync("dpkg-deb", ["--fsys-tarfile", file], { maxBuffer: 2 ** 30 });
  const argv = ["-x", "--keep-directory-symlink", "--no-same-owner", "-C", folder];
  execFileSync("tar", argv, { input: archive, stdio: ["pipe", "ignore", "inherit"] });
}
