import type { Command } from "commander";
import { success, type Log, type LogLevel, type Result } from "@flocker/core";
import { createLog, runUntilSignal } from "@flocker/host";
import { examples, newCommand, perform, type CommandLine } from "../command-line.ts";

interface ServiceCommandOptions {
  readonly config: string;
}

/** `flocker control`: runs the control service until a signal ends it. */
export function controlCommand(cli: CommandLine, version: string): Command {
  return newCommand("control", "Run the control service (in the foreground, until SIGTERM or Ctrl-C)")
    .option("-c, --config <file>", "its configuration file", "/etc/flocker/control.yml")
    .addHelpText(
      "after",
      examples([
        "flocker control --config /etc/flocker/control.yml",
        "what its systemd unit runs; logs JSON lines",
      ]),
    )
    .action(async (options: ServiceCommandOptions) => {
      // Services are loaded only when they are run: every other command would start later for them.
      const { loadControlConfiguration, startControlService } = await import("@flocker/control");
      await runService(cli, loadControlConfiguration(options.config), (configuration, log) =>
        startControlService({ configuration, log, version }),
      );
    });
}

/** `flocker agent`: runs this node's agent until a signal ends it. */
export function agentCommand(cli: CommandLine, version: string): Command {
  return newCommand("agent", "Run this node's agent (in the foreground, until SIGTERM or Ctrl-C)")
    .option("-c, --config <file>", "its configuration file", "/etc/flocker/agent.yml")
    .addHelpText(
      "after",
      examples([
        "flocker agent --config /etc/flocker/agent.yml",
        "what its systemd unit runs; logs JSON lines",
      ]),
    )
    .action(async (options: ServiceCommandOptions) => {
      const { loadAgentConfiguration, startAgentService } = await import("@flocker/agent");
      await runService(cli, loadAgentConfiguration(options.config), (configuration, log) =>
        startAgentService({ configuration, log, version }),
      );
    });
}

/** A service's exit codes are those of sysexits, which supervisors know; see docs/operate/install.md. */
async function runService<Configuration extends { readonly logLevel: LogLevel }>(
  cli: CommandLine,
  loaded: Result<Configuration>,
  start: (configuration: Configuration, log: Log) => Promise<AsyncDisposable>,
): Promise<void> {
  if (!loaded.ok) return perform(cli, false, () => Promise.resolve(loaded));
  const configuration = loaded.value;
  const log = createLog({ level: configuration.logLevel });
  const code = await runUntilSignal(() => start(configuration, log), { log });
  return perform(cli, false, () => {
    cli.finish(code as Parameters<CommandLine["finish"]>[0]);
    return Promise.resolve(success());
  });
}
