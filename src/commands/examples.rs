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
    (
        "call",
        "asistry -p agentstack call projects.create_project_anonymous name=Mine --save-key",
        "A project of AgentStack without an account",
    ),
    ("tools", "asistry -p sandbox tools", "List the tools"),
    ("tools", "asistry -p sandbox tools show create_task", "Show the arguments of a tool"),
    ("resources", "asistry -p work resources read file:///readme.md", "Read a resource"),
    ("prompts", "asistry -p work prompts get summary style=short", "Fill a prompt in"),
    ("ping", "asistry -p sandbox ping", "Check that a service answers"),
    ("login", "asistry login -p zuko", "Log in with a browser"),
    (
        "login",
        "asistry login --url https://host.example/mcp --no-browser",
        "Paste the URL at which a browser elsewhere ends",
    ),
    ("logout", "asistry logout -p zuko --revoke", "Log out, and revoke the tokens"),
    ("whoami", "asistry whoami -p zuko", "Show who is logged in"),
    ("keys", "asistry keys add -p asistry", "Ask for a key and store it"),
    ("keys", "asistry keys add -p bob-studio --stdin <key.txt", "Store a key from a file"),
    ("keys", "asistry keys rotate -p asistry", "Replace a key"),
    ("keys add", "asistry keys add -p asistry", "Ask for a key and store it"),
    ("keys list", "asistry keys list", "List the keys of all profiles"),
    ("keys show", "asistry keys show -p asistry --json", "Show the current key, masked, as JSON"),
    ("keys test", "asistry keys test -p asistry", "Test the current key"),
    ("keys use", "asistry keys use spare -p asistry", "Make the key named spare the current key"),
    (
        "keys bind",
        "asistry keys bind https://host.example -p asistry",
        "Allow the current key for another origin",
    ),
    ("keys rotate", "asistry keys rotate -p asistry", "Replace the current key"),
    ("keys remove", "asistry keys remove spare -p asistry", "Remove the key named spare"),
    ("profiles list", "asistry profiles list", "List the profiles"),
    ("profiles show", "asistry profiles show work", "Show the values and options of a profile"),
    (
        "profiles add",
        "asistry profiles add work --url https://host.example/mcp",
        "Add a profile for any MCP service",
    ),
    ("profiles set", "asistry profiles set work timeout=5m", "Set an option"),
    ("profiles set", "asistry profiles set work --unset timeout", "Remove an option"),
    ("profiles remove", "asistry profiles remove work", "Remove a profile"),
    ("profiles use", "asistry profiles use work", "Make a profile the default profile"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_about_keys_and_profiles_has_an_example() {
        let card = crate::commands::card(&[]);
        for name in ["keys", "profiles"] {
            let command = card.find_subcommand(name).unwrap();
            for action in command.get_subcommands() {
                let words = format!("{name} {}", action.get_name());
                assert!(of(&words).next().is_some(), "{words}");
            }
        }
    }
}
