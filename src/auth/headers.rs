//! Extra headers of the user: `--header` and `--header-file`.
//!
//! Refuses a secret on the command line, where every process can read it.

use std::path::Path;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::error::{Error, Kind, Result};

const CREDENTIAL_HEADERS: &[&str] = &[
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "api-key",
    "x-auth-token",
    "x-access-token",
];
/// What the wire itself is made of.
const OUR_HEADERS: &[&str] = &[
    "content-length",
    "content-type",
    "accept",
    "host",
    "transfer-encoding",
    "connection",
    "mcp-session-id",
    "mcp-protocol-version",
    "last-event-id",
];

/// Extra headers, ready to be sent.
#[derive(Debug, Default)]
pub struct ExtraHeaders {
    pub(super) headers: HeaderMap,
    pub(super) carries_credential: bool,
}

impl ExtraHeaders {
    /// Reads `Name: value` lines: those of the command line, where a literal credential is refused, and
    /// those of a file. `${VAR}` in a value is looked up with `lookup`.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a line that is no header, names one of ours, or carries a literal secret.
    pub fn read(
        arguments: &[String],
        file: Option<&str>,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let mut extra = Self::default();
        for line in arguments {
            let (name, value) = split(line)?;
            let literal = !value.contains("${");
            if literal && CREDENTIAL_HEADERS.contains(&name.as_str()) {
                let why =
                    format!("a literal value for {name} on the command line can be read by every process");
                return Err(Error::new(Kind::Usage, why).hint(format!(
                    "write --header '{name}: ${{VAR}}' with the value in the environment, or use --header-file"
                )));
            }
            extra.add(&name, value, lookup)?;
        }
        let lines = file.unwrap_or_default().lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, value) = split(line)?;
            extra.add(&name, value, lookup)?;
        }
        Ok(extra)
    }

    fn add(&mut self, name: &str, value: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<()> {
        if OUR_HEADERS.contains(&name) {
            return Err(Error::new(
                Kind::Usage,
                format!("the header {name} belongs to the protocol and cannot be set"),
            ));
        }
        let expanded = expand(value, lookup)?;
        let parsed = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&expanded));
        let (Ok(header), Ok(mut header_value)) = parsed else {
            return Err(Error::new(Kind::Usage, format!("the value of the header {name} cannot be sent")));
        };
        // Whatever a user adds may be a secret: none of it is shown anywhere.
        header_value.set_sensitive(true);
        self.carries_credential |= CREDENTIAL_HEADERS.contains(&name);
        self.headers.insert(header, header_value);
        Ok(())
    }
}

/// Reads a header file.
///
/// # Errors
/// [`Kind::Usage`] where it cannot be read.
pub fn read_header_file(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|e| Error::new(Kind::Usage, format!("--header-file {} cannot be read: {e}", path.display())))
}

fn split(line: &str) -> Result<(String, &str)> {
    match line.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_ascii_lowercase(), value.trim()))
        }
        _ => Err(Error::new(Kind::Usage, "a header is written 'Name: value'")),
    }
}

fn expand(value: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String> {
    let mut expanded = String::new();
    let mut rest = value;
    while let Some(start) = rest.find("${") {
        let Some(length) = rest[start..].find('}') else { break };
        let name = &rest[start + 2..start + length];
        let found = lookup(name).ok_or_else(|| {
            Error::new(Kind::Usage, format!("the environment has no {name}, which a header refers to"))
                .hint(format!("export {name}=…"))
        })?;
        expanded.push_str(&rest[..start]);
        expanded.push_str(&found);
        rest = &rest[start + length + 1..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(argument: &str, file: Option<&str>) -> Result<ExtraHeaders> {
        ExtraHeaders::read(&[argument.to_owned()], file, &|name| (name == "TOKEN").then(|| "t0".to_owned()))
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
    fn headers_of_the_protocol_cannot_be_set() {
        assert!(read("Mcp-Session-Id: 1", None).is_err());
        assert!(read("no colon", None).is_err());
    }
}
