//! Tool names in the form that every client takes: `^[a-zA-Z0-9_-]{1,64}$` (`--tool-names safe`).
//!
//! Made from the whole list, whatever its order: a name that fits stays; in others `_` replaces each other
//! character; where two would meet, or past 64 characters, a suffix is made from a hash of the whole original.

use std::collections::{BTreeSet, HashMap};

use sha2::{Digest, Sha256};

const LONGEST: usize = 64;
/// Bits of the hash in a suffix, in hexadecimal digits: 48, and more where two suffixes meet.
const DIGITS: usize = 12;

/// The shown name of each tool.
#[derive(Debug, Default)]
pub struct Names {
    shown: HashMap<String, String>,
    original: HashMap<String, String>,
}

impl Names {
    /// Makes the names of a whole list.
    pub fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let all: BTreeSet<&str> = names.collect();
        let mut made = Self::default();
        for name in all.iter().filter(|name| is_safe(name)) {
            made.put(name, (*name).to_owned());
        }
        let mut wanted: HashMap<String, usize> = HashMap::new();
        for name in all.iter().filter(|name| !is_safe(name)) {
            *wanted.entry(replaced(name)).or_default() += 1;
        }
        for name in all.iter().filter(|name| !is_safe(name)) {
            let plain = replaced(name);
            let alone = wanted.get(&plain) == Some(&1) && !made.original.contains_key(&plain);
            let shown = match alone && !plain.is_empty() && plain.len() <= LONGEST {
                true => plain,
                false => made.suffixed(name, &plain),
            };
            made.put(name, shown);
        }
        made
    }

    /// Returns the shown name of a tool.
    pub fn shown(&self, original: &str) -> Option<&str> {
        self.shown.get(original).map(String::as_str)
    }

    /// Returns which tool a client means: by a shown name, or by an original that is no other tool's shown name.
    pub fn original<'a>(&'a self, said: &'a str) -> &'a str {
        self.original.get(said).map_or(said, String::as_str)
    }

    fn put(&mut self, original: &str, shown: String) {
        self.original.insert(shown.clone(), original.to_owned());
        self.shown.insert(original.to_owned(), shown);
    }

    fn suffixed(&self, name: &str, plain: &str) -> String {
        let hash: String = Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
        let with = |digits: usize| {
            let head: String = plain.chars().take(LONGEST - digits - 1).collect();
            format!("{head}_{}", &hash[..digits])
        };
        let lengths = (DIGITS..LONGEST - 1).map(with);
        lengths
            .into_iter()
            .find(|shown| !self.original.contains_key(shown))
            .unwrap_or_else(|| with(LONGEST - 1))
    }
}

fn is_safe(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST && name.chars().all(fits)
}

fn fits(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// Replaces each character that some client refuses by `_`.
pub fn replaced(name: &str) -> String {
    name.chars().map(|c| if fits(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_list_does_not_matter() {
        let long = "x".repeat(80);
        let list = ["a.b", "a_b", "a b", "c.d", "", &long, "é"];
        let forward = Names::of(list.iter().copied());
        let backward = Names::of(list.iter().rev().copied());
        for name in list {
            let shown = forward.shown(name).unwrap();
            assert_eq!(Some(shown), backward.shown(name));
            assert!(is_safe(shown), "{shown}");
            assert_eq!(forward.original(shown), name);
        }
        assert_eq!(forward.shown("c.d"), Some("c_d"));
        assert_eq!(forward.shown("a_b"), Some("a_b"));
        assert_eq!(forward.original("a.b"), "a.b", "an original runs its tool too");
        assert_ne!(forward.shown("a.b"), forward.shown("a b"));
    }
}
