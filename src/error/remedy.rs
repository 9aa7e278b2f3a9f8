//! What to do about a failure, as data.
//!
//! Refuses to name an option, a command or a profile: `commands/remedy.rs` writes the line.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a person can do about a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// A line that is shown as it is.
    Advice(Cow<'static, str>),
    /// Allow a longer silence than this one.
    AllowSilence(Duration),
    /// Allow more time for the request than this.
    AllowTime(Duration),
    /// Allow at least this total wait for rate limits.
    AllowWait(Duration),
    /// Allow more time for answers after the client has gone.
    AllowDrain,
    /// Use `https`, or allow a credential over plain `http`.
    AllowHttp,
    /// Name the authority that signed the peer's certificate.
    TrustAuthority,
    /// Look at the endpoint's URL.
    CheckUrl,
    /// Use this URL.
    UseUrl(String),
    /// Choose Streamable HTTP.
    UseStreamableHttp,
    /// Choose HTTP+SSE.
    UseHttpSse,
    /// The service has moved: use this URL; a stored key must be bound to its origin.
    Moved {
        /// The new URL.
        url: String,
        /// Its origin.
        origin: String,
    },
    /// Replace the key, which the service does not accept.
    ReplaceKey,
    /// Store a key, or give one.
    AddKey {
        /// Where the service shows its keys; empty where that is unknown.
        page: String,
        /// Which stores can take it.
        home: KeyHome,
    },
    /// Allow a stored key for another origin.
    BindKey {
        /// Its name.
        name: String,
        /// The other origin.
        origin: String,
    },
    /// Look at the filter that keeps a tool back.
    SeeFilter(Filter),
    /// Put a stored key into use.
    UseKey {
        /// Its name.
        name: String,
    },
    /// Begin the rotation of a key.
    RotateKey {
        /// Its name.
        name: String,
    },
    /// Finish or undo an interrupted rotation.
    EndRotation {
        /// The key's name.
        name: String,
    },
    /// Remove a key, and add it again.
    AddAgain {
        /// Its name.
        name: String,
    },
    /// Choose the store where a key lies, or move the key into the chosen one.
    MoveKey {
        /// Its name.
        name: String,
        /// The store where it lies.
        from: &'static str,
        /// The chosen store.
        to: &'static str,
    },
    /// Make the keyring usable, or use the encrypted file.
    MendKeyring {
        /// What makes it usable.
        cure: &'static str,
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
    /// See which tools there are.
    ListTools,
    /// See the arguments of a tool.
    ShowArguments {
        /// Its name.
        tool: String,
    },
}

/// Which stores can take a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyHome {
    /// The one in use.
    Any,
    /// The encrypted file only: no keyring can be used.
    File,
}

/// What can keep a tool back on this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The tools that are allowed.
    Allowed,
    /// The tools that are denied.
    Denied,
    /// Only tools that say that they read.
    ReadOnly,
}

impl Remedy {
    /// Makes a line that is shown as it is.
    pub const fn advice(line: &'static str) -> Self {
        Self::Advice(Cow::Borrowed(line))
    }
}

/// Writes a [`Remedy`] as one line, for the profile, URL and key in use.
#[derive(Clone)]
pub struct Advise(Arc<dyn Fn(&Remedy) -> String + Send + Sync>);

impl Advise {
    /// Writes remedies with this function.
    pub fn with(line: impl Fn(&Remedy) -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(line))
    }

    /// Returns the line of a remedy.
    pub fn line(&self, remedy: &Remedy) -> String {
        (self.0)(remedy)
    }
}

impl fmt::Debug for Advise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Advise")
    }
}
