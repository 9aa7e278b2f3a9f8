//! Parses each shell's completion request and formats its answer.
//!
//! bash sends the line up to the cursor and its word breaks. The other shells send the index of the cursor's
//! word, then all words, the program name first; an empty last word may be missing. The first line of an answer
//! says whether to add file names, each further line is a candidate. Candidates are quoted for bash and
//! PowerShell; the other shells quote by themselves.

use super::bash::Line;
use super::{Answer, Candidate};
use crate::commands::completions::Shell;

/// A completion request.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// From bash.
    Bash(Line),
    /// From any other shell.
    Other { shell: Shell, before: Vec<String>, typed: String },
}

/// Parses the words after `__complete`; `None` if they are malformed.
pub fn read(words: &[String]) -> Option<Request> {
    let (shell, rest) = words.split_first()?;
    let shell = <Shell as clap::ValueEnum>::from_str(shell, false).ok()?;
    if shell == Shell::Bash {
        let [line, breaks] = rest else { return None };
        return Some(Request::Bash(Line::read(line, breaks)));
    }
    let (index, words) = rest.split_first()?;
    let index: usize = index.parse().ok()?;
    let typed = words.get(index).cloned().unwrap_or_default();
    let before = words.get(..index)?;
    // fish includes assignments before the command: NAME=value asistry …
    let begin = before.iter().position(|word| !word.contains('=') || word.contains('/'))?;
    Some(Request::Other { shell, before: before[begin + 1..].to_vec(), typed })
}

impl Request {
    /// Returns the words between the program name and the typed one.
    pub fn before(&self) -> &[String] {
        match self {
            Self::Bash(line) => line.words.get(1..).unwrap_or_default(),
            Self::Other { before, .. } => before,
        }
    }

    /// Returns the word at the cursor, up to the cursor.
    pub fn typed(&self) -> &str {
        match self {
            Self::Bash(line) => &line.typed,
            Self::Other { typed, .. } => typed,
        }
    }

    /// Formats an answer for the shell.
    pub fn written(&self, answer: &Answer) -> String {
        let prefix = self.typed().get(..answer.prefix_len).unwrap_or_default();
        let whole = |found: &Candidate| format!("{prefix}{}", found.text);
        let kind = if answer.files { "files" } else { "words" };
        let candidates = answer.candidates.iter();
        let mut lines = Vec::new();
        match self {
            Self::Bash(line) => {
                lines.push(kind.to_owned());
                lines.extend(candidates.filter_map(|found| line.completed(&whole(found), found.open)));
            }
            Self::Other { shell: Shell::Zsh, .. } => {
                lines.push(format!("{} {kind}", prefix.chars().count()));
                let escaped = |text: &str| text.replace('\\', "\\\\").replace(':', "\\:");
                lines.extend(candidates.map(|found| {
                    let mark = if found.open { '+' } else { '.' };
                    let about = if found.about.is_empty() { "" } else { ":" };
                    format!("{mark}{}{about}{}", escaped(&found.text), found.about)
                }));
            }
            Self::Other { shell: Shell::Fish, .. } => {
                lines.push(format!("{kind} {prefix}"));
                lines.extend(candidates.map(|found| format!("{}\t{}", whole(found), found.about)));
            }
            Self::Other { shell: Shell::Elvish, .. } => {
                lines.push(format!("{kind} {prefix}"));
                let end = |found: &Candidate| if found.open { "" } else { " " };
                let line = |found: &Candidate| format!("{}\t{}\t{}", whole(found), end(found), found.about);
                lines.extend(candidates.map(line));
            }
            // PowerShell inserts a candidate verbatim, and shows none without a description.
            Self::Other { typed, .. } => {
                lines.push(kind.to_owned());
                let fits = candidates.filter(|found| whole(found).starts_with(typed.as_str()));
                lines.extend(fits.map(|found| {
                    let about = if found.about.is_empty() { &found.text } else { &found.about };
                    format!("{}\t{}\t{about}", powershell_quoted(&whole(found)), found.text)
                }));
            }
        }
        lines.join("\n")
    }
}

/// Quotes a word for PowerShell if needed.
fn powershell_quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '=' | '+');
    if word.chars().all(plain) {
        return word.to_owned();
    }
    // PowerShell also treats typographic quotes as string delimiters.
    let doubled = |c: char| match c {
        '\'' | '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}' => format!("{c}{c}"),
        c => c.to_string(),
    };
    format!("'{}'", word.chars().map(doubled).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str]) -> Option<Request> {
        read(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    fn answer() -> Answer {
        let named = |text: &str| Candidate::new(text, "");
        Answer {
            prefix_len: 2,
            candidates: vec![named("to do;x"), named("a:'b"), Candidate::new("n=", "name").open()],
            files: false,
        }
    }

    #[test]
    fn words_are_read_in_the_way_of_each_shell() {
        for (words, before, typed) in [
            (vec!["bash", "asistry -p 'w k' call s=t", " =:"], vec!["-p", "w k", "call"], "s=t"),
            (vec!["zsh", "2", "asistry", "call", ""], vec!["call"], ""),
            (vec!["powershell", "2", "asistry", "call"], vec!["call"], ""),
            (vec!["fish", "3", "A=1", "/x=/asistry", "call", "t"], vec!["call"], "t"),
        ] {
            let request = asked(&words).unwrap();
            assert_eq!(request.before(), before, "{words:?}");
            assert_eq!(request.typed(), typed, "{words:?}");
        }
        for nonsense in [vec![], vec!["csh"], vec!["bash"], vec!["zsh", "x"], vec!["zsh", "9", "asistry"]] {
            assert_eq!(asked(&nonsense), None);
        }
    }

    #[test]
    fn each_shell_hears_whole_words_that_stay_words() {
        let written = |words: &[&str]| asked(words).unwrap().written(&answer());
        assert_eq!(written(&["bash", "asistry s=", "="]), "words\nto\\ do\\;x \na:\\'b \nn=");
        assert_eq!(written(&["bash", "asistry s=", " "]), "words\ns=to\\ do\\;x \ns=a:\\'b \ns=n=");
        assert_eq!(written(&["zsh", "1", "asistry", "s="]), "2 words\n.to do;x\n.a\\:'b\n+n=:name");
        assert_eq!(written(&["fish", "1", "asistry", "s="]), "words s=\ns=to do;x\t\ns=a:'b\t\ns=n=\tname");
        assert_eq!(
            written(&["elvish", "1", "asistry", "s="]),
            "words s=\ns=to do;x\t \t\ns=a:'b\t \t\ns=n=\t\tname"
        );
        assert_eq!(
            written(&["powershell", "1", "asistry", "s="]),
            "words\n's=to do;x'\tto do;x\tto do;x\n's=a:''b'\ta:'b\ta:'b\ns=n=\tn=\tname"
        );
        assert_eq!(written(&["powershell", "1", "asistry", "s=n"]), "words\ns=n=\tn=\tname");
    }
}
