//! Extra headers: the profile's, `--header` and `--header-file`.
//!
//! Refuses literal secrets on the command line, where other processes can read them.

use std::path::Path;

use http::header::{HeaderMap, HeaderValue};

use crate::error::{Error, Kind, Result};
use crate::profile::{Profile, headers};

/// Extra headers, ready to be sent.
#[derive(Debug, Default)]
pub struct ExtraHeaders {
    pub(super) headers: HeaderMap,
    pub(super) carries_credential: bool,
}

impl ExtraHeaders {
    /// Says whether one of them replaces the key.
    pub fn carries_credential(&self) -> bool {
        self.carries_credential
    }

    /// Parses `Name: value` lines of the command line, where literal credentials are refused, and of the header file.
    /// They override the profile's headers. `${VAR}` in a value is replaced by `lookup`.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a malformed line, a header that asistry sets itself, or a literal secret; [`Kind::Config`]
    /// for an undefined variable in a header of the profile.
    pub fn read(
        profile: &Profile,
        arguments: &[String],
        file: Option<&str>,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let mut extra = Self::default();
        for line in arguments {
            let (name, value) = split(line)?;
            if headers::is_literal(value) && profile.is_credential(name) {
                let why = format!(
                    "don't pass the value of {name} on the command line: other processes can read it"
                );
                return Err(Error::new(Kind::Usage, why).hint(format!(
                    "use --header '{name}: ${{VAR}}' and set the variable, or use --header-file"
                )));
            }
            extra.add(profile, (name, value), lookup)?;
        }
        let lines = file.unwrap_or_default().lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            extra.add(profile, split(line)?, lookup)?;
        }
        for (name, value) in &profile.headers {
            if !extra.headers.contains_key(name) {
                extra.add(profile, (name, value), lookup).map_err(|error| {
                    let why = format!("{error} in the profile {}", profile.name);
                    error.with_kind(Kind::Config).with_message(why)
                })?;
            }
        }
        Ok(extra)
    }

    fn add(
        &mut self,
        profile: &Profile,
        (name, value): (&str, &str),
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<()> {
        let header = headers::settable(name)
            .map_err(|why| Error::new(Kind::Usage, why).hint("leave it out, or use another name"))?;
        let expanded = headers::expand(value, lookup).map_err(|missing| {
            let why = format!("the header {name} refers to the variable {missing}, which is not set");
            Error::new(Kind::Usage, why).hint(format!("export {missing}=…"))
        })?;
        let Ok(mut header_value) = HeaderValue::from_str(&expanded) else {
            return Err(Error::new(Kind::Usage, format!("the value of the header {name} cannot be sent"))
                .hint("use text without control characters"));
        };
        // Any added header may be a secret, so none is shown.
        header_value.set_sensitive(true);
        // Only a header that carries the key replaces it; others are sent with it.
        let carries = |name: &str| profile.service.auth.carries_key(name);
        if carries(header.as_str()) {
            if let Some(other) =
                self.headers.keys().find(|other| **other != header && carries(other.as_str()))
            {
                let why = format!("{other} and {header} both carry a credential");
                return Err(Error::new(Kind::Usage, why).hint("give one of them"));
            }
            self.carries_credential = true;
        }
        self.headers.insert(header, header_value);
        Ok(())
    }
}

/// Reads a header file.
///
/// # Errors
/// [`Kind::Usage`] if it cannot be read.
pub fn read_header_file(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| {
        Error::new(Kind::Usage, format!("--header-file {} cannot be read: {e}", path.display()))
            .caused_by(e)
            .hint("check the path")
    })
}

fn split(line: &str) -> Result<(&str, &str)> {
    match line.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim(), value.trim())),
        _ => Err(Error::new(Kind::Usage, "a header has the form 'Name: value'")
            .hint("write it like 'X-Project-ID: 7'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Config, Place};

    fn profile(text: &str) -> Profile {
        let config = Config::parse(text, Place::default()).unwrap();
        Profile::find("asistry", &config).unwrap()
    }

    fn read(argument: &str, file: Option<&str>) -> Result<ExtraHeaders> {
        let lookup = |name: &str| (name == "TOKEN").then(|| "t0".to_owned());
        ExtraHeaders::read(&profile(""), &[argument.to_owned()], file, &lookup)
    }

    #[test]
    fn the_command_line_stands_over_the_profile() {
        let profile = profile(
            "[profiles.asistry]\nservice='asistry'\nheaders={X-A='p', X-B='p', Authorization='Bearer ${NO}'}",
        );
        let with = |line: &str| {
            ExtraHeaders::read(&profile, &[line.to_owned()], Some("x-a: f"), &|_| Some("v".into()))
        };
        let read = with("x-b: c").unwrap();
        assert_eq!(
            (&read.headers["x-a"], &read.headers["x-b"]),
            (&"f".parse().unwrap(), &"c".parse().unwrap())
        );
        assert!(read.carries_credential);
        let error = ExtraHeaders::read(&profile, &[], None, &|_| None).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.message().contains("NO"), "{error}");
    }

    #[test]
    fn a_literal_secret_on_the_command_line_is_refused() {
        for line in ["Authorization: Bearer x", "x-api-key:1", "COOKIE: a=b"] {
            assert_eq!(read(line, None).unwrap_err().kind(), Kind::Usage, "{line}");
        }
        assert!(read("Authorization: Bearer ${NO}", None).is_err());
        let read = read("Authorization: Bearer ${TOKEN}", Some("# c\nX-A: b\n")).unwrap();
        assert_eq!(read.headers["authorization"], "Bearer t0");
        assert_eq!(read.headers["x-a"], "b");
        assert!(read.carries_credential);
    }

    #[test]
    fn a_secret_beside_the_key_does_not_stand_over_it() {
        for line in ["X-Csrf-Token: ${TOKEN}", "Cookie: ${TOKEN}", "X-Api-Key: ${TOKEN}"] {
            assert!(!read(line, None).unwrap().carries_credential, "{line}");
        }
    }

    #[test]
    fn headers_of_the_protocol_cannot_be_set() {
        assert!(read("Mcp-Session-Id: 1", None).is_err());
        assert!(read("no colon", None).is_err());
    }
}
