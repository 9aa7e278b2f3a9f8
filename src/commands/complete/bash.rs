//! Splits a bash command line into words and finds the part that readline replaces.
//!
//! bash also splits words at `=` and `:` (`COMP_WORDBREAKS`) and replaces only the text after the last of them,
//! so this reads the line itself. Expands nothing.

/// A bash command line up to the cursor.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The words before the typed one, unquoted.
    pub words: Vec<String>,
    /// The word at the cursor, unquoted.
    pub typed: String,
    /// Length in bytes of the part of `typed` that readline keeps.
    kept: usize,
    /// The quote that is still open at the cursor.
    quote: Option<char>,
}

impl Line {
    /// Parses a line; `breaks` is `COMP_WORDBREAKS`.
    pub fn read(line: &str, breaks: &str) -> Self {
        let mut read = Self::default();
        let mut is_word = false;
        let mut letters = line.chars();
        while let Some(letter) = letters.next() {
            match (read.quote, letter) {
                (Some(quote), _) if letter == quote => read.quote = None,
                (Some('\''), _) => read.typed.push(letter),
                (Some(_), '\\') => match letters.next() {
                    Some(next) if "\"\\$`".contains(next) => read.typed.push(next),
                    next => read.typed.extend(['\\'].into_iter().chain(next)),
                },
                (Some(_), _) => read.typed.push(letter),
                (None, '\'' | '"') => {
                    read.quote = Some(letter);
                    read.kept = read.typed.len();
                    is_word = true;
                }
                (None, '\\') => {
                    read.typed.extend(letters.next());
                    is_word = true;
                }
                (None, _) if letter.is_whitespace() => {
                    if std::mem::take(&mut is_word) {
                        read.words.push(std::mem::take(&mut read.typed));
                    }
                    read.kept = 0;
                }
                (None, _) => {
                    let before = read.typed.len();
                    read.typed.push(letter);
                    is_word = true;
                    if breaks.contains(letter) {
                        // readline starts the new word after a break character, but at an @.
                        read.kept = if letter == '@' { before } else { read.typed.len() };
                    }
                }
            }
        }
        read
    }

    /// Returns the text that readline inserts to complete `word`; `None` if `word` does not start with the typed text.
    pub fn completed(&self, word: &str, open: bool) -> Option<String> {
        if !word.starts_with(&self.typed) {
            return None;
        }
        let rest = &word[self.kept..];
        match self.quote {
            // readline adds the closing quote.
            Some('\'') => Some(rest.to_owned()).filter(|rest| !rest.contains('\'')),
            Some(_) => Some(escaped(rest, |c| "\"\\$`".contains(c))),
            None => {
                let plain = |c: char| c.is_alphanumeric() || "-_./+%@:=,".contains(c);
                let end = if open { "" } else { " " };
                Some(escaped(rest, |c| c.is_ascii() && !plain(c)) + end)
            }
        }
    }
}

fn escaped(text: &str, is_special: impl Fn(char) -> bool) -> String {
    let written = |c: char| if is_special(c) { vec!['\\', c] } else { vec![c] };
    text.chars().flat_map(written).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BREAKS: &str = " \t\n\"'@><=;|&(:";

    #[test]
    fn words_are_read_without_their_quotes() {
        for (line, words, kept) in [
            ("asistry call ", vec!["asistry", "call", ""], 0),
            ("a status=to", vec!["a", "status=to"], 7),
            ("a  'x y'\tb\\ c", vec!["a", "x y", "b c"], 0),
            ("a \"x \\\" y\" s=\"t", vec!["a", "x \" y", "s=t"], 2),
            ("a url=http://h", vec!["a", "url=http://h"], 9),
            ("a '' x", vec!["a", "", "x"], 0),
            ("a x=@y", vec!["a", "x=@y"], 2),
            ("a \\", vec!["a", ""], 0),
            ("", vec![""], 0),
        ] {
            let mut read = Line::read(line, BREAKS);
            read.words.push(read.typed);
            assert_eq!((read.words, read.kept), (words.iter().map(|w| (*w).to_owned()).collect(), kept));
        }
    }

    #[test]
    fn what_readline_inserts_is_one_word_whatever_is_in_it() {
        let completed = |line: &str, word: &str| Line::read(line, BREAKS).completed(word, false);
        assert_eq!(completed("a s=t", "s=t$(x) 'y'").unwrap(), "t\\$\\(x\\)\\ \\'y\\' ");
        assert_eq!(completed("a s='t", "s=t$(x) y").unwrap(), "t$(x) y");
        assert_eq!(completed("a s='t", "s=t'y"), None);
        assert_eq!(completed("a s=\"t", "s=t$(x)").unwrap(), "t\\$(x)");
        assert_eq!(completed("a ~", "~x").unwrap(), "\\~x ");
        assert_eq!(completed("a s=x", "s=t"), None);
        assert_eq!(completed("a ü", "über").unwrap(), "über ");
    }
}
