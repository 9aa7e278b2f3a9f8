//! Reads `WWW-Authenticate` (RFC 9110 section 11.6.1; AUTH-2).
//!
//! Takes what services really send: several challenges in one header or in several, any order of parameters, values
//! with and without quotes. Refuses to guess: what cannot be read is skipped.

use crate::protocol::http::Challenge;

/// The parameters of a `Bearer` or `DPoP` challenge that a login needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BearerChallenge {
    /// URL of the protected-resource metadata (RFC 9728 section 5.1).
    pub resource_metadata: Option<String>,
    /// The scopes that the request needs (RFC 6750 section 3).
    pub scope: Option<String>,
    /// `invalid_token`, `insufficient_scope`, or another code.
    pub error: Option<String>,
}

impl Challenge {
    /// Returns the parameters of the first challenge that a token answers.
    pub fn bearer(&self) -> Option<BearerChallenge> {
        let named = self.authenticate.iter().flat_map(|value| read(value));
        let mut fitting = named.filter(|(scheme, _)| ["bearer", "dpop"].contains(&scheme.as_str()));
        let (_, parameters) = fitting.next()?;
        let of = |name: &str| {
            let found = parameters.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
        };
        Some(BearerChallenge {
            resource_metadata: of("resource_metadata"),
            scope: of("scope"),
            error: of("error"),
        })
    }

    /// Says whether more scopes would help (RFC 6750 section 3.1; AUTH-15).
    pub fn wants_scope(&self) -> bool {
        self.status == 403
            && self.bearer().is_some_and(|bearer| bearer.error.as_deref() == Some("insufficient_scope"))
    }
}

/// A scheme in lower case, and its parameters, their names in lower case.
type Named = (String, Vec<(String, String)>);

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
        assert_eq!(bearer(&["=", "\"", "Bearer \"", "a=\"b"]), Some(BearerChallenge::default()));
    }
}
