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
use super::dpop::Binding;
use super::flow::kept_for_use;
use super::grant::{BASIC, Client, ClientOrigin, ClientProof, Grant};
use super::registration::named_client;
use super::token::{AtServer, TokenError};
use super::web::{Web, failing, shortened};
use super::{Inner, Token};
use crate::error::{Error, Kind, Remedy, Result};
use crate::protocol::http::origin_and_path;
use crate::secret::Secret;

/// The grant of a token that another issuer signed.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const ID_JAG: &str = "urn:ietf:params:oauth:token-type:id-jag";
/// What was refused is not asked for again within this time.
const REFUSED: Duration = Duration::from_secs(10);
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

/// A login that was refused, and when.
pub type Refused = (Error, Instant);

/// Logs in.
///
/// # Errors
/// [`Kind::AuthDenied`] if a server refuses, [`Kind::AuthRequired`] if what is needed is missing; those of the network.
pub async fn log_in(
    inner: &Inner,
    machine: &Machine,
    found: &Found,
    (wanted, binding): (Vec<String>, Option<Binding>),
) -> Result<Token> {
    if let Some((error, at)) = &inner.current().refused
        && at.elapsed() < REFUSED
    {
        return Err(error.clone());
    }
    let done = issued(inner, machine, found, (wanted, binding)).await;
    inner.current().refused = match &done {
        // What was missing may be there the next time.
        Err(error) if error.kind() == Kind::AuthDenied => Some((error.clone(), Instant::now())),
        _ => None,
    };
    done
}

async fn issued(
    inner: &Inner,
    machine: &Machine,
    found: &Found,
    (wanted, binding): (Vec<String>, Option<Binding>),
) -> Result<Token> {
    let client = client_of(inner, machine, found)?;
    let at = AtServer { web: &inner.web, server: &found.server, client: &client, binding: binding.as_ref() };
    let assertion = match machine {
        Machine::Credentials => None,
        Machine::Workload(token) => {
            let issuer = &found.server.issuer;
            Some(token.read(inner, (issuer, None)).await?)
        }
        Machine::Enterprise(token, provider) => {
            Some(exchanged(inner, token, provider, (found, &wanted)).await?)
        }
    };
    let scope = wanted.join(" ");
    let mut fields = match &assertion {
        None => vec![("grant_type", "client_credentials")],
        Some(assertion) => vec![("grant_type", JWT_BEARER), ("assertion", assertion.expose())],
    };
    fields.extend(Some(scope.as_str()).filter(|scope| !scope.is_empty()).map(|scope| ("scope", scope)));
    fields.extend(found.resource.as_deref().map(|resource| ("resource", resource)));
    let tokens = at.tokens(&fields, &wanted).await.map_err(|error| refused(error, &found.server.issuer))?;
    let mut grant = Grant::new(&found.server.issuer, found.resource.clone(), client);
    (grant.requested, grant.tokens, grant.binding) = (wanted, Some(tokens), binding);
    // A new token costs nothing: it is kept in no store.
    inner.current().in_memory = true;
    kept_for_use(inner, grant, None).await
}

/// Returns the client; a workload's token needs none.
fn client_of(inner: &Inner, machine: &Machine, found: &Found) -> Result<Client> {
    let named = named_client(&inner.options, &found.server);
    match machine {
        Machine::Credentials => {
            named.filter(|client| !matches!(client.proof, ClientProof::Public)).ok_or_else(|| {
                let why = "a login with client credentials needs the client's id, and its secret or key";
                Error::new(Kind::AuthRequired, why).remedy(Remedy::GiveClientSecret)
            })
        }
        Machine::Workload(_) | Machine::Enterprise(..) => {
            Ok(named.unwrap_or(Client::named(String::new(), ClientProof::Public, ClientOrigin::Given)))
        }
    }
}

/// Exchanges a token at the identity provider for one of the authorization server's (RFC 8693; ID-JAG).
async fn exchanged(
    inner: &Inner,
    token: &IdentityToken,
    provider: &IdentityProvider,
    (found, wanted): (&Found, &[String]),
) -> Result<Secret> {
    #[derive(Deserialize)]
    struct Exchanged {
        #[serde(with = "super::grant::text")]
        access_token: Secret,
        issued_token_type: String,
    }
    let web = inner.web_of(&provider.issuer)?;
    let server = server_metadata(&web, &provider.issuer).await?;
    let subject = token.read(inner, (&provider.issuer, Some(&provider.client_id))).await?;
    let proof = provider.client_secret.clone().and_then(|secret| ClientProof::with_secret(BASIC, secret));
    let proof = proof.unwrap_or(ClientProof::Public);
    let client = Client::named(provider.client_id.clone(), proof, ClientOrigin::Given);
    let at = AtServer { web: &web, server: &server, client: &client, binding: None };
    let scope = wanted.join(" ");
    let mut fields = vec![
        ("grant_type", TOKEN_EXCHANGE),
        ("requested_token_type", ID_JAG),
        ("subject_token", subject.expose()),
        ("subject_token_type", ID_TOKEN),
        ("audience", found.server.issuer.as_str()),
    ];
    fields.extend(Some(scope.as_str()).filter(|scope| !scope.is_empty()).map(|scope| ("scope", scope)));
    fields.extend(found.resource.as_deref().map(|resource| ("resource", resource)));
    let reply = at.post(server.token_endpoint.as_deref(), &fields).await;
    let reply = reply.map_err(|error| refused(error, &provider.issuer))?;
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
    /// Returns the token, for a server with this issuer and the client there.
    async fn read(&self, inner: &Inner, (issuer, client): (&str, Option<&str>)) -> Result<Secret> {
        let token = match self {
            Self::Variable { token, .. } => token.clone(),
            Self::File(path) => {
                let read = crate::files::read_at_most(path, LONGEST_TOKEN).map(Zeroizing::new);
                let text = read.map_err(|e| {
                    let why = format!("the identity token in {} cannot be read: {e}", path.display());
                    Error::new(Kind::AuthRequired, why).hint("check the file")
                })?;
                Secret::new(text.trim().to_owned())
            }
            Self::Github { url, credential, audience } => {
                let audience = audience.as_deref().unwrap_or(issuer);
                github(&inner.web_of(url.as_str())?, url, credential, audience).await?
            }
        };
        let Some(audiences) = audiences(&token) else {
            let why = format!("{} holds no identity token: that is a JSON Web Token", self.name());
            return Err(Error::new(Kind::AuthRequired, why).hint("check --identity-token"));
        };
        check_audience(&audiences, issuer, client)?;
        Ok(token)
    }

    /// Names where it comes from.
    fn name(&self) -> String {
        match self {
            Self::Variable { name, .. } => name.clone(),
            Self::File(path) => path.display().to_string(),
            Self::Github { url, .. } => origin_and_path(url),
        }
    }
}

/// Asks GitHub Actions for a token (its documentation, "OpenID Connect reference").
async fn github(web: &Web, url: &Url, credential: &Secret, audience: &str) -> Result<Secret> {
    #[derive(Deserialize)]
    struct Issued {
        #[serde(with = "super::grant::text")]
        value: Secret,
    }
    let mut url = url.clone();
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

/// Refuses to send a token to a server if its audience is another one: whoever receives it could use it there.
fn check_audience(audiences: &[String], issuer: &str, client: Option<&str>) -> Result<()> {
    let origin = |text: &str| Url::parse(text).ok().filter(Url::has_host).map(|url| url.origin());
    let own = origin(issuer);
    let is_elsewhere = |audience: &String| {
        client != Some(audience.as_str()) && origin(audience).is_some_and(|origin| Some(origin) != own)
    };
    if audiences.is_empty() || !audiences.iter().all(is_elsewhere) {
        return Ok(());
    }
    let why = format!(
        "the identity token is for {}, and would go to {issuer}; it is not sent there",
        shortened(&audiences.join(", "))
    );
    let hint = format!("issue it for the audience {}", shortened(issuer));
    Err(Error::new(Kind::AuthDenied, why).hint(hint))
}

/// Returns the audiences of a JSON Web Token (RFC 7519 section 4.1.3); `None` if it is none.
fn audiences(token: &Secret) -> Option<Vec<String>> {
    let [_, claims, _] = token.expose().split('.').collect::<Vec<_>>()[..] else { return None };
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    Some(match &claims["aud"] {
        Value::String(audience) => vec![audience.clone()],
        Value::Array(all) => all.iter().filter_map(|audience| audience.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    })
}

/// Turns a refusal into an error without a person's login in it.
fn refused(error: TokenError, issuer: &str) -> Error {
    match error {
        TokenError::Failing(error) => error,
        TokenError::Ended(refusal) | TokenError::Refused(refusal) => {
            let why = format!("{} refused the login: {refusal}", shortened(issuer));
            Error::new(Kind::AuthDenied, why).remedy(Remedy::CheckMachineLogin)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_only_to_the_server_that_it_is_for() {
        let sent = |claims: &str, issuer: &str| {
            let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
            audiences(&Secret::new(token))
                .is_some_and(|all| check_audience(&all, issuer, Some("https://c")).is_ok())
        };
        for (claims, issuer, is_sent) in [
            (r#"{"aud":"https://as.example"}"#, "https://as.example", true),
            (r#"{"aud":"https://as.example/token"}"#, "https://as.example/tenant", true),
            (r#"{"aud":["https://x.example","https://as.example"]}"#, "https://as.example", true),
            (r#"{"aud":"asistry-ci"}"#, "https://as.example", true),
            (r#"{"sub":"x"}"#, "https://as.example", true),
            (r#"{"aud":"https://as.example"}"#, "https://evil.example", false),
            (r#"{"aud":["https://x.example","https://as.example"]}"#, "https://evil.example", false),
            (r#"{"aud":"https://as.example"}"#, "http://as.example", false),
            (r#"{"aud":"https://c"}"#, "https://as.example", true),
            ("no JSON", "https://as.example", false),
        ] {
            assert_eq!(sent(claims, issuer), is_sent, "{claims} {issuer}");
        }
    }
}
