//! The OAuth client that the options name: its secret, its key, and how a machine logs in with it.
//!
//! Refuses secrets as arguments: options name the files and variables that hold them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use url::Url;

use super::environment::variable;
use crate::auth::oauth::{ClientKey, IdentityProvider, IdentityToken, LoginOptions, Machine, SigningKey};
use crate::error::{Error, Kind, Remedy, Result};
use crate::files;
use crate::profile::{LoginMode, Options};
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
}

/// Returns the variables that hold secrets of the client.
pub fn secret_variables(options: &Options) -> impl Iterator<Item = String> {
    let token = options.identity_token.as_deref().and_then(|source| source.strip_prefix("env:"));
    let named = [&options.client_secret_env, &options.client_key_env, &options.idp_client_secret_env];
    named.into_iter().flatten().cloned().chain(token.map(str::to_owned)).collect::<Vec<_>>().into_iter()
}

/// Says whether a machine logs in, and not a person.
pub fn is_machine(options: &Options) -> bool {
    options.client_credentials == Some(true) || options.identity_token.is_some()
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
            client_secret: self.secret("client-secret-env", |options| &options.client_secret_env)?,
            client_key: self.key()?.map(Arc::new),
            client_metadata_url: options.client_metadata_url.clone(),
            machine: self.machine()?,
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
                Err(self
                    .refuse(
                        "client-metadata-url",
                        is_given,
                        &format!("{text}: write an https URL with a path"),
                    )
                    .hint("https://host.example/client.json"))
            }
            _ => Ok(()),
        }
    }

    /// Reads a variable that an option names. A profile may name one that is not set: its login may not need it.
    fn secret(&self, option: &str, named: impl Fn(&Options) -> &Option<String>) -> Result<Option<Secret>> {
        let Some(name) = named(self.options) else { return Ok(None) };
        match variable(name) {
            None if named(self.given).is_some() => Err(self
                .refuse(option, true, &format!("{name}: that variable is not set"))
                .hint(format!("export {name}"))),
            value => Ok(value.map(Secret::new)),
        }
    }

    fn key(&self) -> Result<Option<ClientKey>> {
        let Options { client_key, client_key_env, client_secret_env, .. } = self.options;
        let of_file = |path: &PathBuf| {
            let is_given = self.given.client_key.is_some();
            let refuse =
                |why: String| self.refuse("client-key", is_given, &format!("{}: {why}", path.display()));
            let text = files::read_at_most(path, LONGEST_KEY)
                .map_err(|e| refuse(e.to_string()).hint("check the path"))?;
            let key = SigningKey::of_pem(&Secret::new(text));
            key.map_err(|why| {
                refuse(format!("the file {why}"))
                    .hint("make one: openssl ecparam -name prime256v1 -genkey -noout -out client.pem")
            })
        };
        let of_variable = |name: &String| {
            let Some(text) = self.secret("client-key-env", |options| &options.client_key_env)? else {
                return Ok(None);
            };
            let is_given = self.given.client_key_env.is_some();
            let refuse =
                |why| self.refuse("client-key-env", is_given, &format!("{name}: the variable {why}"));
            SigningKey::of_pem(&text)
                .map(Some)
                .map_err(|why| refuse(why).hint("put the whole PEM text into it"))
        };
        let key = match (client_key, client_key_env) {
            (Some(_), Some(_)) => return Err(self.both("client-key", "client-key-env")),
            (Some(path), None) => Some(of_file(path)?),
            (None, Some(name)) => of_variable(name)?,
            (None, None) => None,
        };
        let named = client_key.is_some() || client_key_env.is_some();
        if named && client_secret_env.is_some() {
            return Err(self.both("client-secret-env", "client-key"));
        }
        if named && self.options.client_id.is_none() {
            let is_given = self.given.client_key.is_some() || self.given.client_key_env.is_some();
            return Err(self
                .refuse("client-key", is_given, "whose key it is must be named")
                .hint("add --client-id ID"));
        }
        if !named && self.given.client_key_id.is_some() {
            let why = "the key itself is not named";
            return Err(self.refuse("client-key-id", true, why).remedy(Remedy::GiveClientKey));
        }
        Ok(key.map(|key| ClientKey { key, id: self.options.client_key_id.clone() }))
    }

    fn machine(&self) -> Result<Option<Machine>> {
        let Options { identity_token, idp_issuer, idp_client_id, .. } = self.options;
        let is_client = self.options.client_credentials == Some(true);
        let Some(source) = identity_token else {
            let is_given = self.given.idp_issuer.is_some();
            return match idp_issuer {
                Some(_) => Err(self
                    .refuse("idp-issuer", is_given, "it exchanges an identity token, and none is named")
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
                Err(self
                    .refuse("idp-client-id", is_given, "the identity provider is not named")
                    .hint("add --idp-issuer URL"))
            }
            (Some(_), None) => Err(self
                .refuse("idp-issuer", self.given.idp_issuer.is_some(), "the client there is not named")
                .hint("add --idp-client-id ID")),
            (Some(issuer), Some(client_id)) => {
                let provider = IdentityProvider {
                    issuer: issuer.clone(),
                    client_id: client_id.clone(),
                    client_secret: self
                        .secret("idp-client-secret-env", |options| &options.idp_client_secret_env)?,
                };
                Ok(Some(Machine::Enterprise(self.identity_token(source)?, provider)))
            }
        }
    }

    /// Client credentials need an id, and a secret or a key.
    fn check_credentials(&self) -> Result<()> {
        let Options { client_id, client_secret_env, client_key, client_key_env, .. } = self.options;
        let has_proof = client_secret_env.is_some() || client_key.is_some() || client_key_env.is_some();
        match client_id.is_some() && has_proof {
            true => Ok(()),
            false => {
                let why = "the client's id, or its secret or key, is not named";
                let is_given = self.given.client_credentials == Some(true);
                Err(self.refuse("client-credentials", is_given, why).remedy(Remedy::GiveClientSecret))
            }
        }
    }

    fn identity_token(&self, source: &str) -> Result<IdentityToken> {
        let is_given = self.given.identity_token.is_some();
        let refuse = |why: &str| self.refuse("identity-token", is_given, why);
        match source.split_once(':').unwrap_or((source, "")) {
            ("env", name) if !name.is_empty() => {
                match variable(name) {
                    Some(token) => {
                        let token = Secret::new(token.trim().to_owned());
                        Ok(IdentityToken::Variable { name: name.to_owned(), token })
                    }
                    None => Err(refuse(&format!("env:{name}: that variable is not set"))
                        .hint(format!("export {name}"))),
                }
            }
            ("file", path) if !path.is_empty() => match Path::new(path).try_exists() {
                Ok(false) if is_given => {
                    Err(refuse(&format!("file:{path}: there is no such file")).hint("check the path"))
                }
                _ => Ok(IdentityToken::File(path.into())),
            },
            ("github", audience) => {
                let url = variable("ACTIONS_ID_TOKEN_REQUEST_URL").and_then(|url| Url::parse(&url).ok());
                match (url, variable("ACTIONS_ID_TOKEN_REQUEST_TOKEN")) {
                    (Some(url), Some(credential)) => Ok(IdentityToken::Github {
                        url,
                        credential: Secret::new(credential),
                        audience: Some(audience.to_owned()).filter(|audience| !audience.is_empty()),
                    }),
                    _ => {
                        Err(refuse("github: this is no job of GitHub Actions that may have identity tokens")
                            .hint("give the job permissions: id-token: write"))
                    }
                }
            }
            // It could be the token itself, so it is not repeated.
            _ => Err(refuse("unknown source").hint("write github, github:AUDIENCE, env:VAR or file:FILE")),
        }
    }

    fn both(&self, one: &str, other: &str) -> Error {
        let why = format!("--{one} and --{other} are two ways to log in");
        Error::new(Kind::Usage, why).hint(format!("leave out --{one} or --{other}"))
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
