//! The OAuth client that the options name: its secret, its key, and how a machine logs in with it.
//!
//! Refuses secrets as arguments: options name the files and variables that hold them.

use std::path::Path;
use std::sync::Arc;

use url::Url;

use super::environment::variable;
use crate::auth::oauth::{
    ClientKey, IdentityProvider, IdentityToken, LoginOptions, Machine, SigningKey, Unusable,
};
use crate::error::{Error, Kind, Remedy, Result, shell_quoted};
use crate::files;
use crate::profile::{IdentitySource, LoginMode, Options};
use crate::secret::Secret;

/// Maximum bytes of a private key.
const LONGEST_KEY: u64 = 64 << 10;

/// What the options say of a client.
#[derive(Clone, Copy, Debug)]
pub struct Configured<'a> {
    /// Those of the command line.
    pub given: &'a Options,
    /// Those of the command line and, below them, of the profile.
    pub options: &'a Options,
    /// The profile's name.
    pub profile: &'a str,
    /// Who logs in.
    pub who: Who,
}

/// Who logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A person, whatever the options say of machines.
    Person,
    /// A machine, if the options say so.
    AsConfigured,
}

/// Returns the variables that hold secrets of the client.
pub fn secret_variables(options: &Options) -> Vec<String> {
    let named = [&options.client_secret_env, &options.client_key_env, &options.idp_client_secret_env];
    let token = match &options.identity_token {
        Some(IdentitySource::Variable(name)) => Some(name.clone()),
        _ => None,
    };
    named.into_iter().flatten().cloned().chain(token).collect()
}

/// Refuses to use a profile's client at another origin than the profile's: its secret belongs to one server.
///
/// # Errors
/// [`Kind::OriginMismatch`].
pub fn check_origin(profile: &str, options: &Options, elsewhere: &str) -> Result<()> {
    let has_secret = !secret_variables(options).is_empty()
        || options.client_key.is_some()
        || options.identity_token.is_some();
    if !has_secret {
        return Ok(());
    }
    let why = format!("the OAuth client of the profile {profile} may not log in at {elsewhere}");
    Err(Error::new(Kind::OriginMismatch, why).hint(format!("leave --profile {profile} out, or --url")))
}

/// Says whether a machine logs in, and not a person.
pub fn is_machine(options: &Options) -> bool {
    options.client_credentials == Some(true) || options.identity_token.is_some()
}

/// Returns a profile's options without the ways to log in that the command line replaces.
pub fn without_replaced(profile: Options, given: &Options) -> Options {
    let mut profile = profile;
    if given.client_credentials == Some(true) {
        let (identity_token, idp_issuer, idp_client_id, idp_client_secret_env) = Default::default();
        profile = Options { identity_token, idp_issuer, idp_client_id, idp_client_secret_env, ..profile };
    }
    if given.identity_token.is_some() {
        profile.client_credentials = None;
    }
    if given.client_secret_env.is_some() || given.client_key.is_some() || given.client_key_env.is_some() {
        let (client_secret_env, client_key, client_key_env, client_key_id) = Default::default();
        profile = Options { client_secret_env, client_key, client_key_env, client_key_id, ..profile };
    }
    profile
}

impl Configured<'_> {
    /// Returns the login options; without permission to ask, no login begins by itself.
    ///
    /// # Errors
    /// [`Kind::Usage`] for options of the command line that cannot be used, [`Kind::Config`] for those of the profile.
    pub fn login_options(&self, may_log_in: bool) -> Result<LoginOptions> {
        let options = self.options;
        self.check_document()?;
        Ok(LoginOptions {
            client_id: options.client_id.clone(),
            client_secret: self.secret(|options| &options.client_secret_env, "client-secret-env")?,
            client_key: self.key()?.map(Arc::new),
            client_metadata_url: options.client_metadata_url.clone(),
            machine: if self.who == Who::Person { None } else { self.machine()? },
            scopes: options.scopes.clone().unwrap_or_default(),
            mode: if may_log_in { options.login.unwrap_or_default() } else { LoginMode::Never },
        })
    }

    fn check_document(&self) -> Result<()> {
        // AUTH-9: the URL is the client's id, and must be its own.
        let is_document =
            |text: &String| Url::parse(text).is_ok_and(|url| url.scheme() == "https" && url.path().len() > 1);
        match &self.options.client_metadata_url {
            Some(text) if !is_document(text) => {
                let is_given = self.given.client_metadata_url.is_some();
                let why = format!("{text}: write an https URL with a path");
                Err(self
                    .refuse("client-metadata-url", is_given, &why)
                    .hint("https://host.example/client.json"))
            }
            _ => Ok(()),
        }
    }

    /// Reads a variable that an option names. A person's login may not need the one that a profile names.
    fn secret(&self, named: impl Fn(&Options) -> &Option<String>, option: &str) -> Result<Option<Secret>> {
        let Some(name) = named(self.options) else { return Ok(None) };
        let is_given = named(self.given).is_some();
        if is_given && option == "client-secret-env" && self.options.client_id.is_none() {
            return Err(self.refuse(option, true, "needs --client-id").hint("add --client-id ID"));
        }
        match variable(name) {
            None if is_given || (self.who == Who::AsConfigured && is_machine(self.options)) => {
                Err(self.unset(option, is_given, name))
            }
            // Files that are read into a variable end with a line break.
            value => Ok(value.map(|value| Secret::new(value.trim_end_matches(['\r', '\n']).to_owned()))),
        }
    }

    /// Returns the error of a variable that is not set; its name is repeated if it looks like one.
    fn unset(&self, option: &str, is_given: bool, name: &str) -> Error {
        let is_plain = name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        let shown = if is_plain { name } else { "NAME" };
        let why = match is_plain {
            true => format!("{name}: that variable is not set"),
            false => "there is no variable of that name".to_owned(),
        };
        self.refuse(option, is_given, &why).hint(format!("export {shown}=…"))
    }

    fn key(&self) -> Result<Option<ClientKey>> {
        let Options { client_key, client_key_env, client_secret_env, client_key_id, .. } = self.options;
        let key = match (client_key, client_key_env) {
            (Some(_), Some(_)) => return Err(self.both("client-key", "client-key-env")),
            (Some(path), None) => Some(self.key_in_file(path)?),
            (None, Some(name)) => self.key_in_variable(name)?,
            (None, None) => {
                return match self.given.client_key_id.is_some() {
                    true => Err(self
                        .refuse("client-key-id", true, "needs the key itself")
                        .remedy(Remedy::GiveClientKey)),
                    false => Ok(None),
                };
            }
        };
        if client_secret_env.is_some() {
            return Err(self.both("client-secret-env", "client-key"));
        }
        if self.options.client_id.is_none() {
            let is_given = self.given.client_key.is_some() || self.given.client_key_env.is_some();
            return Err(self.refuse("client-key", is_given, "needs --client-id").hint("add --client-id ID"));
        }
        Ok(key.map(|key| ClientKey { key, id: client_key_id.clone() }))
    }

    fn key_in_file(&self, path: &Path) -> Result<SigningKey> {
        let (shown, is_given) = (path.display().to_string(), self.given.client_key.is_some());
        let quoted = shell_quoted(&shown);
        let refuse = |why: &str| self.refuse("client-key", is_given, &format!("{shown} {why}"));
        let text = files::read_at_most(path, LONGEST_KEY).map_err(|e| match e.kind() {
            std::io::ErrorKind::InvalidData => {
                let pem = format!("{shown}.pem");
                let hint = format!("openssl pkey -inform DER -in {quoted} -out {}", shell_quoted(&pem));
                refuse("is not PEM").hint(hint)
            }
            _ => refuse(&format!("cannot be read: {e}")).hint("check the path"),
        })?;
        SigningKey::of_pem(&Secret::new(text)).map_err(|unusable| {
            let error = refuse(unusable.why());
            match unusable {
                Unusable::Encrypted => {
                    let plain = format!("{shown}.plain.pem");
                    error.hint(format!("openssl pkey -in {quoted} -out {}", shell_quoted(&plain)))
                }
                Unusable::OpenSsh => {
                    let copy = format!("{shown}.pem");
                    let copy = shell_quoted(&copy);
                    error.hint(format!("cp {quoted} {copy} && ssh-keygen -p -m PKCS8 -N '' -f {copy}"))
                }
                Unusable::Kind => {
                    error.hint("openssl ecparam -name prime256v1 -genkey -noout -out client.pem")
                }
                Unusable::NoKey => error.hint("name the file of the private key"),
            }
        })
    }

    fn key_in_variable(&self, name: &str) -> Result<Option<SigningKey>> {
        let Some(text) = self.secret(|options| &options.client_key_env, "client-key-env")? else {
            return Ok(None);
        };
        let is_given = self.given.client_key_env.is_some();
        let refuse = |unusable: Unusable| {
            self.refuse("client-key-env", is_given, &format!("{name} {}", unusable.why()))
        };
        let key = SigningKey::of_pem(&text);
        key.map(Some).map_err(|unusable| refuse(unusable).hint("put the whole PEM text into the variable"))
    }

    fn machine(&self) -> Result<Option<Machine>> {
        let Options { identity_token, idp_issuer, idp_client_id, .. } = self.options;
        let is_client = self.options.client_credentials == Some(true);
        let Some(source) = identity_token else {
            let is_given = self.given.idp_issuer.is_some();
            return match idp_issuer {
                Some(_) => Err(self
                    .refuse("idp-issuer", is_given, "needs --identity-token")
                    .hint("add --identity-token SOURCE")),
                None if is_client => self.check_credentials().map(|()| Some(Machine::Credentials)),
                None => Ok(None),
            };
        };
        if is_client {
            return Err(self.both("client-credentials", "identity-token"));
        }
        match (idp_issuer, idp_client_id) {
            (None, None) if self.options.idp_client_secret_env.is_none() => {
                Ok(Some(Machine::Workload(self.identity_token(source)?)))
            }
            (None, _) => {
                let is_given =
                    self.given.idp_client_id.is_some() || self.given.idp_client_secret_env.is_some();
                Err(self.refuse("idp-client-id", is_given, "needs --idp-issuer").hint("add --idp-issuer URL"))
            }
            (Some(_), Some(_)) if self.options.client_id.is_none() => Err(self
                .refuse("idp-issuer", self.given.idp_issuer.is_some(), "needs --client-id")
                .hint("add --client-id ID, the client at the service's own authorization server")),
            (Some(_), None) => Err(self
                .refuse("idp-issuer", self.given.idp_issuer.is_some(), "needs --idp-client-id")
                .hint("add --idp-client-id ID")),
            (Some(issuer), Some(client_id)) => {
                let provider = IdentityProvider {
                    issuer: issuer.clone(),
                    client_id: client_id.clone(),
                    client_secret: self
                        .secret(|options| &options.idp_client_secret_env, "idp-client-secret-env")?,
                };
                Ok(Some(Machine::Enterprise(self.identity_token(source)?, provider)))
            }
        }
    }

    /// Client credentials need an id, and a secret or a key.
    fn check_credentials(&self) -> Result<()> {
        let Options { client_id, client_secret_env, client_key, client_key_env, .. } = self.options;
        let has_proof = client_secret_env.is_some() || client_key.is_some() || client_key_env.is_some();
        let missing = match (client_id.is_some(), has_proof) {
            (true, true) => return Ok(()),
            (false, true) => "needs --client-id",
            (true, false) => "needs the client's secret or key",
            (false, false) => "needs --client-id, and the client's secret or key",
        };
        let is_given = self.given.client_credentials == Some(true);
        Err(self.refuse("client-credentials", is_given, missing).remedy(Remedy::GiveClientSecret))
    }

    fn identity_token(&self, source: &IdentitySource) -> Result<IdentityToken> {
        let is_given = self.given.identity_token.is_some();
        let refuse = |why: &str| self.refuse("identity-token", is_given, why);
        match source {
            IdentitySource::Variable(name) => match variable(name) {
                Some(token) => {
                    let token = Secret::new(token.trim().to_owned());
                    Ok(IdentityToken::Variable { name: name.clone(), token })
                }
                None => Err(self.unset("identity-token", is_given, name)),
            },
            IdentitySource::File(path) => {
                match path.try_exists() {
                    Ok(false) => Err(refuse(&format!("file:{}: there is no such file", path.display()))
                        .hint("check the path")),
                    _ => Ok(IdentityToken::File(path.clone())),
                }
            }
            IdentitySource::Github(audience) => {
                let url = variable("ACTIONS_ID_TOKEN_REQUEST_URL").and_then(|url| Url::parse(&url).ok());
                match (url, variable("ACTIONS_ID_TOKEN_REQUEST_TOKEN")) {
                    (Some(url), Some(credential)) => Ok(IdentityToken::Github {
                        url,
                        credential: Secret::new(credential),
                        audience: audience.clone(),
                    }),
                    _ => {
                        let why = "github: ACTIONS_ID_TOKEN_REQUEST_URL and ACTIONS_ID_TOKEN_REQUEST_TOKEN are \
                                   not set: this is no job of GitHub Actions, or it may have no identity tokens";
                        Err(refuse(why)
                            .hint("add to the job: permissions: { id-token: write, contents: read }"))
                    }
                }
            }
        }
    }

    fn both(&self, one: &str, other: &str) -> Error {
        let is_given = is_machine(self.given)
            || self.given.client_secret_env.is_some()
            || self.given.client_key.is_some()
            || self.given.client_key_env.is_some();
        self.refuse(one, is_given, &format!("cannot be combined with --{other}")).hint("keep one of them")
    }

    /// Returns an error about an option, or about the profile's field of the same name.
    fn refuse(&self, option: &str, is_given: bool, why: &str) -> Error {
        match is_given {
            true => Error::new(Kind::Usage, format!("--{option} {why}")),
            false => {
                let field = option.replace('-', "_");
                Error::new(Kind::Config, format!("{field} of the profile {}: {why}", self.profile))
            }
        }
    }
}
