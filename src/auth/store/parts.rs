//! Splits a secret that is longer than an item may be, and describes the parts in a manifest.
//!
//! Parts are written first and the manifest last, under a random generation number, so that a reader finds the old
//! secret or the new one. Refuses parts whose total length differs from the manifest.

use crate::secret::Secret;

const MARK: &str = "asistry-parts-v1";

/// The content of the item itself if the secret is split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    generation: u64,
    parts: usize,
    length: usize,
}

impl Manifest {
    /// Splits a secret longer than `limit` bytes; `None` if it fits.
    pub fn cut(secret: &Secret, limit: usize, generation: u64) -> Option<(Self, Vec<Secret>)> {
        let mut rest = secret.expose();
        let length = rest.len();
        if length <= limit {
            return None;
        }
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let end =
                (0..=limit.min(rest.len())).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
            let (part, after) = rest.split_at(end);
            parts.push(Secret::new(part.to_owned()));
            rest = after;
        }
        Some((Self { generation, parts: parts.len(), length }, parts))
    }

    /// Parses a manifest; `None` if the text is a secret.
    pub fn read(text: &Secret) -> Option<Self> {
        let mut words = text.expose().split(':');
        let manifest = Self {
            generation: (words.next()? == MARK).then(|| words.next()?.parse().ok()).flatten()?,
            parts: words.next()?.parse().ok()?,
            length: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(manifest)
    }

    /// Returns the text of the manifest.
    pub fn text(&self) -> Secret {
        Secret::new(format!("{MARK}:{}:{}:{}", self.generation, self.parts, self.length))
    }

    /// Returns the names of the items that hold the parts.
    pub fn items(&self, item: &str) -> impl Iterator<Item = String> {
        let generation = self.generation;
        (0..self.parts).map(move |part| format!("{item}#{generation}.{part}"))
    }

    /// Joins the parts; `None` if their total length is wrong.
    pub fn join(&self, parts: &[Secret]) -> Option<Secret> {
        let mut whole = String::with_capacity(self.length);
        parts.iter().for_each(|part| whole.push_str(part.expose()));
        let whole = Secret::new(whole);
        (whole.expose().len() == self.length).then_some(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_secret_is_cut_and_joined() {
        let secret = Secret::new("aä".repeat(1000));
        let (manifest, parts) = Manifest::cut(&secret, 100, 7).unwrap();
        assert!(parts.len() >= 30 && parts.iter().all(|part| part.expose().len() <= 100));
        assert_eq!(Manifest::read(&manifest.text()), Some(manifest.clone()));
        assert_eq!(manifest.items("x").count(), parts.len());
        assert_eq!(manifest.items("x").next().unwrap(), "x#7.0");
        assert_eq!(manifest.join(&parts), Some(secret));
        assert_eq!(manifest.join(&parts[1..]), None);
    }

    #[test]
    fn a_secret_that_fits_is_no_manifest() {
        let secret = Secret::new("ask_1".into());
        assert!(Manifest::cut(&secret, 5, 7).is_none());
        for text in
            ["ask_1", "asistry-parts-v1", "asistry-parts-v1:1:2", "asistry-parts-v1:1:2:3:4", "a:1:2:3"]
        {
            assert_eq!(Manifest::read(&Secret::new(text.into())), None, "{text}");
        }
    }
}
