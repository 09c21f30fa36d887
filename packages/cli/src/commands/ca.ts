import { resolve } from "node:path";
import { Option, type Command } from "commander";
import type * as CaActions from "./ca-actions.ts";
import type { CaOptions, RenewOptions } from "./ca-actions.ts";
import { examples, newCommand, perform, wholeNumber, type CommandLine } from "../command-line.ts";

/** As `keyTypes` of @flocker/ca, which is loaded only when a certificate is to be made. */
const keyTypeChoices = ["ec-p256", "rsa-2048", "rsa-3072", "rsa-4096"];
const daysMax = 7305;

/** The options as commander gives them. */
interface RawOptions {
  readonly ca?: string;
  readonly output?: string;
  readonly keyType?: CaOptions["keyType"];
  readonly days?: number;
  readonly json?: boolean;
}

/** `flocker ca`: the cluster's certificate authority. */
export function caCommand(cli: CommandLine): Command {
  const command = newCommand("ca", "make, renew, show and revoke the cluster's certificates");
  command
    .addCommand(initCommand(cli))
    .addCommand(controlCommand(cli))
    .addCommand(nodeCommand(cli))
    .addCommand(userCommand(cli))
    .addCommand(renewCommand(cli))
    .addCommand(showCommand(cli))
    .addCommand(revokeCommand(cli))
    .addCommand(rotateCommand(cli))
    .addHelpText(
      "after",
      examples(
        ["flocker ca init mycluster", "set up a cluster's authority in this folder"],
        ["flocker ca control control.example.org 192.0.2.1", "a certificate for its control service"],
        ["flocker ca node", "a certificate for a new node"],
        ["flocker ca user alice", "a certificate for a person or program that uses the API"],
        ["flocker ca show", "when do they expire?"],
      ),
    );
  return command;
}

function initCommand(cli: CommandLine): Command {
  return withIssuingOptions(
    newCommand("init", "set up a new cluster's certificate authority: cluster.crt and cluster.key")
      .argument("<cluster-name>", "a name for people; it cannot be changed")
      .addHelpText(
        "after",
        examples(
          ["flocker ca init mycluster", "in this folder"],
          [
            "flocker ca init mycluster --output /etc/flocker --key-type rsa-4096",
            "for clients that know only RSA",
          ],
        ),
      ),
    "20 years",
    false,
  ).action((name: string, options: RawOptions) =>
    run(cli, options, (actions, settings) => actions.init(cli, name, settings)),
  );
}

function controlCommand(cli: CommandLine): Command {
  return withIssuingOptions(
    newCommand("control", "make the control service's certificate: control-HOST.crt and control-HOST.key")
      .argument("<host...>", "every host name and IP address by which clients and agents reach it")
      .addHelpText(
        "after",
        examples(
          ["flocker ca control control.example.org", "for one host name"],
          [
            "flocker ca control control.example.org 192.0.2.1 2001:db8::1",
            "for all of its names and addresses",
          ],
        ),
      ),
    "5 years",
  ).action((hosts: string[], options: RawOptions) =>
    run(cli, options, (actions, settings) => actions.control(cli, hosts, settings)),
  );
}

function nodeCommand(cli: CommandLine): Command {
  return withIssuingOptions(
    newCommand("node", "make a node's certificate: UUID.crt and UUID.key")
      .option("--uuid <uuid>", "the node's uuid, where a node is set up again; a fresh one otherwise")
      .addHelpText("after", examples(["flocker ca node", "for a new node"])),
    "5 years",
  ).action((options: RawOptions & { uuid?: string }) =>
    run(cli, options, (actions, settings) => actions.node(cli, options.uuid, settings)),
  );
}

function userCommand(cli: CommandLine): Command {
  return withIssuingOptions(
    newCommand("user", "make the certificate of an API user: NAME.crt and NAME.key")
      .argument("<name>", "letters, digits and . _ @ -")
      .addHelpText(
        "after",
        examples(["flocker ca user alice", "for alice, who may then change the cluster"]),
      ),
    "5 years",
  ).action((name: string, options: RawOptions) =>
    run(cli, options, (actions, settings) => actions.user(cli, name, settings)),
  );
}

function renewCommand(cli: CommandLine): Command {
  return newCommand(
    "renew",
    "make a new certificate in place of one that expires, with the same names and key",
  )
    .argument("<certificate>", "the certificate's file; the old one is kept as FILE.old-SERIAL")
    .addOption(caFolderOption())
    .addOption(
      new Option("-o, --output <folder>", "write the new files there, and leave the old one as it is"),
    )
    .option("--new-key", "with a new private key; the old one is kept as FILE.old-SERIAL")
    .addOption(daysOption("5 years, 20 for the authority's own"))
    .option("--json", "print what was done as JSON")
    .addHelpText(
      "after",
      `
The files that a running service uses are read again for each new connection.
${examples(
  ["flocker ca renew control-control.example.org.crt", "same names, same key, valid longer"],
  ["flocker ca renew alice.crt --new-key", "when the key may be known to others"],
  ["flocker ca renew cluster.crt", "the authority itself; what it signed stays valid"],
)}`,
    )
    .action((certificate: string, options: RawOptions & { newKey?: boolean }) =>
      run(cli, options, (actions, settings) => {
        const request: RenewOptions = {
          ...settings,
          output: options.output === undefined ? undefined : settings.output,
          newKey: options.newKey ?? false,
        };
        return actions.renew(cli, certificate, request);
      }),
    );
}

function showCommand(cli: CommandLine): Command {
  return newCommand("show", "show certificates: for whom, and how long they are valid")
    .argument("[files...]", "certificate files; all *.crt of the authority's folder unless given")
    .addOption(caFolderOption())
    .option("--json", "print the facts as JSON")
    .addHelpText(
      "after",
      `
Warns of certificates that expire within 30 days.
${examples(
  ["flocker ca show", "all certificates in this folder"],
  [
    "flocker ca show /etc/flocker/node.crt --ca /etc/flocker",
    "one, and whether the authority there signed it",
  ],
  ["flocker ca show --json | jq '.certificates[] | select(.days_left < 60) | .file'", "for monitoring"],
)}`,
    )
    .action((files: string[], options: RawOptions) =>
      run(cli, options, (actions, settings) => actions.show(cli, files, settings)),
    );
}

function revokeCommand(cli: CommandLine): Command {
  return newCommand(
    "revoke",
    "put certificates on the list of those that are not let in any more: cluster.crl",
  )
    .argument("<certificates...>", "the certificates' files")
    .addOption(caFolderOption())
    .option("--json", "print what was revoked as JSON")
    .addHelpText(
      "after",
      `
The list is written beside cluster.crt. Copy it to the certificates' folder of the control service
and of each agent: they take it within seconds, without a restart, and end what is connected.
${examples(
  ["flocker ca revoke alice.crt", "alice has left"],
  ["flocker ca revoke 4f1a2c3d-0000-4000-8000-000000000001.crt", "a node that was stolen"],
)}`,
    )
    .action((certificates: string[], options: RawOptions) =>
      run(cli, options, (actions, settings) => actions.revoke(cli, certificates, settings)),
    );
}

function rotateCommand(cli: CommandLine): Command {
  return newCommand("rotate", "set up an authority that takes the place of this one, without an interruption")
    .addOption(caFolderOption())
    .requiredOption("-o, --output <folder>", "where the new authority is kept: an empty folder")
    .addOption(new Option("--key-type <type>", "the kind of key").choices(keyTypeChoices).default("ec-p256"))
    .addOption(daysOption("20 years"))
    .option("--json", "print what was made as JSON")
    .addHelpText(
      "after",
      `
The new cluster.crt has the certificates of both authorities, the new one first:
  1. Copy it over every cluster.crt, of services, nodes and users. Both authorities are trusted now.
  2. Make all other certificates anew with the new authority, and put them in place of the old ones.
  3. Take the second certificate out of every cluster.crt. The old authority is not trusted any more.
No service has to be restarted, and none loses a connection.
${examples(["flocker ca rotate --output ca-2", "the old one stays in this folder"])}`,
    )
    .action((options: RawOptions) => run(cli, options, (actions, settings) => actions.rotate(cli, settings)));
}

function withIssuingOptions(command: Command, daysDefault: string, needsAuthority = true): Command {
  if (needsAuthority) command.addOption(caFolderOption());
  return command
    .addOption(new Option("-o, --output <folder>", "where the files are written").default(".", "this folder"))
    .addOption(new Option("--key-type <type>", "the kind of key").choices(keyTypeChoices).default("ec-p256"))
    .addOption(daysOption(daysDefault))
    .option("--json", "print what was made as JSON");
}

function caFolderOption(): Option {
  return new Option("-i, --ca <folder>", "where cluster.crt and cluster.key are").default(".", "this folder");
}

function daysOption(usual: string): Option {
  return new Option(
    "--days <number>",
    `for how many days it is valid (${usual} unless given; never longer than the authority)`,
  ).argParser(wholeNumber(1, daysMax));
}

type Actions = typeof CaActions;

function run(
  cli: CommandLine,
  options: RawOptions,
  body: (actions: Actions, settings: CaOptions) => ReturnType<Actions["init"]>,
): Promise<void> {
  const json = options.json ?? false;
  return perform(cli, json, async () =>
    // Making certificates needs libraries that take a while to load, so only these commands load them.
    body(await import("./ca-actions.ts"), {
      authorityFolder: resolve(cli.workingFolder, options.ca ?? "."),
      output: resolve(cli.workingFolder, options.output ?? "."),
      keyType: options.keyType ?? "ec-p256",
      days: options.days,
      json,
    }),
  );
}
