//! Parameters of queries and forms.
//!
//! Refuses a repeated one (RFC 6749 section 3.1); an empty one is as if omitted.

use super::Asked;
use hyper::header::CONTENT_TYPE;
use std::collections::BTreeMap;

/// Checked parameters.
#[derive(Debug, Default)]
pub(super) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Parses a query; returns a sentence if it is wrong.
    pub fn of_query(query: &str) -> Result<Self, String> {
        let mut all = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if all.contains_key(&*name) {
                return Err("a parameter is repeated".into());
            }
            all.insert(name.into_owned(), value.into_owned());
        }
        all.retain(|_, value| !value.is_empty());
        Ok(Self(all))
    }

    /// Parses the body of a form; returns a sentence if it is wrong.
    pub fn of_form(asked: &Asked) -> Result<Self, String> {
        let kind = asked.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err("Content-Type must be application/x-www-form-urlencoded".into());
        }
        let body = std::str::from_utf8(&asked.body).map_err(|_| "the body is not UTF-8".to_owned())?;
        Self::of_query(body)
    }

    /// Returns a parameter.
    pub fn named(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns a required parameter, or a sentence that names it.
    pub fn required(&self, name: &str) -> Result<&str, String> {
        self.named(name).ok_or_else(|| format!("{name} is required"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_parameter_is_refused_and_an_empty_one_is_omitted() {
        assert!(Parameters::of_query("a=1&b=2&a=1").is_err());
        assert!(Parameters::of_query("a=&a=").is_err());
        let read = Parameters::of_query("a=&b=%C3%A9+x").unwrap();
        assert_eq!((read.named("a"), read.named("b")), (None, Some("é x")));
    }
}
