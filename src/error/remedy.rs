//! What to do about a failure, as data.
//!
//! Names no option, command or profile: `commands/remedy.rs` formats the line.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Returns a word as a POSIX shell takes it.
pub fn shell_quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''")).into()
}

/// What the user can do about a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// A line to show verbatim.
    Advice(Cow<'static, str>),
    /// Use a client that answers requests of this method.
    AnswerQuestions(String),
    /// Find out whether the call ran before it is repeated.
    CheckEffect,
    /// Raise the silence limit above this value.
    AllowSilence(Duration),
    /// Raise the request's time limit above this value.
    AllowTime(Duration),
    /// Raise the total wait for rate limits to at least this value.
    AllowWait(Duration),
    /// Raise the time allowed for responses after the client has left.
    AllowDrain,
    /// Use `https`, or allow a credential over plain `http`.
    AllowHttp,
    /// Trust the CA that signed the service's certificate.
    TrustAuthority,
    /// Check the endpoint's URL.
    CheckUrl,
    /// Use this URL.
    UseUrl(String),
    /// Use Streamable HTTP.
    UseStreamableHttp,
    /// Use HTTP+SSE.
    UseHttpSse,
    /// The service has moved: use this URL; a stored key must be bound to its origin.
    Moved {
        /// The new URL.
        url: String,
        /// Its origin.
        origin: String,
    },
    /// Store a key: the service has no logins.
    KeyInsteadOfLogin,
    /// Log in.
    Login,
    /// Log in for these scopes too.
    LoginFor {
        /// The scopes, each after a space.
        scope: String,
    },
    /// Log in, and store the login in the encrypted file.
    LoginInFile,
    /// Log out without telling the authorization server.
    LogoutHere,
    /// Log in without a browser on this machine.
    LoginElsewhere,
    /// Name a client that the authorization server knows.
    GiveClientId,
    /// Name the client's id, and its secret or key.
    GiveClientSecret,
    /// Name the client's private key.
    GiveClientKey,
    /// Forget the client, then log in.
    ForgetClient,
    /// Replace the key, which the service rejects.
    ReplaceKey,
    /// Store a key or pass one.
    AddKey {
        /// URL of the service's page of keys; empty if unknown.
        page: String,
        /// The call that makes a key without one, with its arguments.
        starter: Option<String>,
        /// The stores that can take it.
        home: UsableStores,
    },
    /// Say what is to become of a new key.
    SaveNewKey,
    /// Speak REST to the service.
    UseRest,
    /// Store a key; nothing else helps.
    StoreKey,
    /// Bind a stored key to one more origin.
    BindKey {
        /// Its name.
        name: String,
        /// The other origin.
        origin: String,
    },
    /// Check the filter that hides a tool.
    SeeFilter(Filter),
    /// See the filter of the profile; no other applies here.
    SeeProfileFilter(Filter),
    /// Make a stored key current.
    UseKey {
        /// Its name.
        name: String,
    },
    /// Rotate a key.
    RotateKey {
        /// Its name.
        name: String,
    },
    /// Finish or undo an interrupted rotation.
    EndRotation {
        /// The key's name.
        name: String,
    },
    /// Remove a key and add it again.
    AddAgain {
        /// Its name.
        name: String,
    },
    /// Switch to the store that holds the key, or move the key to the configured one.
    MoveKey {
        /// Its name.
        name: String,
        /// The store that holds it.
        from: &'static str,
        /// The configured store.
        to: &'static str,
    },
    /// Make the keyring usable, or use the encrypted file.
    FixKeyring {
        /// The options of the command that stores a key, each after a space; empty where none was given.
        options: String,
        /// How to make it usable.
        fix: &'static str,
    },
    /// List the stored keys.
    ListKeys,
    /// Remove a key of a profile.
    RemoveKey {
        /// The profile.
        profile: String,
        /// The key's name.
        name: String,
    },
    /// Move a damaged list of keys away, and add the keys again.
    AddKeysAgain {
        /// The list.
        path: String,
    },
    /// Add a profile, which asks for what is missing.
    AddProfile {
        /// Its name.
        name: String,
    },
    /// Set fields of a profile, for example to these values.
    SetFields {
        /// The profile.
        profile: String,
        /// `name=value` each.
        settings: Vec<String>,
    },
    /// Correct a field of a profile, or take it out.
    UnsetField {
        /// The profile.
        profile: String,
        /// The field.
        field: String,
    },
    /// Take a credential out of a profile's headers: store it as the key, or read it from a variable.
    MoveHeader {
        /// The profile.
        profile: String,
        /// The header.
        header: String,
    },
    /// See what a profile holds.
    ShowProfile {
        /// The profile.
        profile: String,
    },
    /// See which prompts there are.
    ListPrompts,
    /// Give a prompt the arguments that it needs.
    FillPrompt {
        /// Its name.
        prompt: String,
        /// `name=value` each.
        words: Vec<String>,
    },
    /// Go on with a batch.
    ResumeBatch {
        /// The file of calls; none where they came from a pipe.
        calls: Option<String>,
        /// The file that the output went into, as far as that is known.
        output: Option<String>,
        /// Options to repeat, each after a space.
        options: String,
    },
    /// One remedy, then another.
    Both(Box<Remedy>, Box<Remedy>),
    /// One or the other.
    Either(Box<Remedy>, Box<Remedy>),
    /// See which tools there are.
    ListTools,
    /// Show a tool's arguments.
    ShowArguments {
        /// Its name.
        tool: String,
    },
}

/// The stores that can take a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsableStores {
    /// Any store.
    Any,
    /// The encrypted file only; no keyring is available.
    File,
}

/// A local filter of tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// `allow_tools`.
    Allowed,
    /// `deny_tools`.
    Denied,
    /// `read_only`: only tools annotated `readOnlyHint: true`.
    ReadOnly,
}

impl Remedy {
    /// Creates a line to show verbatim.
    pub const fn advice(line: &'static str) -> Self {
        Self::Advice(Cow::Borrowed(line))
    }
}

/// Formats a [`Remedy`] as one line, for the profile, URL and key in use.
#[derive(Clone)]
pub struct RemedyWriter(Arc<dyn Fn(&Remedy) -> String + Send + Sync>);

impl RemedyWriter {
    /// Creates a writer from a function.
    pub fn new(line: impl Fn(&Remedy) -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(line))
    }

    /// Formats a remedy.
    pub fn line(&self, remedy: &Remedy) -> String {
        (self.0)(remedy)
    }
}

impl fmt::Debug for RemedyWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RemedyWriter")
    }
}
