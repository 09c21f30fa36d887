import type { Argument, Command, Option } from "commander";

/** What may stand at a place of the command line. Names are looked up in the cluster, files by the shell. */
export type Completion =
  | { readonly kind: "words"; readonly words: readonly string[] }
  | { readonly kind: "datasets"; readonly deleted: boolean }
  | { readonly kind: "nodes" }
  | { readonly kind: "files" };

/** Options and arguments whose values are things of the cluster or files. */
const kinds: Readonly<Record<string, Completion["kind"]>> = {
  dataset: "datasets",
  node: "nodes",
  file: "files",
  files: "files",
  folder: "files",
  certificate: "files",
};

/**
 * What may come at the end of a command line: `words` are those after `flocker`, the last one begun or empty.
 * All of it is read off the commands themselves, so that completion never lags behind them.
 */
export function complete(program: Command, words: readonly string[]): Completion {
  const before = words.slice(0, -1);
  const current = words.at(-1) ?? "";
  let command = program;
  let positional = 0;
  let onlyArguments = false;
  for (let index = 0; index < before.length; index += 1) {
    const word = before[index] ?? "";
    if (!onlyArguments && word === "--") onlyArguments = true;
    else if (!onlyArguments && word.startsWith("-") && word !== "-") {
      const option = findOption(command, word);
      const takesNext = option !== undefined && (option.required || option.optional) && !word.includes("=");
      if (takesNext && index === before.length - 1) return valueOf(option.name(), option, command);
      if (takesNext) index += 1;
    } else {
      const child = positional === 0 ? findCommand(command, word) : undefined;
      if (child === undefined) positional += 1;
      else command = child;
    }
  }
  if (!onlyArguments && current.startsWith("-")) return optionWords(command, current);
  if (command.commands.length > 0) return startingWith(commandWords(command), current);
  const argument = command.registeredArguments[positional] ?? lastIfVariadic(command.registeredArguments);
  return argument === undefined ? startingWith([], current) : valueOf(argument.name(), argument, command);
}

function lastIfVariadic(all: readonly Argument[]): Argument | undefined {
  const last = all.at(-1);
  return last?.variadic === true ? last : undefined;
}

function findCommand(command: Command, word: string): Command | undefined {
  return command.commands.find((child) => child.name() === word || child.aliases().includes(word));
}

function findOption(command: Command, word: string): Option | undefined {
  const flag = word.split("=")[0];
  return command.options.find((option) => option.long === flag || option.short === flag);
}

function commandWords(command: Command): readonly string[] {
  return command
    .createHelp()
    .visibleCommands(command)
    .map((child) => child.name());
}

function optionWords(command: Command, current: string): Completion {
  const [flag, begun] = current.split("=", 2);
  if (begun !== undefined) {
    const choices = findOption(command, flag ?? "")?.argChoices ?? [];
    return startingWith(
      choices.map((choice) => `${flag}=${choice}`),
      current,
    );
  }
  const visible = command.createHelp().visibleOptions(command);
  return startingWith(
    visible.flatMap((option) => option.long ?? []),
    current,
  );
}

function valueOf(name: string, of: { readonly argChoices?: string[] }, command: Command): Completion {
  if (of.argChoices !== undefined) return { kind: "words", words: of.argChoices };
  const placeholder =
    of instanceof Object && "flags" in of ? /<([^>]+)>/.exec(String(of.flags))?.[1] : undefined;
  const kind = kinds[placeholder ?? name] ?? "words";
  if (kind === "datasets") return { kind, deleted: command.name() === "undelete" };
  return kind === "words" ? { kind, words: [] } : { kind };
}

function startingWith(words: readonly string[], begun: string): Completion {
  return { kind: "words", words: words.filter((word) => word.startsWith(begun)) };
}

/** The shells that there is a script for. */
export const shells = ["bash", "zsh"] as const;
export type Shell = (typeof shells)[number];

/**
 * What the shell has to run. It asks `flocker __complete` at each Tab; a line `:files` leaves it to the
 * shell.
 */
export function completionScript(shell: Shell): string {
  return shell === "bash" ? bashScript : zshScript;
}

const bashScript = `# bash completion for flocker; put it into ~/.bashrc: source <(flocker completion bash)
_flocker() {
  local IFS=$'\\n' candidates
  candidates=$(flocker __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  if [ "$candidates" = ":files" ]; then
    compopt -o filenames 2>/dev/null
    COMPREPLY=($(compgen -f -- "\${COMP_WORDS[COMP_CWORD]}"))
  else
    COMPREPLY=($(compgen -W "$candidates" -- "\${COMP_WORDS[COMP_CWORD]}"))
  fi
}
complete -F _flocker flocker
`;

const zshScript = `#compdef flocker
# zsh completion for flocker; put it into ~/.zshrc, after compinit: source <(flocker completion zsh)
_flocker() {
  local -a candidates
  candidates=("\${(@f)$(flocker __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ "\${candidates[1]}" == ":files" ]]; then
    _files
  else
    compadd -- "\${(@)candidates:#}"
  fi
}
compdef _flocker flocker
`;
