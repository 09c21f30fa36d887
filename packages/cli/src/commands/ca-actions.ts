import { webcrypto } from "node:crypto";
import { readdir } from "node:fs/promises";
import { basename, join, relative, resolve } from "node:path";
import {
  authorityPaths,
  certificateIds,
  createFiles,
  initialiseAuthority,
  inspectCertificate,
  isoDay,
  issueControl,
  issueNode,
  issueUser,
  openAuthority,
  readAuthorityFiles,
  readOptionalTextFile,
  readTextFile,
  renewCertificate,
  replaceFiles,
  revokeCertificate,
  succeedAuthority,
  writeFileWhole,
  type Authority,
  type CertificateFacts,
  type IssuedCertificate,
  type IssuingContext,
  type KeyType,
  type Renewal,
  type Revocation,
} from "@flocker/ca";
import { failure, success, type Problem, type Result } from "@flocker/core";
import type { CommandLine } from "../command-line.ts";
import { exitCodeForProblem } from "../exit-codes.ts";
import { printJson, printLines, printNote, printProblem, renderTable, type Column } from "../output.ts";

/** Below so many days left, a certificate is warned of. */
const warnBelowDays = 30;

export interface CaOptions {
  readonly authorityFolder: string;
  readonly output: string;
  readonly keyType: KeyType;
  readonly days: number | undefined;
  readonly json: boolean;
}

export interface RenewOptions extends Omit<CaOptions, "output"> {
  /** Undefined: in place, keeping the old files under another name. */
  readonly output: string | undefined;
  readonly newKey: boolean;
}

/** Sets up a cluster's authority. The sentence is the original's, which scripts know. */
export async function init(cli: CommandLine, name: string, options: CaOptions): Promise<Result<void>> {
  const made = await initialiseAuthority(
    optional({ name, keyType: options.keyType }, options.days),
    contextOf(cli),
  );
  if (!made.ok) return made;
  const text =
    "Created cluster.key and cluster.crt. Please keep cluster.key secret, as anyone who can access it will be able " +
    "to control your cluster.";
  return writePair(cli, "cluster", made.value, text, options);
}

/** Makes the control service's certificate. */
export function control(
  cli: CommandLine,
  hosts: readonly string[],
  options: CaOptions,
): Promise<Result<void>> {
  return issue(
    cli,
    options,
    (authority, context) => issueControl(authority, { ...options, hosts }, context),
    () => {
      const base = `control-${fileNamePart(hosts[0] ?? "")}`;
      return {
        base,
        text:
          `Created ${base}.crt and ${base}.key. Copy them over to /etc/flocker on your control service machine, ` +
          "rename them to control-service.crt and control-service.key, and make sure to chmod 0600 them.",
      };
    },
  );
}

/** Makes a node's certificate. The sentence is the original's: scripts cut the uuid out of it. */
export function node(cli: CommandLine, uuid: string | undefined, options: CaOptions): Promise<Result<void>> {
  return issue(
    cli,
    options,
    (authority, context) => issueNode(authority, { ...options, uuid }, context),
    (facts) => ({
      base: facts.name ?? "",
      text:
        `Created ${facts.name}.crt. Copy it over to /etc/flocker/node.crt on your node machine and make sure to ` +
        "chmod 0600 it.",
    }),
  );
}

/** Makes an API user's certificate. The sentence is the original's. */
export function user(cli: CommandLine, name: string, options: CaOptions): Promise<Result<void>> {
  return issue(
    cli,
    options,
    (authority, context) => issueUser(authority, { ...options, name }, context),
    () => ({
      base: name,
      text: `Created ${name}.crt. You can now give it to your API enduser so they can access the control service API.`,
    }),
  );
}

/** Makes a new certificate in place of an old one, which is kept. */
export async function renew(cli: CommandLine, file: string, options: RenewOptions): Promise<Result<void>> {
  const path = resolve(cli.workingFolder, file);
  const keyPath = `${path.replace(/\.[^./]+$/, "")}.key`;
  const certificatePem = await readTextFile(path, "the certificate");
  if (!certificatePem.ok) return certificatePem;
  const keyPem = await readOptionalTextFile(keyPath, "its private key");
  if (!keyPem.ok) return keyPem;
  const authority = await readAuthorityFiles(options.authorityFolder);
  if (!authority.ok) return authority;
  const renewal = await renewCertificate(
    authority.value,
    {
      certificatePem: certificatePem.value,
      keyPem: keyPem.value,
      newKey: options.newKey,
      days: options.days,
    },
    contextOf(cli),
  );
  if (!renewal.ok) return renewal;
  const written = await writeRenewal(
    renewal.value,
    { path, keyPath, keyExists: keyPem.value !== undefined },
    options,
  );
  if (!written.ok) return written;
  tellRenewal(cli, renewal.value, written.value, options.json);
  return success();
}

/** Puts certificates on the authority's list of revoked ones: all, or none. */
export async function revoke(
  cli: CommandLine,
  files: readonly string[],
  options: CaOptions,
): Promise<Result<void>> {
  const authority = await readAuthorityFiles(options.authorityFolder);
  if (!authority.ok) return authority;
  const path = join(options.authorityFolder, "cluster.crl");
  const before = await readOptionalTextFile(path, "the list of revoked certificates");
  if (!before.ok) return before;
  let listPem = before.value;
  const done: { readonly file: string; readonly revocation: Revocation }[] = [];
  for (const file of files) {
    const certificatePem = await readTextFile(resolve(cli.workingFolder, file), "the certificate");
    if (!certificatePem.ok) return certificatePem;
    const request = { certificatePem: certificatePem.value, listPem };
    const revocation = await revokeCertificate(authority.value, request, contextOf(cli));
    if (!revocation.ok) return revocation;
    listPem = revocation.value.listPem;
    done.push({ file, revocation: revocation.value });
  }
  const written = await writeFileWhole({ path, text: listPem ?? "" });
  if (!written.ok) return written;
  if (options.json) {
    const revoked = done.map(({ file, revocation: { revoked: facts, since } }) => ({
      file,
      ...factsJson(facts),
      revoked_since: new Date(since).toISOString(),
    }));
    printJson(cli.terminal, { list: path, revoked });
    return success();
  }
  for (const { file, revocation } of done)
    printLines(
      cli.terminal,
      `Revoked ${file} (${revocation.revoked.commonName ?? revocation.revoked.subject}).`,
    );
  printNote(
    cli.terminal,
    `Copy ${relative(cli.workingFolder, path) || path} to the certificates' folder of the control service and of each ` +
      "agent. They take it within seconds.",
  );
  return success();
}

/** Makes an authority for the same cluster, in a folder of its own, with a file that trusts both. */
export async function rotate(cli: CommandLine, options: CaOptions): Promise<Result<void>> {
  const context = contextOf(cli);
  const files = await readAuthorityFiles(options.authorityFolder);
  if (!files.ok) return files;
  const authority = await openAuthority(files.value, context, { evenIfExpired: true });
  if (!authority.ok) return authority;
  const request = optional({ keyType: options.keyType }, options.days);
  const made = await succeedAuthority(authority.value, request, context);
  if (!made.ok) return made;
  const both = { ...made.value, certificatePem: made.value.certificatePem + files.value.certificatePem };
  const text =
    `Created cluster.key and cluster.crt of ${made.value.facts.commonName ?? ""}; cluster.crt trusts the old authority, ` +
    "too. Please keep cluster.key secret. Now copy cluster.crt to every machine and user, then make all other " +
    "certificates anew, then take the second certificate out of cluster.crt: see flocker ca rotate --help.";
  return writePair(cli, "cluster", both, text, options);
}

/** Shows what certificates say, and warns of those that end soon. */
export async function show(
  cli: CommandLine,
  files: readonly string[],
  options: CaOptions,
): Promise<Result<void>> {
  const listed = files.length > 0 ? success(files) : await certificatesIn(cli, options.authorityFolder);
  if (!listed.ok) return listed;
  const authority = await readOptionalTextFile(
    authorityPaths(options.authorityFolder).certificate,
    "the certificate authority's certificate",
  );
  if (!authority.ok) return authority;
  const shown: { file: string; facts: CertificateFacts }[] = [];
  const problems: Problem[] = [];
  for (const file of listed.value) {
    const facts = await inspectFile(cli, file, authority.value);
    if (facts.ok) shown.push({ file, facts: facts.value });
    else problems.push(facts.problem);
  }
  if (options.json) {
    printJson(cli.terminal, {
      certificates: shown.map(({ file, facts }) => ({ file, ...factsJson(facts) })),
    });
  } else if (shown.length > 0) {
    printLines(cli.terminal, ...renderTable(cli.terminal, showColumns, shown));
    for (const { file, facts } of shown) warn(cli, file, facts);
  }
  for (const problem of problems) {
    printProblem(cli.terminal, problem, options.json);
    cli.finish(exitCodeForProblem(problem.code));
  }
  return success();
}

async function issue(
  cli: CommandLine,
  options: CaOptions,
  make: (authority: Authority, context: IssuingContext) => Promise<Result<IssuedCertificate>>,
  tell: (facts: CertificateFacts) => { readonly base: string; readonly text: string },
): Promise<Result<void>> {
  const context = contextOf(cli);
  const files = await readAuthorityFiles(options.authorityFolder);
  if (!files.ok) return files;
  const authority = await openAuthority(files.value, context);
  if (!authority.ok) return authority;
  const made = await make(authority.value, context);
  if (!made.ok) return made;
  const { base, text } = tell(made.value.facts);
  return writePair(cli, base, made.value, text, options);
}

async function writePair(
  cli: CommandLine,
  base: string,
  made: IssuedCertificate,
  text: string,
  options: CaOptions,
): Promise<Result<void>> {
  const certificate = join(options.output, `${base}.crt`);
  const key = join(options.output, `${base}.key`);
  const written = await createFiles([
    { path: key, text: made.keyPem ?? "" },
    { path: certificate, text: made.certificatePem },
  ]);
  if (!written.ok) return written;
  if (options.json) {
    printJson(cli.terminal, { certificate, key, ...factsJson(made.facts) });
    return success();
  }
  printLines(cli.terminal, text);
  // On the standard error, so that scripts which read the original's sentence find nothing else.
  printNote(cli.terminal, `It is valid until ${isoDay(made.facts.notAfter)} (${made.facts.daysLeft} days).`);
  return success();
}

interface RenewedFiles {
  readonly certificate: string;
  readonly key: string | null;
  readonly kept: readonly string[];
}

async function writeRenewal(
  renewal: Renewal,
  old: { readonly path: string; readonly keyPath: string; readonly keyExists: boolean },
  options: RenewOptions,
): Promise<Result<RenewedFiles>> {
  const { certificatePem, keyPem } = renewal.issued;
  const inFolder = (path: string): string =>
    options.output === undefined ? path : join(options.output, basename(path));
  const names = { certificate: inFolder(old.path), key: keyPem === null ? null : inFolder(old.keyPath) };
  const suffix = `.old-${renewal.before.serial}`;
  const certificate = { path: names.certificate, text: certificatePem, keptAs: `${old.path}${suffix}` };
  const key = { path: names.key ?? "", text: keyPem ?? "", keptAs: `${old.keyPath}${suffix}` };
  const files = names.key === null ? [certificate] : [key, certificate];
  if (options.output !== undefined) {
    const created = await createFiles(files);
    return created.ok ? success({ ...names, kept: [] }) : created;
  }
  if (names.key !== null && !old.keyExists) {
    return failure(
      "file-unreadable",
      `There is no ${old.keyPath} whose place a new key could take.`,
      "Name the folder for the new files with --output.",
    );
  }
  const replaced = await replaceFiles(files);
  return replaced.ok ? success({ ...names, kept: files.map((file) => file.keptAs) }) : replaced;
}

function tellRenewal(cli: CommandLine, renewal: Renewal, files: RenewedFiles, json: boolean): void {
  const { before, issued } = renewal;
  if (json) {
    printJson(cli.terminal, {
      certificate: files.certificate,
      key: files.key,
      kept: files.kept,
      previous: { serial: before.serial, not_after: new Date(before.notAfter).toISOString() },
      ...factsJson(issued.facts),
    });
    return;
  }
  const shown = (path: string): string => relative(cli.workingFolder, path) || path;
  const made =
    files.key === null ? shown(files.certificate) : `${shown(files.certificate)} and ${shown(files.key)}`;
  printLines(
    cli.terminal,
    `Renewed ${made}. It was valid until ${isoDay(before.notAfter)} and is now valid until ` +
      `${isoDay(issued.facts.notAfter)} (${issued.facts.daysLeft} days).`,
  );
  if (files.kept.length > 0)
    printNote(cli.terminal, `The old is kept as ${files.kept.map(shown).join(" and ")}.`);
}

interface ShownCertificate {
  readonly file: string;
  readonly facts: CertificateFacts;
}

const showColumns: readonly Column<ShownCertificate>[] = [
  { title: "FILE", value: ({ file }) => file },
  { title: "ROLE", value: ({ facts }) => facts.role ?? "other" },
  { title: "NAME", value: ({ facts }) => facts.name ?? facts.commonName ?? facts.subject },
  {
    title: "HOSTS",
    value: ({ facts }) =>
      facts.role === "control" ? facts.alternativeNames.map((name) => name.value).join(",") : "-",
  },
  { title: "KEY", value: ({ facts }) => facts.keyType },
  {
    title: "SIGNED",
    value: ({ facts }) => (facts.signedByAuthority === null ? "?" : facts.signedByAuthority ? "yes" : "NO"),
    colour: ({ facts }) => (facts.signedByAuthority === false ? "red" : null),
  },
  { title: "EXPIRES", value: ({ facts }) => isoDay(facts.notAfter) },
  {
    title: "DAYS LEFT",
    value: ({ facts }) => String(facts.daysLeft),
    alignRight: true,
    colour: ({ facts }) => (facts.daysLeft < 0 ? "red" : facts.daysLeft < warnBelowDays ? "yellow" : null),
  },
];

function warn(cli: CommandLine, file: string, facts: CertificateFacts): void {
  if (facts.daysLeft < 0) {
    printNote(cli.terminal, `warning: ${file} has expired. Renew it with flocker ca renew.`);
  } else if (facts.daysLeft < warnBelowDays) {
    printNote(
      cli.terminal,
      `warning: ${file} expires in ${facts.daysLeft} days. Renew it with flocker ca renew.`,
    );
  }
  if (facts.signedByAuthority === false) {
    printNote(cli.terminal, `warning: ${file} was not signed by the authority in this folder.`);
  }
}

async function inspectFile(
  cli: CommandLine,
  file: string,
  authorityPem: string | undefined,
): Promise<Result<CertificateFacts>> {
  const text = await readTextFile(resolve(cli.workingFolder, file), "the certificate");
  if (!text.ok) return text;
  return inspectCertificate(text.value, { description: file, now: cli.clock.now(), authorityPem });
}

async function certificatesIn(cli: CommandLine, folder: string): Promise<Result<readonly string[]>> {
  try {
    const names = (await readdir(folder)).filter((name) => name.endsWith(".crt")).toSorted();
    if (names.length > 0)
      return success(names.map((name) => relative(cli.workingFolder, join(folder, name))));
  } catch (error) {
    return failure(
      "file-unreadable",
      `Reading the folder ${folder} failed: ${(error as Error).message}.`,
      "Name the folder with --ca, or the certificate files themselves.",
    );
  }
  return failure(
    "not-found",
    `There are no certificates (*.crt) in ${folder}.`,
    "Name the folder with --ca, or the certificate files themselves.",
  );
}

/** The facts as programs get them. */
function factsJson(facts: CertificateFacts): Record<string, unknown> {
  return {
    subject: facts.subject,
    role: facts.role,
    name: facts.name,
    cluster_id: facts.clusterId,
    alternative_names: facts.alternativeNames,
    serial: facts.serial,
    fingerprint: facts.fingerprint,
    not_before: new Date(facts.notBefore).toISOString(),
    not_after: new Date(facts.notAfter).toISOString(),
    days_left: facts.daysLeft,
    version: facts.version,
    key_type: facts.keyType,
    signed_by_authority: facts.signedByAuthority,
  };
}

function contextOf(cli: CommandLine): IssuingContext {
  return { crypto: webcrypto, now: cli.clock.now(), ids: certificateIds(webcrypto) };
}

function optional<Request extends object>(
  request: Request,
  days: number | undefined,
): Request & { days?: number } {
  return days === undefined ? request : { ...request, days };
}

/** The host as part of a file's name: an IPv6 address may come in brackets. */
function fileNamePart(host: string): string {
  return host.replaceAll(/[[\]]/g, "");
}
