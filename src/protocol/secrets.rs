//! Secrets that a service hands out in its results, as its data names them, and the keys among them.
//!
//! Holds no secret: `auth` replaces each with a reference before anything here sees it.

use serde::Deserialize;

use super::message::quote;
use super::tool_names::replaced;
use crate::secret::Secret;

/// Prefix of a reference to a secret; 12 hexadecimal digits follow.
pub const MASKED: &str = "MASKED_";
/// The length of a reference.
pub const MASKED_LENGTH: usize = MASKED.len() + 12;

/// Where a service's results hold secrets, and which actions make keys.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretRules {
    /// Fields of results whose values are secrets, at any depth.
    #[serde(default)]
    pub fields: Vec<String>,
    /// Arguments in which a reference is resolved.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Actions whose result holds a new key.
    #[serde(default)]
    pub new_keys: Vec<NewKeyRule>,
}

/// An action whose result holds a new key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKeyRule {
    /// The action.
    pub action: String,
    /// What it does, where the service does not say.
    pub about: String,
    /// JSON schema of its parameters, where the service does not say.
    #[serde(default)]
    pub parameters: String,
    /// Arguments of an example, as a shell takes them.
    #[serde(default)]
    pub example: String,
    /// Fields of its result, the first of which that is there is the key.
    pub fields: Vec<String>,
    /// What happens to the stored key.
    pub purpose: Purpose,
    /// The argument that holds the key to replace [default: the key in use].
    #[serde(default)]
    pub replaces: Option<String>,
    /// The field of its result, or the argument, that names what the key belongs to.
    pub subject: String,
    /// Prefix of the new key's name where another key exists.
    pub prefix: String,
}

/// What happens to the stored key.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Nothing: the new one is added. The action is sent without a credential.
    Added,
    /// The new one replaces it.
    Switched,
}

/// What a client wants of new keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NewKeys {
    /// Nothing: an action that adds one is refused before it is sent.
    #[default]
    Refused,
    /// They are stored.
    Stored,
    /// They are shown, and nowhere stored.
    Shown,
}

/// A key to be stored.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The reference to the key.
    pub key: String,
    /// Field and reference of each other secret of the result.
    pub others: Vec<(String, String)>,
    /// Its name, where it is stored beside another key.
    pub name: String,
    /// The key that it replaces.
    pub replaced: Replaced,
}

/// The key that a new one replaces.
#[derive(Clone, Debug)]
pub enum Replaced {
    /// None: it is added.
    Nothing,
    /// The key in use.
    Current,
    /// This one: its text, or a reference.
    This(Secret),
}

/// Work with the key store, for one request.
#[derive(Clone, Debug)]
pub enum KeyWork {
    /// Check that a key could be stored.
    Check,
    /// Store a key.
    Store(NewKey),
}

/// Says where a new key is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// `PROFILE/NAME`.
    pub id: String,
    /// The store, for display.
    pub store: String,
    /// The key's masked form.
    pub shown: String,
    /// The origin that it is bound to.
    pub origin: String,
    /// The name of the key that stays in use, if it is another one.
    pub still_current: Option<String>,
}

impl SecretRules {
    /// Finds the rule of an action that makes keys, under its own name or its shown one.
    pub fn new_key(&self, action: &str) -> Option<&NewKeyRule> {
        self.new_keys.iter().find(|rule| rule.is_named(action))
    }

    /// Checks the rules of a service.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub fn check(&self) -> Result<(), String> {
        for rule in &self.new_keys {
            if let Some(name) = rule.fields.iter().find(|name| !self.fields.contains(name)) {
                return Err(format!("secrets.new_keys: {name} is not in secrets.fields"));
            }
            if rule.replaces.as_ref().is_some_and(|name| !self.arguments.contains(name)) {
                return Err("secrets.new_keys: replaces must be one of secrets.arguments".to_owned());
            }
        }
        Ok(())
    }

    /// Returns the JSON text of a tool for each action that needs no credential.
    pub fn keyless_tools(&self) -> impl Iterator<Item = (&str, String)> {
        let keyless = self.new_keys.iter().filter(|rule| rule.purpose == Purpose::Added);
        keyless.map(|rule| {
            let (name, about) = (quote(&rule.action), quote(&rule.about));
            let tool =
                format!(r#"{{"name":{name},"description":{about},"inputSchema":{{"type":"object"}}}}"#);
            (rule.action.as_str(), tool)
        })
    }
}

impl NewKeyRule {
    /// Says whether this is the action's name, or the name shown for it.
    pub fn is_named(&self, name: &str) -> bool {
        self.action == name || replaced(&self.action) == name
    }
}

/// Returns the name of a field without case and separators: `apiKey` is `api_key`.
pub fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Says whether a text is a reference.
pub fn is_masked(text: &str) -> bool {
    let digits = text.strip_prefix(MASKED).unwrap_or_default();
    digits.len() + MASKED.len() == MASKED_LENGTH && digits.bytes().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_value_has_one_form() {
        assert!(is_masked("MASKED_0123456789ab"));
        for other in
            ["MASKED", "MASKED_", "MASKED_0123456789a", "MASKED_0123456789abc", "MASKED_0123456789xy"]
        {
            assert!(!is_masked(other), "{other}");
        }
    }
}
