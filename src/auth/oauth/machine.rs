//! Logins of machines, without a person: client credentials (RFC 6749 section 4.4), a workload's token (RFC 7523
//! section 2.1), and one that the organisation's identity provider exchanges (ID-JAG, enterprise-managed authorization).
//!
//! Refuses to send a workload's token to a server that it was not issued for, and to repeat what was refused.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::HeaderValue;
use serde::Deserialize;
use serde_json::Value;
use url::Url;
use zeroize::Zeroizing;

use super::discovery::{Found, server_metadata};
use super::dpop::DpopKey;
use super::flow::{check_granted, check_scope, found, is_enough, kept_for_use, note_step_up, wanted_scopes};
use super::grant::{Client, ClientAuth, ClientOrigin, Grant};
use super::metadata::ServerMetadata;
use super::registration::{named_client, with_secret};
use super::stored::Acceptance;
use super::token::{AtServer, TokenError};
use super::web::{Web, failing, shortened};
use super::{Inner, Need, Token, Why};
use crate::error::{Error, Kind, Remedy, Result};
use crate::protocol::http::origin_and_path;
use crate::secret::Secret;
use crate::state::short_hash;

/// The grant of a token that another issuer signed.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const ID_JAG: &str = "urn:ietf:params:oauth:token-type:id-jag";
/// What was refused is not asked for again within this time.
const REFUSED: Duration = Duration::from_secs(10);
/// Time limit for reading a file with a token.
const READ_WITHIN: Duration = Duration::from_secs(3);
/// Maximum bytes of a file with a token.
const LONGEST_TOKEN: u64 = 64 << 10;

/// How a machine logs in.
#[derive(Clone, Debug)]
pub enum Machine {
    /// With the client's own credentials.
    Credentials,
    /// With a workload's token.
    Workload(IdentityToken),
    /// With a token that the identity provider exchanges for one of the authorization server's (ID-JAG).
    Enterprise(IdentityToken, IdentityProvider),
}

impl Machine {
    fn token(&self) -> Option<&IdentityToken> {
        match self {
            Self::Credentials => None,
            Self::Workload(token) | Self::Enterprise(token, _) => Some(token),
        }
    }
}

/// Where the token that says who a workload or its user is comes from.
#[derive(Clone, Debug)]
pub enum IdentityToken {
    /// A variable of the environment.
    Variable {
        /// Its name.
        name: String,
        /// Its value.
        token: Secret,
    },
    /// A file; read each time, because such tokens are replaced.
    File(PathBuf),
    /// GitHub Actions issues one for each audience.
    Github {
        /// Where it is asked for.
        url: Url,
        /// What proves the job there.
        credential: Secret,
        /// The audience; the issuer of the authorization server if not given.
        audience: Option<String>,
    },
}

/// The organisation's identity provider.
#[derive(Clone, Debug)]
pub struct IdentityProvider {
    /// Its issuer.
    pub issuer: String,
    /// The client there.
    pub client_id: String,
    /// Its secret, if it has one.
    pub client_secret: Option<Secret>,
}

/// A login that was refused.
#[derive(Debug)]
pub struct Refused {
    error: Error,
    at: Instant,
    /// The scopes that the service had asked for.
    scope: String,
}

/// Gets a token: the one of this process, or a new one.
///
/// # Errors
/// [`Kind::AuthDenied`] if a server refuses, [`Kind::AuthRequired`] if what is needed is missing; those of the network.
pub async fn obtain(inner: &Inner, machine: &Machine, need: &Need) -> Result<Token> {
    let former = inner.current().grant.clone();
    if former.as_ref().is_some_and(|grant| is_enough(grant, need)) {
        return inner.adopt(former, Acceptance::Elsewhere).ok_or_else(|| inner.login_needed());
    }
    if let Some(refused) = &inner.current().refused
        && refused.at.elapsed() < REFUSED
        && refused.scope == need.scope()
    {
        return Err(refused.error.clone());
    }
    let refused = |error: &Error| {
        let scope = need.scope().to_owned();
        Some(Refused { error: error.clone(), at: Instant::now(), scope })
    };
    if let Err(error) = inner.refuse_loop(need, former.as_ref()) {
        inner.current().refused = refused(&error);
        inner.accepted();
        return Err(error);
    }
    check_scope(inner, need)?;
    let known = inner.current().found.clone().filter(|_| need.why == Why::Expiring);
    let found = match known {
        Some(found) => found,
        None => found(inner, need, former.as_ref().map(|grant| grant.issuer.as_str())).await?,
    };
    inner.current().found = Some(found.clone());
    let former = former.filter(|grant| grant.issuer == found.server.issuer);
    let key = former.as_ref().and_then(|grant| grant.binding.as_ref());
    let asked = Asked {
        scopes: wanted_scopes(inner, need, &found, former.as_ref()),
        binding: DpopKey::wanted(&found, need.challenge.as_ref(), key),
        found,
    };
    let done = log_in(inner, machine, asked).await;
    if done.as_ref().map_or_else(|error| error.kind() == Kind::AuthDenied, |_| true) {
        note_step_up(inner, need);
    }
    inner.current().refused = match &done {
        // What was missing may be there the next time.
        Err(error) if error.kind() == Kind::AuthDenied => refused(error),
        _ => None,
    };
    let token = done?;
    check_granted(inner, need).map(|()| token)
}

/// What a login asks for.
struct Asked {
    found: Found,
    scopes: Vec<String>,
    binding: Option<DpopKey>,
}

async fn log_in(inner: &Inner, machine: &Machine, asked: Asked) -> Result<Token> {
    let Asked { found, scopes, binding } = asked;
    let server = &found.server;
    let client = client_of(inner, machine, &found)?;
    let who = Who { client: &client, token: machine.token() };
    tracing::info!("logs in at {} as {}", shortened(&server.issuer), who.client().0);
    let scope = scopes.join(" ");
    let target = Target { scope: &scope, resource: found.resource.as_deref() };
    let assertion = match machine {
        Machine::Credentials => None,
        Machine::Workload(token) => Some(token.read(inner, &For { server, client: None }).await?),
        Machine::Enterprise(token, provider) => {
            Some(exchanged(inner, token, provider, (&server.issuer, target)).await?)
        }
    };
    let subject = assertion.as_ref().and_then(subject).unwrap_or_default();
    let mut fields = match &assertion {
        None => vec![("grant_type", "client_credentials")],
        Some(assertion) => vec![("grant_type", JWT_BEARER), ("assertion", assertion.expose())],
    };
    fields.extend(target.fields());
    let at = AtServer { web: &inner.web, server, client: &client, binding: binding.as_ref() };
    let tokens = at.tokens(&fields, &scopes).await;
    let tokens = tokens.map_err(|error| refused(error, &server.issuer, &who))?;
    let mut grant = Grant::new(&server.issuer, found.resource.clone(), client);
    // Not random: the next process of the same machine shares what is cached.
    grant.id = short_hash(&format!("{}\n{}\n{subject}\n{scope}", grant.issuer, grant.client.id));
    (grant.requested, grant.tokens, grant.binding) = (scopes, Some(tokens), binding);
    // A new token costs nothing: it is kept in no store.
    inner.current().in_memory = true;
    kept_for_use(inner, grant, None).await
}

/// What a token is for.
#[derive(Clone, Copy)]
struct Target<'a> {
    /// The scopes, each after a space; may be empty.
    scope: &'a str,
    resource: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn fields(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let scope = Some(self.scope).filter(|scope| !scope.is_empty()).map(|scope| ("scope", scope));
        scope.into_iter().chain(self.resource.map(|resource| ("resource", resource)))
    }
}

/// Returns the client; a workload's token needs none.
fn client_of(inner: &Inner, machine: &Machine, found: &Found) -> Result<Client> {
    let named = named_client(&inner.options, &found.server);
    match machine {
        Machine::Credentials => {
            named.filter(|client| !matches!(client.proof, ClientAuth::Public)).ok_or_else(|| {
                let why = "a login with client credentials needs the client's id, and its secret or key";
                Error::new(Kind::AuthRequired, why).remedy(Remedy::GiveClientSecret)
            })
        }
        Machine::Workload(_) | Machine::Enterprise(..) => {
            Ok(named.unwrap_or(Client::named(String::new(), ClientAuth::Public, ClientOrigin::Given)))
        }
    }
}

/// Exchanges a token at the identity provider for one of the authorization server's (RFC 8693; ID-JAG).
async fn exchanged(
    inner: &Inner,
    token: &IdentityToken,
    provider: &IdentityProvider,
    (issuer, target): (&str, Target<'_>),
) -> Result<Secret> {
    #[derive(Deserialize)]
    struct Exchanged {
        #[serde(with = "super::grant::text")]
        access_token: Secret,
        issued_token_type: String,
    }
    let web = inner.web_of(&provider.issuer)?;
    let server = server_metadata(&web, &provider.issuer).await.map_err(|error| match error.kind() {
        Kind::ProtocolViolation => {
            let why = format!("--idp-issuer: {}", error.message());
            Error::new(Kind::Config, why).hint("write the issuer as the provider's metadata does")
        }
        _ => error,
    })?;
    let subject = token.read(inner, &For { server: &server, client: Some(&provider.client_id) }).await?;
    let proof = match provider.client_secret.clone() {
        Some(secret) => with_secret(&server, secret),
        None => ClientAuth::Public,
    };
    let client = Client::named(provider.client_id.clone(), proof, ClientOrigin::Given);
    let at = AtServer { web: &web, server: &server, client: &client, binding: None };
    let mut fields = vec![
        ("grant_type", TOKEN_EXCHANGE),
        ("requested_token_type", ID_JAG),
        ("subject_token", subject.expose()),
        ("subject_token_type", ID_TOKEN),
        ("audience", issuer),
    ];
    fields.extend(target.fields());
    let reply = at.post(server.token_endpoint.as_deref(), &fields).await;
    let reply = reply
        .map_err(|error| refused(error, &provider.issuer, &Who { client: &client, token: Some(token) }))?;
    let exchanged = serde_json::from_slice::<Exchanged>(&reply.body).ok();
    match exchanged.filter(|exchanged| exchanged.issued_token_type == ID_JAG) {
        Some(exchanged) => Ok(exchanged.access_token),
        None => {
            let why =
                format!("{} exchanges the identity token for something else than an ID-JAG", provider.issuer);
            Err(Error::new(Kind::ProtocolViolation, why).hint("tell the operator of the identity provider"))
        }
    }
}

impl IdentityToken {
    /// Returns the token for a server.
    async fn read(&self, inner: &Inner, to: &For<'_>) -> Result<Secret> {
        let mut named = None;
        let token = match self {
            Self::Variable { token, .. } => token.clone(),
            Self::File(path) => {
                let text = read_in_time(path.clone()).await.map_err(|why| {
                    let why = format!("the identity token in {} cannot be read: {why}", path.display());
                    Error::new(Kind::AuthRequired, why).hint("check the file")
                })?;
                Secret::new(text.trim().to_owned())
            }
            Self::Github { url, credential, audience } => {
                named = audience.as_deref();
                let audience = named.unwrap_or(&to.server.issuer);
                github(&inner.web_of(url.as_str())?, url, credential, audience).await?
            }
        };
        let Some(audiences) = audiences(&token) else {
            let why = format!("{} is not a JSON Web Token, which an identity token is", self.name());
            return Err(Error::new(Kind::AuthRequired, why).hint("check --identity-token"));
        };
        match audiences.iter().any(|audience| named == Some(audience.as_str()) || to.is_named_by(audience)) {
            true => Ok(token),
            false => Err(to.refuse(&audiences)),
        }
    }

    /// Names where it comes from.
    pub fn name(&self) -> String {
        match self {
            Self::Variable { name, .. } => name.clone(),
            Self::File(path) => path.display().to_string(),
            Self::Github { url, .. } => origin_and_path(url),
        }
    }
}

/// Reads a file in a thread of its own: a pipe, or a mount that hangs, holds up nothing else.
async fn read_in_time(path: PathBuf) -> std::result::Result<Zeroizing<String>, String> {
    let (done, read) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        done.send(crate::files::read_at_most(&path, LONGEST_TOKEN).map(Zeroizing::new))
    });
    match tokio::time::timeout(READ_WITHIN, read).await {
        Ok(Ok(read)) => read.map_err(|e| e.to_string()),
        _ => Err(format!("nothing came within {} s", READ_WITHIN.as_secs())),
    }
}

/// Asks GitHub Actions for a token (its documentation, "OpenID Connect reference").
async fn github(web: &Web, url: &Url, credential: &Secret, audience: &str) -> Result<Secret> {
    #[derive(Deserialize)]
    struct Issued {
        #[serde(with = "super::grant::text")]
        value: Secret,
    }
    let mut url = web.checked(url.as_str(), "address of identity tokens")?;
    url.query_pairs_mut().append_pair("audience", audience);
    let bearer = Zeroizing::new(format!("bearer {}", credential.expose()));
    let mut bearer = HeaderValue::from_str(&bearer).map_err(|_| {
        Error::new(Kind::AuthRequired, "ACTIONS_ID_TOKEN_REQUEST_TOKEN cannot be sent in a header")
            .hint("check the variable")
    })?;
    bearer.set_sensitive(true);
    let reply = web.get_with(&url, bearer).await?;
    if reply.status >= 500 || reply.status == 429 {
        return Err(failing(&url, &reply));
    }
    let issued = reply.is_success().then(|| serde_json::from_slice::<Issued>(&reply.body).ok()).flatten();
    issued.map(|issued| issued.value).filter(|token| !token.is_empty()).ok_or_else(|| {
        let why = format!("{} issues no identity token (HTTP {})", origin_and_path(&url), reply.status);
        Error::new(Kind::AuthDenied, why)
            .http_status(reply.status)
            .hint("the job needs permissions: id-token: write, and a token lasts as long as its job")
    })
}

/// The server that a token is sent to. Whoever receives a token could use it at the server that it is for.
struct For<'a> {
    server: &'a ServerMetadata,
    /// The client there: ID tokens are issued for clients (OpenID Connect Core, section 2).
    client: Option<&'a str>,
}

impl For<'_> {
    /// Says whether an audience is this server: its issuer, its token endpoint (RFC 7523 section 3), or the client there.
    fn is_named_by(&self, audience: &str) -> bool {
        let bare = |text: &str| text.trim_end_matches('/').to_owned();
        let names = [Some(self.server.issuer.as_str()), self.server.token_endpoint.as_deref()];
        self.client == Some(audience) || names.into_iter().flatten().any(|name| bare(name) == bare(audience))
    }

    fn refuse(&self, audiences: &[String]) -> Error {
        let issuer = shortened(&self.server.issuer);
        let why = match audiences {
            [] => format!("the identity token names no audience, so it was not sent to {issuer}"),
            some => format!(
                "the identity token is for {}, not for {issuer}, so it was not sent there",
                shortened(&some.join(", "))
            ),
        };
        Error::new(Kind::AuthDenied, why).hint(format!("issue it for the audience {issuer}"))
    }
}

/// Returns the audiences of a JSON Web Token (RFC 7519 section 4.1.3); `None` if it is none.
fn audiences(token: &Secret) -> Option<Vec<String>> {
    Some(match &claims(token)?["aud"] {
        Value::String(audience) => vec![audience.clone()],
        Value::Array(all) => all.iter().filter_map(|audience| audience.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    })
}

/// Returns the issuer and the subject of a JSON Web Token.
fn subject(token: &Secret) -> Option<String> {
    let claims = claims(token)?;
    Some(format!("{} {}", claims["iss"], claims["sub"]))
}

fn claims(token: &Secret) -> Option<Value> {
    let [_, claims, _] = token.expose().split('.').collect::<Vec<_>>()[..] else { return None };
    let claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok();
    claims.filter(Value::is_object)
}

/// Turns a refusal into an error that names what was refused.
fn refused(error: TokenError, issuer: &str, who: &Who<'_>) -> Error {
    let (TokenError::Ended(refusal) | TokenError::Refused(refusal)) = error else { return error.into() };
    if refusal.is_of_proof() {
        return TokenError::Refused(refusal).into();
    }
    let (what, hint) = match (refusal.code.as_str(), who.token) {
        ("invalid_grant", Some(token)) => (
            format!("the identity token in {}", token.name()),
            "issue a new token, and check its audience".to_owned(),
        ),
        _ => who.client(),
    };
    let why = format!("{} does not accept {what}: {refusal}", shortened(issuer));
    Error::new(Kind::AuthDenied, why).hint(hint)
}

/// Who asks for a token.
struct Who<'a> {
    client: &'a Client,
    token: Option<&'a IdentityToken>,
}

impl Who<'_> {
    /// Names the client and its proof, and what to check.
    fn client(&self) -> (String, String) {
        let id = match self.client.id.as_str() {
            "" => return ("a login without a client".to_owned(), "add --client-id ID".to_owned()),
            id => shortened(id),
        };
        let (proof, hint) = match self.client.proof {
            ClientAuth::PrivateKey { .. } => {
                (" with its private key", "check the client's key there, and this machine's clock")
            }
            ClientAuth::Basic { .. } | ClientAuth::Post { .. } => {
                (" with its secret", "check the client's secret")
            }
            ClientAuth::Public => ("", "check what the client may do there"),
        };
        (format!("the client {id}{proof}"), hint.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_only_to_the_server_that_it_is_for() {
        let sent = |claims: &str, issuer: &str| {
            let token = Secret::new(format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims)));
            let server = ServerMetadata {
                issuer: issuer.to_owned(),
                token_endpoint: Some(format!("{issuer}/token")),
                ..ServerMetadata::default()
            };
            let to = For { server: &server, client: Some("desk") };
            audiences(&token).is_some_and(|all| all.iter().any(|audience| to.is_named_by(audience)))
        };
        for (claims, issuer, is_sent) in [
            (r#"{"aud":"https://as.example"}"#, "https://as.example", true),
            (r#"{"aud":"https://as.example/"}"#, "https://as.example", true),
            (r#"{"aud":"https://as.example/token"}"#, "https://as.example", true),
            (r#"{"aud":["https://x.example","https://as.example"]}"#, "https://as.example", true),
            (r#"{"aud":"desk"}"#, "https://as.example", true),
            (r#"{"aud":"asistry-ci"}"#, "https://as.example", false),
            (r#"{"sub":"x"}"#, "https://as.example", false),
            (r#"{"aud":"https://as.example/token"}"#, "https://as.example/tenant", false),
            (r#"{"aud":"https://as.example"}"#, "https://evil.example", false),
            (r#"{"aud":"https://as.example"}"#, "http://as.example", false),
            ("no JSON", "https://as.example", false),
        ] {
            assert_eq!(sent(claims, issuer), is_sent, "{claims} {issuer}");
        }
    }
}
