//! The form of a session: Markdown, its ```` ```console ```` blocks the commands and what is expected of them,
//! every other block with a file name behind its language (```` ```json tasks.json ````) a file of the home.
//!
//! ```text
//! $ asistry call echo titel=x
//! ? 2, nothing sent
//! 2> asistry: echo has no argument titel
//! ```
//!
//! After the command: how it ended where that is not 0, then stdout, then each line of stderr behind `2> `.
//! `, nothing sent` says that no `tools/call` reached the service, and must be there exactly when none did.

use std::fmt::Write as _;
use std::ops::Range;

/// One command.
#[derive(Debug)]
pub struct Step {
    pub command: String,
    /// Which lines of the file hold what is expected.
    pub place: Range<usize>,
    pub expected: String,
}

#[derive(Debug, Default)]
pub struct Script {
    /// Name and content.
    pub files: Vec<(String, String)>,
    pub steps: Vec<Step>,
}

/// What came of a command.
#[derive(Debug, Default)]
pub struct Came {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// No tool was called; of a service that cannot be asked, nothing is known.
    pub nothing_sent: bool,
}

impl Script {
    pub fn read(text: &str) -> Self {
        let lines: Vec<&str> = text.lines().collect();
        let mut script = Self::default();
        let mut at = 0;
        while at < lines.len() {
            let Some(info) = lines[at].strip_prefix("```") else {
                at += 1;
                continue;
            };
            let begin = at + 1;
            let length = lines[begin..].iter().position(|line| *line == "```").expect("an end of the block");
            let block = begin..begin + length;
            at = block.end + 1;
            match info.split_once(' ') {
                _ if info == "console" => script.read_steps(&lines, block),
                Some((_, name)) => script.files.push((name.to_owned(), lines[block].join("\n") + "\n")),
                None => panic!("line {begin}: a block is ```console or ```LANGUAGE FILE"),
            }
        }
        script
    }

    fn read_steps(&mut self, lines: &[&str], block: Range<usize>) {
        let is_step = |at: &usize| lines[*at].starts_with("$ ");
        let begins: Vec<usize> = block.clone().filter(is_step).collect();
        assert_eq!(begins.first(), Some(&block.start), "line {}: a block begins with `$ `", block.start);
        for (number, begin) in begins.iter().enumerate() {
            let end = begins.get(number + 1).copied().unwrap_or(block.end);
            let more = lines[begin + 1..end].iter().take_while(|line| line.starts_with("> ")).count();
            let command: Vec<&str> = lines[*begin..=begin + more].iter().map(|line| &line[2..]).collect();
            let blank = lines[begin + 1 + more..end].iter().rev().take_while(|line| line.is_empty()).count();
            let place = begin + 1 + more..end - blank;
            let expected = lines[place.clone()].iter().map(|line| format!("{line}\n")).collect();
            self.steps.push(Step { command: command.join("\n"), place, expected });
        }
    }

    /// Puts what came in the place of what was expected.
    pub fn rewritten(&self, text: &str, came: &[String]) -> String {
        let (mut whole, mut done) = (String::new(), 0);
        let lines: Vec<&str> = text.lines().collect();
        for (step, came) in self.steps.iter().zip(came) {
            lines[done..step.place.start].iter().for_each(|line| whole.extend([line, "\n"]));
            whole.push_str(came);
            done = step.place.end;
        }
        lines[done..].iter().for_each(|line| whole.extend([line, "\n"]));
        whole
    }
}

impl Came {
    /// As a session tells it.
    pub fn shown(&self) -> String {
        let mut shown = String::new();
        let sent = if self.nothing_sent { ", nothing sent" } else { "" };
        if self.code != 0 || self.nothing_sent {
            let _ = writeln!(shown, "? {}{sent}", self.code);
        }
        self.stdout.lines().for_each(|line| shown.extend([line, "\n"]));
        self.stderr.lines().for_each(|line| shown.extend([format!("2> {line}").trim_end(), "\n"]));
        // Blank lines at the end separate commands.
        shown.truncate(shown.trim_end_matches('\n').len());
        if shown.is_empty() { shown } else { shown + "\n" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# A\n\n```json a.json\n{}\n```\n\n```console\n$ one \\\n>   more\n? 2, nothing sent\nout\n\nout\n2> no\n\n$ two\n```\nend\n";

    #[test]
    fn a_session_is_read_and_written_as_it_was() {
        let script = Script::read(TEXT);
        assert_eq!(script.files, [("a.json".to_owned(), "{}\n".to_owned())]);
        let commands: Vec<&str> = script.steps.iter().map(|step| step.command.as_str()).collect();
        assert_eq!(commands, ["one \\\n  more", "two"]);
        assert_eq!(script.steps[0].expected, "? 2, nothing sent\nout\n\nout\n2> no\n");
        assert_eq!(script.steps[1].expected, "");
        let came: Vec<String> = script.steps.iter().map(|step| step.expected.clone()).collect();
        assert_eq!(script.rewritten(TEXT, &came), TEXT);
        let other = script.rewritten(TEXT, &["x\n".into(), "y\n".into()]);
        assert!(other.contains("more\nx\n\n$ two\ny\n```\nend\n"), "{other}");
    }

    #[test]
    fn what_came_is_told_in_the_order_of_the_page() {
        let came =
            Came { code: 2, stdout: "a\n\nb\n\n".into(), stderr: "no\n\ntry\n".into(), nothing_sent: true };
        assert_eq!(came.shown(), "? 2, nothing sent\na\n\nb\n\n2> no\n2>\n2> try\n");
        assert_eq!(Came { stdout: "a\n".into(), ..Came::default() }.shown(), "a\n");
        assert_eq!(Came { nothing_sent: true, ..Came::default() }.shown(), "? 0, nothing sent\n");
        assert_eq!(Came::default().shown(), "");
    }
}
