//! Checks the form of a key before it is stored or sent.
//!
//! Refuses a key of another service or of a model provider and names its owner. Never chooses a service by a key's
//! prefix.

use crate::error::{Error, Kind};
use crate::profile::Profile;
use crate::secret::Secret;
use crate::service::{Catalog, Service};

/// Maximum length of a key or token, in bytes.
pub const LONGEST: usize = 8192;
/// Shorter keys are masked completely.
const SHORTEST_WITH_END: usize = 20;
const PREVIEW: &str = "is the masked preview of a key, not the key";
/// Prefixes of model providers' keys, which are easily pasted by mistake.
const MODEL_PROVIDERS: &[(&str, &str)] = &[
    ("sk-ant-", "Anthropic"),
    ("sk-or-", "OpenRouter"),
    ("sk-", "OpenAI"),
    ("AIza", "Google"),
    ("gsk_", "Groq"),
    ("xai-", "xAI"),
    ("hf_", "Hugging Face"),
];

/// Why a text is not accepted as a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The predicate of a sentence that begins with “the key”.
    pub why: String,
    /// Whether `--force` overrides it.
    pub can_be_forced: bool,
}

impl Unfit {
    fn never(why: &str) -> Self {
        Self { why: why.into(), can_be_forced: false }
    }

    fn unless_forced(why: impl Into<String>) -> Self {
        Self { why: why.into(), can_be_forced: true }
    }

    /// Converts to an error; `source` says where the key is from.
    pub fn into_error(&self, source: &dyn std::fmt::Display, profile: &Profile) -> Error {
        let page = &profile.service.auth.key_page;
        let whence = if page.is_empty() { String::new() } else { format!(" from {page}") };
        Error::new(Kind::AuthRequired, format!("the key {source} {}", self.why))
            .hint(format!("copy the whole key{whence}"))
    }
}

/// Removes surrounding whitespace and a leading `Bearer `.
pub fn trimmed(key: &Secret) -> Secret {
    let text = key.expose().trim_start_matches('\u{feff}').trim();
    let bare = match text.split_once(char::is_whitespace) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => rest.trim(),
        _ => text,
    };
    Secret::new(bare.to_owned())
}

/// Checks that a key can be sent: at least one visible ASCII character, at most [`LONGEST`] bytes.
///
/// # Errors
/// [`Unfit`], which cannot be forced.
pub fn sendable(key: &Secret) -> Result<(), Unfit> {
    let text = key.expose();
    if text.is_empty() || text.eq_ignore_ascii_case("bearer") {
        return Err(Unfit::never("is empty"));
    }
    if text.len() > LONGEST {
        return Err(Unfit::never("is longer than any key (8192 characters)"));
    }
    if text.chars().any(|c| c.is_control()) {
        return Err(Unfit::never("contains line breaks or other control characters"));
    }
    // A masked preview often contains `…` or `•`, which no header can carry.
    if !text.is_ascii() && is_preview(text) {
        return Err(Unfit::never(PREVIEW));
    }
    if !text.is_ascii() {
        return Err(Unfit::never("contains characters that no key has"));
    }
    Ok(())
}

/// Checks a trimmed key against its service's prefixes.
///
/// # Errors
/// [`Unfit`].
pub fn checked(service: &Service, key: &Secret) -> Result<(), Unfit> {
    sendable(key)?;
    let text = key.expose();
    if is_preview(text) {
        return Err(Unfit::unless_forced(PREVIEW));
    }
    if text.contains(char::is_whitespace) {
        return Err(Unfit::unless_forced("contains whitespace"));
    }
    if text.contains(['"', '\'', '`']) {
        return Err(Unfit::unless_forced("contains quotes"));
    }
    let prefixes = &service.auth.key_prefixes;
    let matching = prefixes.iter().find(|prefix| text.starts_with(prefix.as_str()));
    match matching {
        None if prefixes.is_empty() => Ok(()),
        Some(prefix) if text.len() > prefix.len() => Ok(()),
        Some(_) => Err(Unfit::unless_forced("is only the beginning of a key")),
        None => {
            let wanted = prefixes.join(" or ");
            let title = &service.title;
            Err(Unfit::unless_forced(match origin_of(text) {
                Some(other) => format!("is {other}; keys of {title} begin with {wanted}"),
                None => format!("is not a key of {title}: those begin with {wanted}"),
            }))
        }
    }
}

/// Checks a trimmed key that is about to be stored: as [`checked`], and no service takes a model provider's key.
///
/// # Errors
/// [`Unfit`].
pub fn checked_new(service: &Service, key: &Secret) -> Result<(), Unfit> {
    checked(service, key)?;
    // A token of Hugging Face opens its MCP service too.
    let is_theirs = key.expose().starts_with("hf_");
    match provider_of(key.expose()).filter(|_| service.auth.key_prefixes.is_empty() && !is_theirs) {
        Some(owner) => Err(Unfit::unless_forced(format!("is {owner}"))),
        None => Ok(()),
    }
}

fn is_preview(text: &str) -> bool {
    text.contains(['…', '•', '*', '●', '·']) || text.contains("...")
}

/// Returns whether a text has the length and prefix of a key of any service, so that it must not be printed. Reads the
/// services of the user only for a text of that length.
pub fn is_known(text: &str, catalog: &Catalog) -> bool {
    let is_theirs = || catalog.key_prefixes().iter().any(|prefix| text.starts_with(prefix.as_str()));
    text.len() >= SHORTEST_WITH_END && (origin_of(text).is_some() || is_theirs())
}

/// Names the owner of a key's prefix; used for messages only.
fn origin_of(text: &str) -> Option<String> {
    if let Some(owner) = provider_of(text) {
        return Some(owner);
    }
    let services =
        Service::names().filter_map(Service::built_in).filter(|service| service.embedded.is_none());
    let mut owners = services
        .filter(|service| service.auth.key_prefixes.iter().any(|prefix| text.starts_with(prefix.as_str())))
        .map(|service| service.title);
    let first = owners.next()?;
    Some(owners.fold(format!("a key of {first}"), |all, next| format!("{all} or {next}")))
}

fn provider_of(text: &str) -> Option<String> {
    let (_, name) = MODEL_PROVIDERS.iter().find(|(prefix, _)| text.starts_with(prefix))?;
    Some(format!("a key of {name}, a model provider"))
}

/// Returns the key's prefix and, if it is long, its last four characters.
pub fn masked(service: &Service, key: &Secret) -> String {
    let text = key.expose();
    let prefix = service.auth.key_prefixes.iter().find(|prefix| text.starts_with(prefix.as_str()));
    let prefix = prefix.map_or("", String::as_str);
    let secret = text.get(prefix.len()..).unwrap_or_default();
    let end = secret.len().checked_sub(4).and_then(|at| secret.get(at..));
    match end.filter(|_| secret.len() >= SHORTEST_WITH_END) {
        Some(end) => format!("{prefix}…{end}"),
        None => format!("{prefix}…"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str) -> Service {
        Service::built_in(name).unwrap()
    }

    fn refused(name: &str, key: &str) -> Unfit {
        let key = trimmed(&Secret::new(key.into()));
        checked(&service(name), &key).unwrap_err()
    }

    #[test]
    fn each_service_takes_its_own_keys() {
        let keys = [
            ("asistry", "ask_a1B2"),
            ("zuko", "eyJhbGciOi.J9.x-y_z"),
            ("task-tracking", "mcp_live_a1"),
            ("agentstack", "ask_1"),
            ("agentstack", "anon_ask_1"),
            ("bob-studio", "bsk_1"),
            ("mcp", "sk-whatever"),
        ];
        for (name, key) in keys {
            for typed in [
                key.to_owned(),
                format!("\u{feff}{key}\r\n"),
                format!(" Bearer {key}\n"),
                format!("bearer  {key}"),
            ] {
                let key_ = trimmed(&Secret::new(typed));
                assert_eq!(key_.expose(), key);
                assert_eq!(checked(&service(name), &key_), Ok(()), "{name}");
            }
        }
    }

    #[test]
    fn another_s_key_is_named() {
        assert!(refused("asistry", "bsk_1").why.contains("Bob Studio"));
        assert!(refused("asistry", "anon_ask_1").why.contains("AgentStack"));
        assert!(refused("bob-studio", "ask_1").why.contains("Asistry or AgentStack"));
        assert!(refused("asistry", "sk-ant-1").why.contains("Anthropic"));
        assert!(refused("task-tracking", "AIzaSy1").why.contains("Google"));
        assert!(refused("zuko", "mcp_live_1").why.contains("Task Tracking"));
        assert!(refused("asistry", "hunter2").why.contains("not a key of Asistry"));
        assert!(refused("asistry", "ask_").why.contains("beginning"));
    }

    #[test]
    fn a_preview_is_recognised() {
        for preview in ["mcp_live_…ab12", "mcp_live_...ab12", "mcp_live_****", "mcp_live_••••ab"] {
            assert!(refused("task-tracking", preview).why.contains("preview"), "{preview}");
        }
    }

    #[test]
    fn nothing_forces_what_cannot_be_sent() {
        let long = format!("ask_{}", "a".repeat(10_000));
        for (key, forced) in [
            ("", false),
            ("Bearer ", false),
            ("ask_1\nask_2", false),
            ("ask_\u{1}", false),
            ("ask_ü", false),
            (long.as_str(), false),
            ("ask_1 2", true),
            ("'ask_1'", true),
            ("bsk_1", true),
        ] {
            assert_eq!(refused("asistry", key).can_be_forced, forced, "{}", &key[..key.len().min(20)]);
        }
    }

    #[test]
    fn a_mask_shows_no_more_than_the_ends() {
        let masked = |name: &str, key: &str| super::masked(&service(name), &Secret::new(key.into()));
        assert_eq!(masked("asistry", "ask_0123456789abcdef0123"), "ask_…0123");
        assert_eq!(masked("asistry", "ask_0123456789"), "ask_…");
        assert_eq!(masked("mcp", "0123456789abcdef0123"), "…0123");
        assert_eq!(masked("mcp", "short"), "…");
    }
}
