//! Reads `WWW-Authenticate` (RFC 9110 section 11.6.1; AUTH-2).
//!
//! Takes what services really send: several challenges in one header or in several, any order of parameters, values
//! with and without quotes. Refuses to guess: what cannot be read is skipped.

use crate::protocol::http::Challenge;

/// The parameters of a `Bearer` or `DPoP` challenge that a login needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BearerChallenge {
    /// Which tokens are taken.
    pub kind: TokenKind,
    /// URL of the protected-resource metadata (RFC 9728 section 5.1).
    pub resource_metadata: Option<String>,
    /// The scopes that the request needs (RFC 6750 section 3).
    pub scope: Option<String>,
    /// `invalid_token`, `insufficient_scope`, or another code.
    pub error: Option<String>,
}

/// The kinds of tokens that a service takes, by the schemes of its challenges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenKind {
    /// Bearer tokens (RFC 6750).
    #[default]
    Bearer,
    /// Tokens that are bound to a key (RFC 9449).
    Dpop,
    /// Both.
    Either,
}

impl Challenge {
    /// Returns the parameters of the first challenge that a token answers.
    pub fn bearer(&self) -> Option<BearerChallenge> {
        let named = self.authenticate.iter().flat_map(|value| read(value));
        let fitting: Vec<Named> = named.filter(|named| is_bearer(named) || is_dpop(named)).collect();
        let kind = match (fitting.iter().any(is_bearer), fitting.iter().any(is_dpop)) {
            (true, true) => TokenKind::Either,
            (true, false) => TokenKind::Bearer,
            (false, _) => TokenKind::Dpop,
        };
        let of = |name: &str| {
            let found = fitting
                .iter()
                .flat_map(|(_, parameters)| parameters)
                .find(|(known, value)| known == name && !value.is_empty());
            found.map(|(_, value)| value.clone())
        };
        (!fitting.is_empty()).then(|| BearerChallenge {
            kind,
            resource_metadata: of("resource_metadata"),
            scope: of("scope"),
            error: of("error"),
        })
    }

    /// Says whether the request only lacks the service's nonce in its proof (RFC 9449 section 9).
    pub fn wants_nonce(&self) -> bool {
        self.says_of_proof("use_dpop_nonce")
    }

    /// Says whether the proof was refused, and not the token (RFC 9449 section 7.1).
    pub fn refuses_proof(&self) -> bool {
        self.says_of_proof("invalid_dpop_proof")
    }

    fn says_of_proof(&self, code: &str) -> bool {
        let mut named = self.authenticate.iter().flat_map(|value| read(value)).filter(is_dpop);
        let is_error = |(name, value): &(String, String)| name == "error" && value == code;
        self.status == 401 && named.any(|(_, parameters)| parameters.iter().any(is_error))
    }

    /// Says whether more scopes would help (RFC 6750 section 3.1; AUTH-15).
    pub fn wants_scope(&self) -> bool {
        self.status == 403
            && self.bearer().is_some_and(|bearer| bearer.error.as_deref() == Some("insufficient_scope"))
    }
}

/// A scheme in lower case, and its parameters, their names in lower case.
type Named = (String, Vec<(String, String)>);

fn is_bearer((scheme, _): &Named) -> bool {
    scheme == "bearer"
}

/// Says whether a challenge takes proofs with ES256 (RFC 9449 section 7.1).
fn is_dpop((scheme, parameters): &Named) -> bool {
    let mut algorithms = parameters.iter().filter(|(name, _)| name == "algs");
    scheme == "dpop" && algorithms.all(|(_, names)| names.split(' ').any(|name| name == "ES256"))
}

/// Reads one header, which may hold several challenges.
fn read(header: &str) -> Vec<Named> {
    let mut challenges: Vec<Named> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find(|c: char| " \t,=\"".contains(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if rest.is_empty() {
            return challenges;
        }
        let after = after.trim_start_matches([' ', '\t']);
        match (after.strip_prefix('='), challenges.last_mut()) {
            (Some(after), Some((_, parameters))) => {
                let (value, after) = value(after.trim_start_matches([' ', '\t']));
                parameters.push((word.to_ascii_lowercase(), value));
                rest = after;
            }
            // A parameter without a scheme, or a quote without a name.
            (Some(after), None) => rest = after,
            (None, _) if word.is_empty() => rest = after.get(1..).unwrap_or_default(),
            (None, _) => {
                challenges.push((word.to_ascii_lowercase(), Vec::new()));
                rest = after;
            }
        }
    }
}

/// Reads a value; returns what follows it.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| " \t,".contains(c)).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let (mut value, mut is_escaped) = (String::new(), false);
    for (at, c) in quoted.char_indices() {
        match c {
            _ if is_escaped => {
                value.push(c);
                is_escaped = false;
            }
            '\\' => is_escaped = true,
            '"' => return (value, &quoted[at + 1..]),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(values: &[&str]) -> Option<BearerChallenge> {
        let authenticate = values.iter().map(|value| (*value).to_owned()).collect();
        Challenge { status: 401, authenticate }.bearer()
    }

    #[test]
    fn a_bearer_challenge_is_found_among_others_in_any_form() {
        let full = BearerChallenge {
            kind: TokenKind::Bearer,
            resource_metadata: Some("https://h/.well-known/oauth-protected-resource/mcp".into()),
            scope: Some("a b".into()),
            error: Some("invalid_token".into()),
        };
        let url = "https://h/.well-known/oauth-protected-resource/mcp";
        for header in [
            format!(r#"Bearer resource_metadata="{url}", scope="a b", error="invalid_token""#),
            format!(r#"bearer error=invalid_token,scope="a b",resource_metadata={url}"#),
            format!(
                r#"Basic realm="x, Bearer y", Bearer error="invalid_token", error_description="a, \"b\"", SCOPE = "a b" , resource_metadata="{url}""#
            ),
            format!(
                r#"Negotiate abc==, Bearer realm="r", scope="a b", error="invalid_token", resource_metadata="{url}", Digest a=b"#
            ),
        ] {
            assert_eq!(bearer(&[&header]), Some(full.clone()), "{header}");
        }
        assert_eq!(bearer(&["Basic realm=\"x\"", "Bearer"]), Some(BearerChallenge::default()));
        assert_eq!(bearer(&["Basic realm=\"x\""]), None);
        let kind = |values: &[&str]| bearer(values).map(|challenge| challenge.kind);
        assert_eq!(kind(&["DPoP algs=\"ES256 PS256\"", "Bearer"]), Some(TokenKind::Either));
        assert_eq!(kind(&["Bearer, DPoP algs=\"PS256\""]), Some(TokenKind::Bearer));
        assert_eq!(kind(&["dpop error=\"use_dpop_nonce\""]), Some(TokenKind::Dpop));
        assert_eq!(kind(&["DPoP algs=PS256"]), None);
        assert_eq!(bearer(&["=", "\"", "Bearer \"", "a=\"b"]), Some(BearerChallenge::default()));
    }
}
