//! The proxy of a profile.
//!
//! Refuses a password in the configuration itself: it comes from the environment, as `${VAR}`.

use std::fmt;

use url::Url;

use super::headers::{expand, is_literal};

const SCHEMES: &[&str] = &["http", "https", "socks5", "socks5h"];
const FORM: &str =
    "write it like http://proxy.example:3128 or socks5h://proxy.example:1080, user and password as ${VAR}";

/// A proxy as it is written; nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy(String);

/// The parts of what is written.
struct Parts<'a> {
    scheme: &'a str,
    user: Option<(&'a str, Option<&'a str>)>,
    rest: &'a str,
}

impl Proxy {
    /// Reads what is written.
    ///
    /// # Errors
    /// A sentence that shows the form.
    pub fn read(text: &str) -> Result<Self, String> {
        let proxy = Self(text.to_owned());
        if let Some((user, password)) = proxy.parts().user
            && !is_reference(password.unwrap_or(user))
        {
            return Err(format!("it holds a password, which has no place here; {FORM}"));
        }
        if !is_reference(text) {
            proxy.url(&|_| Some("x".into()))?;
        }
        Ok(proxy)
    }

    /// Returns its URL, with what the environment adds.
    ///
    /// # Errors
    /// A sentence: a variable that is not there, or a URL of no proxy.
    pub fn url(&self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Url, String> {
        let expanded =
            |text: &str| expand(text, lookup).map_err(|name| format!("the environment has no {name}"));
        let Parts { scheme, user, rest } = self.parts();
        let bare = expanded(&format!("{scheme}{rest}"))?;
        let mut url = Url::parse(&bare).map_err(|e| format!("it is not a URL ({e}); {FORM}"))?;
        let is_proxy = SCHEMES.contains(&url.scheme()) && url.has_host();
        if !is_proxy || !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(FORM.into());
        }
        if let Some((user, password)) = user {
            // As they are in the environment: here they get the signs that a URL needs.
            let (user, password) = (expanded(user)?, password.map(expanded).transpose()?);
            let set = url.set_username(&user).and_then(|()| url.set_password(password.as_deref()));
            set.map_err(|()| FORM.to_owned())?;
        }
        Ok(url)
    }

    fn parts(&self) -> Parts<'_> {
        let after = self.0.find("://").map_or(0, |at| at + 3);
        let (scheme, rest) = self.0.split_at(after);
        match rest.rsplit_once('@') {
            Some((user, rest)) => {
                let user =
                    user.split_once(':').map_or((user, None), |(user, password)| (user, Some(password)));
                Parts { scheme, user: Some(user), rest }
            }
            None => Parts { scheme, user: None, rest },
        }
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Says whether a text is one `${VAR}` and nothing else.
fn is_reference(text: &str) -> bool {
    let name = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    !is_literal(text) && name.is_some_and(|name| !name.contains(['$', '{', '}']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "USER" => Some("me".into()),
            "PASSWORD" => Some("p@ss:w/rd".into()),
            "PROXY" => Some("http://me:secret@proxy.example:3128".into()),
            _ => None,
        }
    }

    #[test]
    fn user_and_password_come_from_the_environment() {
        let url = |text: &str| Proxy::read(text).unwrap().url(&lookup).map(String::from);
        assert_eq!(url("http://proxy.example:3128").unwrap(), "http://proxy.example:3128/");
        let with = url("http://${USER}:${PASSWORD}@proxy.example:3128").unwrap();
        assert_eq!(with, "http://me:p%40ss%3Aw%2Frd@proxy.example:3128/");
        assert_eq!(url("socks5h://me:${USER}@127.0.0.1:1080").unwrap(), "socks5h://me:me@127.0.0.1:1080");
        assert_eq!(url("${PROXY}").unwrap(), "http://me:secret@proxy.example:3128/");
        assert_eq!(url("http://${GONE}@h").unwrap_err(), "the environment has no GONE");
    }

    #[test]
    fn a_password_in_the_configuration_and_what_is_no_proxy_are_refused() {
        for wrong in [
            "http://u:p@h",
            "http://token@h",
            "http://u:p${USER}@h",
            "http://:p@h",
            "u:p@h",
            "ftp://h",
            "h:3128",
            "http://h/path",
            "http://h?x=1",
            "socks4://h:1",
            "",
        ] {
            assert!(Proxy::read(wrong).is_err(), "{wrong}");
        }
    }
}
