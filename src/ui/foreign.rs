//! Text of strangers, as a person may see it.
//!
//! Refuses whatever acts on its reader: control characters, characters that cannot be seen or that turn the
//! direction of a text, and commands to the runner of GitHub Actions.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

/// The indentation of a text's further lines: asistry's own lines are indented less.
const INDENT: &str = "    ";

/// Whether the runner of GitHub Actions reads what is printed.
static IN_ACTIONS: AtomicBool = AtomicBool::new(false);

/// From now on what is printed commands no runner of GitHub Actions.
pub fn read_by_github_actions() {
    IN_ACTIONS.store(true, Ordering::Relaxed);
}

/// Replaces control characters, except line break and tab; shows what cannot be seen, or turns the direction of the
/// text, as `\u{202e}`.
pub fn clean(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            c if c.is_control() => shown.push('\u{fffd}'),
            c if is_unseen(c) => drop(write!(shown, "{}", c.escape_unicode())),
            c => shown.push(c),
        }
    }
    shown
}

/// Says whether a character has no width, turns the direction of the text, or breaks a line where few expect it.
pub fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Returns a text as stderr shows it: clean, and every line but the first indented.
pub fn remark(text: &str) -> String {
    disarmed(&clean(text).replace('\n', &format!("\n{INDENT}")))
}

/// Returns a remark that is not taken for one of asistry's own errors.
pub fn not_ours(text: &str) -> String {
    let indent = if text.trim_start().starts_with("asistry:") { INDENT } else { "" };
    format!("{indent}{text}")
}

/// Parts the marks that the runner of GitHub Actions obeys, where it reads: `::` at the beginning of a line, before
/// which it passes over white space, and `##[` anywhere.
pub fn disarmed(text: &str) -> String {
    if !IN_ACTIONS.load(Ordering::Relaxed) {
        return text.to_owned();
    }
    parted(text)
}

/// As [`disarmed`] for JSON, which stays the same value: `##[` occurs in strings only.
pub fn disarmed_json(json: String) -> String {
    if IN_ACTIONS.load(Ordering::Relaxed) { json.replace("##[", "#\\u0023[") } else { json }
}

fn parted(text: &str) -> String {
    let lines = text.split_inclusive(['\n', '\r']).map(|line| {
        let told = line.trim_start();
        let blank = &line[..line.len() - told.len()];
        match told.strip_prefix("::") {
            Some(rest) => format!("{blank}: :{rest}"),
            None => line.to_owned(),
        }
    });
    lines.collect::<String>().replace("##[", "# #[")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_its_reader_is_shown_instead() {
        assert_eq!(clean("a\u{1b}[31mb\r\n\tc\u{9b}"), "a\u{fffd}[31mb\u{fffd}\n\tc\u{fffd}");
        assert_eq!(clean("a\u{202e}b\u{200b}\u{feff}\u{2028}"), r"a\u{202e}b\u{200b}\u{feff}\u{2028}");
        assert_eq!(clean("Grüße 東京 🙂\u{fe0f} \u{5e9}"), "Grüße 東京 🙂\u{fe0f} \u{5e9}");
    }

    #[test]
    fn a_further_line_looks_like_none_of_ours() {
        assert_eq!(remark("no\nasistry: yes\n  try: rm"), "no\n    asistry: yes\n      try: rm");
        assert_eq!(not_ours(" asistry: x"), "     asistry: x");
        assert_eq!(not_ours("asistry 1"), "asistry 1");
    }

    /// The runner trims a line before it looks for `::`, ends lines at `\r` too, and looks for `##[` anywhere.
    #[test]
    fn no_line_commands_the_runner() {
        for (text, told) in [
            ("::error::x", ": :error::x"),
            ("a\n \t\u{a0}::stop-commands::x", "a\n \t\u{a0}: :stop-commands::x"),
            ("a\r::add-mask::x\r\n::add-mask::y", "a\r: :add-mask::x\r\n: :add-mask::y"),
            ("a ##[add-mask]x", "a # #[add-mask]x"),
            ("a::b", "a::b"),
        ] {
            assert_eq!(parted(text), told);
        }
    }
}
