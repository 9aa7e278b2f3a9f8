//! The examples of the commands, for `--help` and the manual pages: one table.
//!
//! A test runs those of the sandbox.

use clap::Command;

/// The words of a command, a line to type, and what it does.
pub const EXAMPLES: &[(&str, &str, &str)] = &[
    ("", "asistry -p sandbox tools", "List the tools of the sandbox"),
    ("", "asistry -p sandbox call create_task title=Hello", "Call a tool"),
    ("bridge", "asistry bridge --profile asistry", "The command that an MCP client starts"),
    (
        "bridge",
        "asistry bridge --url https://host.example/mcp --read-only",
        "Any MCP service, read-only tools",
    ),
    (
        "call",
        "asistry -p sandbox call create_task title='Fix the login' labels=bug labels=backend",
        "Arguments",
    ),
    ("call", "asistry -p sandbox call list_tasks limit=5 --jq '.tasks[].title'", "Filter the result"),
    ("call", "asistry -p sandbox call --batch calls.jsonl --jobs 4", "Many calls"),
    ("tools", "asistry -p sandbox tools", "List the tools"),
    ("tools", "asistry -p sandbox tools show create_task", "Show the arguments of a tool"),
    ("resources", "asistry -p work resources read file:///readme.md", "Read a resource"),
    ("prompts", "asistry -p work prompts get summary style=short", "Fill a prompt in"),
    ("ping", "asistry -p sandbox ping", "Check that a service answers"),
    ("keys", "asistry keys add -p asistry", "Ask for a key and store it"),
    ("keys", "asistry keys add -p bob-studio --stdin <key.txt", "Store a key from a file"),
    ("keys", "asistry keys rotate -p asistry", "Replace a key"),
    ("profiles", "asistry profiles add work --url https://host.example/mcp", "Add a profile"),
    ("profiles", "asistry profiles set work timeout=5m deny_tools='delete_*'", "Change a profile"),
    ("sandbox", "asistry sandbox --memory", "Serve without keeping any data"),
    ("man", "asistry man call | man -l -", "Show a manual page"),
    ("help", "asistry help environment", "List the variables that asistry reads"),
];

/// Returns the examples of a command, named by its words without `asistry`.
pub fn of(command: &str) -> impl Iterator<Item = &'static (&'static str, &'static str, &'static str)> {
    EXAMPLES.iter().filter(move |(of, ..)| *of == command)
}

/// Adds the examples to the help of each command.
pub fn added(card: Command) -> Command {
    let names: Vec<String> = card.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let card = with_examples(card, "");
    names.iter().fold(card, |card, name| card.mut_subcommand(name, |command| with_examples(command, name)))
}

fn with_examples(command: Command, name: &str) -> Command {
    let lines: Vec<String> = of(name).map(|(_, line, about)| format!("  {about}:\n    {line}")).collect();
    if lines.is_empty() {
        return command;
    }
    let before = command.get_after_help().map(|help| format!("{help}\n\n")).unwrap_or_default();
    command.after_help(format!("{before}Examples:\n{}", lines.join("\n")))
}
