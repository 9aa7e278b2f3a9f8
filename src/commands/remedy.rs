//! Remedies as a person reads them: one line, with the profile or URL in use, that works when pasted.
//!
//! Refuses to guess: a command is written only where it would help, and last on its line.

use std::time::Duration;

use url::Url;

use crate::auth::keys::{DEFAULT, KeySource};
pub use crate::error::shell_quoted;
use crate::error::{Filter, Remedy, RemedyWriter, UsableStores};
use crate::profile::{self, Config};
use crate::protocol::http::origin_and_path;

/// What to do about a call that may have run.
const CHECK_EFFECT: &str = "check whether the call took effect before repeating it";

/// What commands in remedies must repeat to mean the same service.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// The profile, unless only a URL was given.
    pub profile: Option<String>,
    /// The URL that was given, without its query.
    pub url: Option<String>,
}

impl Target {
    /// Returns the target that the options choose, else the configured or built-in profile.
    pub fn of(profile: Option<String>, url: Option<&str>, config: &Config) -> Self {
        // A query may hold a secret; keys need only the origin.
        let url = url.map(|url| match Url::parse(url) {
            Ok(parsed) => origin_and_path(&parsed),
            Err(_) => url.to_owned(),
        });
        let usual = || config.profile.clone().unwrap_or_else(|| profile::DEFAULT.to_owned());
        let profile = profile.or_else(|| url.is_none().then(usual));
        Self { profile, url }
    }

    /// Writes remedies for this target; `source` says where the key came from, as far as that is known.
    pub fn advise(self, source: impl Fn() -> Option<KeySource> + Send + Sync + 'static) -> RemedyWriter {
        RemedyWriter::new(move |remedy| self.line(remedy, source().as_ref()))
    }

    /// Returns the options that choose this target.
    pub fn options(&self) -> String {
        let profile = self.profile.as_ref().map(|name| format!(" -p {}", shell_quoted(name)));
        let url = self.url.as_ref().map(|url| format!(" --url {}", shell_quoted(url)));
        [profile, url].into_iter().flatten().collect()
    }

    /// Returns a remedy as one line.
    pub fn line(&self, remedy: &Remedy, source: Option<&KeySource>) -> String {
        let options = self.options();
        match remedy {
            Remedy::Advice(line) => line.clone().into_owned(),
            Remedy::AnswerQuestions(method) => format!("use an MCP client that offers {}", area(method)),
            Remedy::CheckEffect => CHECK_EFFECT.into(),
            Remedy::AllowSilence(limit) => format!("add --timeout {} to allow more time", longer(*limit)),
            Remedy::AllowTime(limit) => format!("add --max-time {} to allow more time", longer(*limit)),
            Remedy::AllowWait(wait) => {
                format!("try again later, or add --max-wait {} to wait for it", written(*wait))
            }
            Remedy::AllowDrain => "add --drain 30s to allow more time".into(),
            Remedy::SaveNewKey => "add --save-key to store the key, or --reveal to see it".into(),
            Remedy::UseRest => format!(
                "asistry profiles set {} dialect=rest",
                shell_quoted(self.profile.as_deref().unwrap_or(profile::DEFAULT))
            ),
            Remedy::AllowHttp => "use https, or add --allow-http to send the key in the clear".into(),
            Remedy::TrustAuthority => {
                "if a proxy of your network signs here, name its certificate with --ca-file".into()
            }
            Remedy::CheckUrl => match (&self.url, &self.profile) {
                (None, Some(name)) => {
                    format!("check the URL of the profile: asistry profiles show {}", shell_quoted(name))
                }
                _ => "check the URL".into(),
            },
            Remedy::UseUrl(url) => format!("if that is its new address, use --url {}", shell_quoted(url)),
            Remedy::UseStreamableHttp => self.wire("http"),
            Remedy::UseHttpSse => self.wire("sse"),
            Remedy::Moved { url, origin } => self.moved(url, origin, source),
            Remedy::Login | Remedy::LoginFor { .. } if source == Some(&KeySource::Machine) => {
                "check what this client may do there: its scopes, and the audience of its tokens".into()
            }
            Remedy::Login => format!("asistry login{options}"),
            Remedy::LoginFor { scope } => format!("asistry login{options} --scope {}", shell_quoted(scope)),
            Remedy::LoginInFile => {
                format!("use the encrypted file: ASISTRY_KEY_STORE=file asistry login{options}")
            }
            Remedy::LogoutHere => format!("asistry logout{options}"),
            Remedy::LoginElsewhere => format!("asistry login{options} --no-browser"),
            Remedy::GiveClientId => format!(
                "register a client there with the redirect URI http://127.0.0.1:14220/callback, then: asistry login{options} --client-id ID"
            ),
            Remedy::GiveClientSecret => {
                "add --client-id ID, and --client-secret-env VARIABLE or --client-key FILE".into()
            }
            Remedy::GiveClientKey => "add --client-key FILE or --client-key-env VARIABLE".into(),
            Remedy::ForgetClient => {
                format!("asistry logout{options} --forget-client, then log in with its new client id")
            }
            Remedy::ReplaceKey => self.replace_key(source),
            Remedy::AddKey { page, starter, home } => {
                let start = starter.as_ref().map_or_else(String::new, |call| {
                    format!("start without an account: asistry call{options} {call} --save-key\n  or ")
                });
                let whence = if page.is_empty() { String::new() } else { format!(" from {page}") };
                match home {
                    UsableStores::Any => {
                        format!(
                            "{start}set ASISTRY_API_KEY, or store a key{whence}: asistry keys add{options}"
                        )
                    }
                    UsableStores::File => format!(
                        "{start}store a key{whence} in the encrypted file, or set ASISTRY_API_KEY: asistry keys add{options} --store file"
                    ),
                }
            }
            Remedy::BindKey { name, origin } => {
                format!(
                    "check the URL; if it is right: asistry keys bind{options}{} {}",
                    named(name),
                    shell_quoted(origin)
                )
            }
            Remedy::SeeFilter(filter) => self.filter(*filter),
            Remedy::SeeProfileFilter(filter) => {
                let show = self
                    .profile
                    .as_deref()
                    .map_or_else(String::new, |name| format!(" {}", shell_quoted(name)));
                format!(
                    "the filter is {} of the profile: asistry profiles show{show}",
                    named_filter(*filter).1
                )
            }
            Remedy::UseKey { name } => {
                format!("asistry keys use {}{}", shell_quoted(name), self.own().options())
            }
            Remedy::RotateKey { name } => format!("begin one: {}", self.keys("rotate", name)),
            Remedy::EndRotation { name } => {
                let way = self.keys("rotate", name);
                format!("finish it: {way} --resume\n  or undo it: {way} --undo")
            }
            Remedy::AddAgain { name } => {
                format!("{} --yes && {}", self.keys("remove", name), self.keys("add", name))
            }
            Remedy::MoveKey { name, from, to } => format!(
                "set ASISTRY_KEY_STORE={from}, or store it again: {} --store {to}",
                self.keys("rotate", name)
            ),
            Remedy::KeyInsteadOfLogin => format!("if it takes a key: asistry keys add{options}"),
            Remedy::StoreKey => format!("store one: asistry keys add{options}"),
            Remedy::FixKeyring { options: more, fix } => format!(
                "use the encrypted file: asistry keys add{options}{more} --store file\n  or {fix}, or set ASISTRY_API_KEY"
            ),
            Remedy::ListKeys => format!("list them: asistry keys list{options}"),
            Remedy::RemoveKey { profile, name } => {
                let of = Self { profile: Some(profile.clone()), url: None };
                format!("remove it: {}", of.keys("remove", name))
            }
            Remedy::AddKeysAgain { path } => {
                format!("move {path} away and add the keys again: asistry keys add{options}")
            }
            Remedy::AddProfile { name } => {
                format!("make a profile of it, which asks for them: asistry profiles add {name}")
            }
            Remedy::SetFields { profile, settings } => {
                format!("for example: asistry profiles set {profile}{}", words(settings))
            }
            Remedy::UnsetField { profile, field } => format!(
                "correct it in config.toml, or remove it: asistry profiles set {profile} --unset {}",
                shell_quoted(field)
            ),
            Remedy::MoveHeader { profile, header } => move_header(profile, header),
            Remedy::ShowProfile { profile } => format!("see it: asistry profiles show {profile}"),
            Remedy::ListPrompts => format!("list them: asistry prompts list{options}"),
            Remedy::FillPrompt { prompt, words: given } => {
                let prompt = shell_quoted(prompt);
                format!("for example: asistry prompts get {prompt}{options}{}", words(given))
            }
            Remedy::ResumeBatch { calls, output, options: more } => match (calls, output) {
                (Some(calls), Some(output)) => {
                    let (calls, output) = (shell_quoted(calls), shell_quoted(output));
                    format!(
                        "see \"error\" in the output; make the calls that have not run: asistry call{options} --batch {calls}{more} --resume {output} >>{output}"
                    )
                }
                _ => r#"see "error" in the output; save it and run again with --resume FILE"#.into(),
            },
            Remedy::Both(first, then) => {
                format!("{}\n  then: {}", self.line(first, source), self.line(then, source))
            }
            Remedy::Either(one, other) => {
                format!("{}, or {}", self.line(one, source), self.line(other, source))
            }
            Remedy::ListTools => format!("list them: asistry tools{options}"),
            Remedy::ShowArguments { tool } => {
                format!("see its arguments: asistry call {}{options} --help", shell_quoted(tool))
            }
        }
    }

    /// Returns how to set an option of `bridge` for all commands.
    pub fn with_setting(&self, flag: &str, setting: &str) -> String {
        let setting = shell_quoted(setting);
        let command = match (&self.profile, &self.url) {
            (None, Some(url)) => format!("add work --url {} --set {setting}", shell_quoted(url)),
            (profile, _) => {
                format!("set {} {setting}", shell_quoted(profile.as_deref().unwrap_or(profile::DEFAULT)))
            }
        };
        format!(
            "--{flag} is an option of bridge; for all commands, set it in the profile: asistry profiles {command}"
        )
    }

    /// Returns this target without the URL where the profile alone says whose key is meant.
    fn own(&self) -> Self {
        Self { url: self.url.clone().filter(|_| self.profile.is_none()), ..self.clone() }
    }

    /// Returns the command that does something to a named key. What stores one needs the URL for which it is stored.
    pub fn keys(&self, verb: &str, name: &str) -> String {
        let stores = matches!(verb, "add" | "rotate");
        let options = if stores { self.options() } else { self.own().options() };
        format!("asistry keys {verb}{options} --name {}", shell_quoted(name))
    }

    fn filter(&self, filter: Filter) -> String {
        let (option, field) = named_filter(filter);
        match &self.profile {
            Some(name) => format!(
                "the filter is {option} of the bridge, or {field} of the profile: asistry profiles show {}",
                shell_quoted(name)
            ),
            None => format!("the filter is {option} of the bridge"),
        }
    }

    fn wire(&self, value: &str) -> String {
        match (&self.url, &self.profile) {
            (None, Some(name)) => {
                let name = shell_quoted(name);
                format!("check the URL, or choose the wire: asistry profiles set {name} transport={value}")
            }
            _ => format!("check the URL; a bridge can choose the wire with --transport {value}"),
        }
    }

    fn moved(&self, url: &str, origin: &str, source: Option<&KeySource>) -> String {
        let url = shell_quoted(url);
        match (source, &self.profile) {
            (Some(KeySource::Stored { name, .. }), Some(profile)) => format!(
                "if the service has moved, use --url {url} after: asistry keys bind -p {}{} {}",
                shell_quoted(profile),
                named(name),
                shell_quoted(origin)
            ),
            (Some(KeySource::Stored { .. }), None) => {
                format!("if the service has moved, store a key for it: asistry keys add --url {url}")
            }
            _ => format!("if the service has moved, use --url {url}"),
        }
    }

    fn replace_key(&self, source: Option<&KeySource>) -> String {
        let options = self.options();
        match source {
            Some(KeySource::Environment) => "set a valid key in ASISTRY_API_KEY".into(),
            Some(KeySource::Header { name }) => {
                format!("check the header {name} of --header, --header-file or the profile")
            }
            Some(KeySource::Stored { name, store }) => {
                let store = store.about();
                format!("replace the key {name} in {store}: asistry keys rotate{options}{}", named(name))
            }
            Some(KeySource::Login | KeySource::Machine) => self.line(&Remedy::Login, source),
            Some(KeySource::Absent) => {
                format!("no key was sent: set ASISTRY_API_KEY, or store a key: asistry keys add{options}")
            }
            Some(KeySource::New) => "paste a valid key".into(),
            Some(KeySource::Sandbox) => "make new keys for the sandbox: asistry sandbox reset".into(),
            None => format!(
                "set a valid key in ASISTRY_API_KEY, or replace the stored one: asistry keys rotate{options}"
            ),
        }
    }
}

/// Returns the capability by which a client offers to answer this method.
pub fn area(method: &str) -> &str {
    method.split('/').next().unwrap_or(method)
}

/// Returns the option and the field of a filter.
fn named_filter(filter: Filter) -> (&'static str, &'static str) {
    match filter {
        Filter::Allowed => ("--allow-tool", "allow_tools"),
        Filter::Denied => ("--deny-tool", "deny_tools"),
        Filter::ReadOnly => ("--read-only", "read_only"),
    }
}

fn move_header(profile: &str, header: &str) -> String {
    let field = shell_quoted(&format!("headers.{header}")).into_owned();
    let variable: String = header
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
        .collect();
    let setting = format!("headers.{header}=${{{variable}}}");
    format!(
        "store it as the key: asistry profiles set {profile} --unset {field} && asistry keys add -p {profile}\n  \
         or read it from a variable: asistry profiles set {profile} {}",
        shell_quoted(&setting)
    )
}

/// Returns words as a shell takes them, each after a space.
fn words(words: &[String]) -> String {
    words.iter().map(|word| format!(" {}", shell_quoted(word))).collect()
}

fn named(name: &str) -> String {
    if name == DEFAULT { String::new() } else { format!(" --name {}", shell_quoted(name)) }
}

fn longer(limit: Duration) -> String {
    written(limit.saturating_mul(2).max(Duration::from_secs(1)))
}

/// Writes a duration as an option takes it, rounded up.
fn written(duration: Duration) -> String {
    match (duration.as_secs(), duration.subsec_millis()) {
        (0, millis) => format!("{millis}ms"),
        (seconds, 0) if seconds % 60 == 0 => format!("{}m", seconds / 60),
        (seconds, 0) => format!("{seconds}s"),
        (seconds, _) => format!("{}s", seconds + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_a_shell_reads_them() {
        for (word, quoted) in [
            ("https://h.example:8443/mcp", "https://h.example:8443/mcp"),
            ("https://h/mcp?a=b&c", "'https://h/mcp?a=b&c'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
            ("a b", "'a b'"),
            ("$(x)", "'$(x)'"),
            ("~", "'~'"),
        ] {
            assert_eq!(shell_quoted(word), quoted);
        }
    }

    #[test]
    fn commands_repeat_the_profile_and_the_url_in_use() {
        let line = |profile: Option<&str>, url: Option<&str>| {
            let target = Target { profile: profile.map(Into::into), url: url.map(Into::into) };
            target.line(&Remedy::AddKey { page: String::new(), starter: None, home: UsableStores::Any }, None)
        };
        let told = "set ASISTRY_API_KEY, or store a key: asistry keys add";
        assert_eq!(line(Some("work"), None), format!("{told} -p work"));
        assert_eq!(line(None, Some("https://h/mcp?x=1&y")), format!("{told} --url 'https://h/mcp?x=1&y'"));
        assert_eq!(line(Some("w"), Some("http://h/")), format!("{told} -p w --url http://h/"));
    }

    #[test]
    fn a_rejected_key_is_named_with_its_source() {
        let target = Target { profile: Some("work".into()), url: None };
        let line = |source| target.line(&Remedy::ReplaceKey, Some(&source));
        assert_eq!(line(KeySource::Environment), "set a valid key in ASISTRY_API_KEY");
        let stored = KeySource::Stored { name: "ci".into(), store: crate::profile::StoreKind::Keyring };
        assert!(line(stored).ends_with(": asistry keys rotate -p work --name ci"));
    }

    #[test]
    fn durations_are_written_as_options_take_them() {
        let millis = Duration::from_millis;
        for (duration, text) in [(400, "400ms"), (8000, "8s"), (7200, "8s"), (120_000, "2m"), (90_000, "90s")]
        {
            assert_eq!(written(millis(duration)), text);
        }
    }
}
