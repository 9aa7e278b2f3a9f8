//! The authorization request and its response (RFC 6749 section 4.1, RFC 7636, RFC 8707, RFC 9207).
//!
//! Refuses a response that is not for this request, before anything in it is used or shown (AUTH-12).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use url::Url;

use super::OFFLINE;
use super::metadata::ServerMetadata;
use super::web::{Web, shortened};
use crate::error::{Error, Kind, Remedy, Result};
use crate::secret::Secret;

/// One authorization request.
#[derive(Debug)]
pub struct Request {
    /// Where the user logs in.
    pub url: Url,
    /// The PKCE verifier (RFC 7636 section 4.1).
    pub verifier: Secret,
    state: String,
    issuer: String,
    must_name_issuer: bool,
}

/// What an authorization request asks for.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// The client's id.
    pub client_id: &'a str,
    /// Where the response goes.
    pub redirect_uri: &'a str,
    /// The scopes.
    pub scopes: &'a [String],
    /// The resource, verbatim.
    pub resource: Option<&'a str>,
    /// The thumbprint of the key that the code is bound to (RFC 9449 section 10).
    pub key: Option<String>,
}

/// Why a response is not taken.
#[derive(Debug)]
pub enum Unfit {
    /// It belongs to another request: the login goes on.
    Stray,
    /// The login has failed.
    Failed(Error),
}

impl Request {
    /// Makes one, with a new verifier and state.
    ///
    /// # Errors
    /// [`Kind::ProtocolViolation`] for an authorization endpoint that must not be opened.
    pub fn new(web: &Web, server: &ServerMetadata, asked: Asked<'_>) -> Result<Self> {
        let endpoint = server.authorization_endpoint.as_deref().unwrap_or_default();
        let mut url = web.checked(endpoint, "authorization endpoint")?;
        let (verifier, state) = (Secret::new(super::random_text()), super::random_text());
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.expose()));
        let scope = asked.scopes.join(" ");
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", asked.client_id)
            .append_pair("redirect_uri", asked.redirect_uri)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .append_pair("state", &state);
        // OpenID Connect Core, section 11: without consent no offline access.
        let consent = asked.scopes.iter().any(|scope| scope == OFFLINE).then_some("consent");
        let rest = [
            ("scope", Some(scope.as_str()).filter(|scope| !scope.is_empty())),
            ("resource", asked.resource),
            ("dpop_jkt", asked.key.as_deref()),
            ("prompt", consent),
        ];
        for (name, value) in rest {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        Ok(Self {
            url,
            verifier,
            state,
            issuer: server.issuer.clone(),
            must_name_issuer: server.authorization_response_iss_parameter_supported,
        })
    }

    /// Reads a response: the query of the redirect.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn code(&self, query: &str) -> std::result::Result<Secret, Unfit> {
        let pairs: Vec<(String, String)> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let of = |name: &str| {
            let mut found = pairs.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
            let first = found.next();
            // RFC 6749 section 3.1: no parameter twice.
            if found.next().is_some() { None } else { first }
        };
        if of("state") != Some(self.state.as_str()) {
            return Err(Unfit::Stray);
        }
        let failed = |why: String, kind| Err(Unfit::Failed(Error::new(kind, why).remedy(Remedy::Login)));
        match of("iss") {
            Some(iss) if iss != self.issuer => {
                let why = "the login was answered by another authorization server; its response is not used";
                return failed(why.to_owned(), Kind::AuthDenied);
            }
            None if self.must_name_issuer || pairs.iter().any(|(name, _)| name == "iss") => {
                let why = "the response to the login does not name its issuer; it is not used";
                return failed(why.to_owned(), Kind::AuthDenied);
            }
            _ => {}
        }
        if let Some(error) = of("error") {
            let why = match (error, of("error_description").unwrap_or_default()) {
                ("access_denied", "") => "the login was denied".to_owned(),
                ("access_denied", said) => format!("the login was denied: {}", shortened(said)),
                (error, "") => format!("the authorization server refused the login: {}", shortened(error)),
                (error, said) => format!(
                    "the authorization server refused the login: {}: {}",
                    shortened(error),
                    shortened(said)
                ),
            };
            return failed(why, Kind::AuthDenied);
        }
        match of("code").filter(|code| !code.is_empty()) {
            Some(code) => Ok(Secret::new(code.to_owned())),
            None => failed("the response to the login has no code".to_owned(), Kind::ProtocolViolation),
        }
    }

    /// Reads what a person pasted: the URL that the browser was sent to, its query, or the code alone.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn pasted(&self, line: &str) -> std::result::Result<Secret, Unfit> {
        let line = line.trim();
        let query = line.split_once('?').map(|(_, query)| query.split('#').next().unwrap_or_default());
        match query {
            Some(query) => self.code(query),
            None if line.contains("code=") || line.contains("error=") => self.code(line),
            // PKCE binds it to this request; who has issued it, only the whole URL says.
            None if !self.must_name_issuer && is_code(line) => Ok(Secret::new(line.to_owned())),
            None => Err(Unfit::Stray),
        }
    }
}

/// Says whether a text may be a code alone.
fn is_code(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_whitespace) && !text.contains("://")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Proxies, TlsOptions};

    fn request(must_name_issuer: bool) -> Request {
        let server = ServerMetadata {
            issuer: "https://a.example".into(),
            authorization_endpoint: Some("https://a.example/authorize?tenant=1".into()),
            authorization_response_iss_parameter_supported: must_name_issuer,
            ..ServerMetadata::default()
        };
        let endpoint = Url::parse("https://h.example/mcp").unwrap();
        let web = Web::new(&endpoint, TlsOptions::default(), Proxies::None, false);
        let scopes = ["tasks:read".to_owned(), "offline_access".to_owned()];
        let asked = Asked {
            client_id: "c",
            redirect_uri: "http://127.0.0.1:1/callback",
            scopes: &scopes,
            resource: Some("https://h.example"),
            key: None,
        };
        Request::new(&web, &server, asked).unwrap()
    }

    #[test]
    fn the_request_has_what_every_revision_asks_for() {
        let request = request(false);
        let pairs: Vec<_> = request.url.query_pairs().into_owned().collect();
        let of = |name: &str| pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        assert_eq!(of("tenant"), Some("1"));
        assert_eq!(of("resource"), Some("https://h.example"), "verbatim, without a slash");
        assert_eq!(of("scope"), Some("tasks:read offline_access"));
        assert_eq!(of("code_challenge_method"), Some("S256"));
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(request.verifier.expose()));
        assert_eq!(of("code_challenge"), Some(challenge.as_str()));
        assert!(request.verifier.expose().len() >= 43);
    }

    #[test]
    fn a_response_is_checked_before_it_is_used() {
        let (plain, strict) = (request(false), request(true));
        let iss = "iss=https%3A%2F%2Fa.example";
        let code = |request: &Request, rest: &str| request.code(&format!("state={}&{rest}", request.state));
        assert_eq!(code(&plain, "code=abc").unwrap().expose(), "abc");
        assert_eq!(code(&strict, &format!("code=abc&{iss}")).unwrap().expose(), "abc");
        for stray in ["code=abc&state=other", "code=abc", &format!("state={0}&state={0}&code=a", plain.state)]
        {
            assert!(matches!(plain.code(stray), Err(Unfit::Stray)), "{stray}");
        }
        for (request, refused) in [
            (&strict, "code=abc"),
            (&plain, "code=abc&iss=https%3A%2F%2Fa.example%2F"),
            (&plain, "code=abc&iss=https%3A%2F%2Fevil.example"),
            (&plain, &format!("code=abc&{iss}&{iss}")),
            (&plain, "code=a&code=b"),
            (&plain, "error=access_denied"),
        ] {
            assert!(matches!(code(request, refused), Err(Unfit::Failed(_))), "{refused}");
        }
        let Err(Unfit::Failed(error)) =
            code(&plain, "iss=https%3A%2F%2Fevil&error=x&error_description=marked")
        else {
            panic!("taken")
        };
        assert!(!error.message().contains("marked"), "what another server says is not shown");
    }

    #[test]
    fn a_pasted_url_query_or_code_is_taken() {
        let request = request(false);
        let state = &request.state;
        for line in [
            format!("http://127.0.0.1:1/callback?code=abc&state={state}#x"),
            format!("code=abc&state={state}"),
            "  abc \n".to_owned(),
        ] {
            assert_eq!(request.pasted(&line).unwrap().expose(), "abc", "{line}");
        }
        for line in
            ["", "two words", "http://127.0.0.1:1/callback", "http://127.0.0.1:1/callback?code=abc&state=x"]
        {
            assert!(matches!(request.pasted(line), Err(Unfit::Stray)), "{line}");
        }
    }
}
