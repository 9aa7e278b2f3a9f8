//! A user's instance of a service: which service, the values of its variables, its options and headers.
//!
//! Refuses to hold a key, and to guess: an unknown name is an error with the nearest one.

mod change;
mod config;
mod document;
mod file;
pub mod headers;
mod options;
mod proxy;

use std::collections::BTreeMap;

use url::Url;

use crate::error::{Error, Kind, Remedy, Result};
use crate::service::{Service, ServiceWire, check_name, unknown};

pub use crate::service::{nearest, units};
pub use change::{Change, apply};
pub use config::{Config, Place, StoreKind};
pub use document::Document;
pub use file::edit;
pub use options::{Arity, Dialect, IdentitySource, LoginMode, OPTIONS, Options, Row, Takers, ToolNames};
pub use proxy::Proxy;

/// The profile that is meant where none is named.
pub const DEFAULT: &str = "asistry";

/// The fields of a profile beside variables and options.
const OWN_FIELDS: &[&str] = &["service", "headers"];

/// A user's instance of a service.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Its service.
    pub service: Service,
    /// The values of the service's variables.
    pub values: BTreeMap<String, String>,
    /// Its settings of the connection.
    pub options: Options,
    /// Extra headers: name and value, with `${VAR}` as it is written.
    pub headers: Vec<(String, String)>,
    /// It is no profile of anybody, only a URL.
    pub bare: bool,
    /// The configuration has it; else it is made from its service.
    is_configured: bool,
}

impl Profile {
    /// Finds the profile of this name, in the configuration or among the services.
    ///
    /// # Errors
    /// [`Kind::Config`] for an unknown name, an unknown service or a value that is unknown or wrong.
    pub fn find(name: &str, config: &Config) -> Result<Self> {
        check_name(name)?;
        if let Some(entry) = config.profiles.get(name) {
            return Self::configured(name, entry, config);
        }
        match config.catalog.find(name)? {
            Some(service) => Self::of(name, service),
            None => {
                let mut known: Vec<String> = config.profiles.keys().cloned().collect();
                known.extend(config.catalog.names());
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                Err(unknown("profile", name, &known))
            }
        }
    }

    /// Returns the names of all profiles: those of the configuration, and the services that need nothing.
    pub fn names(config: &Config) -> Vec<String> {
        let mut names: Vec<String> = config.profiles.keys().cloned().collect();
        let services = config.catalog.names().into_iter().filter(|name| !config.has(name));
        // Errors of a service are reported where it is listed.
        names.extend(services.filter(|name| match config.catalog.find(name) {
            Ok(service) => service.is_some_and(|service| {
                service.embedded.is_some() || service.missing(&BTreeMap::new()).is_empty()
            }),
            Err(_) => true,
        }));
        names
    }

    /// Makes the profile of a bare URL: service `mcp`.
    ///
    /// # Errors
    /// [`Kind::Usage`] for what is no URL of an endpoint.
    pub fn of_url(url: &str) -> Result<Self> {
        let mut profile = Self::find("mcp", &Config::default())?;
        profile.values.insert("url".into(), url.into());
        profile.bare = true;
        profile.endpoint().map_err(|e| {
            Error::new(Kind::Usage, e.message().replacen("url ", "--url ", 1))
                .hint("begin it with https:// or http://, without a user, a password or a fragment")
        })?;
        Ok(profile)
    }

    fn of(name: &str, service: Service) -> Result<Self> {
        check_service(&service)?;
        let (values, options, headers) = Default::default();
        Ok(Self {
            name: name.to_owned(),
            service,
            values,
            options,
            headers,
            bare: false,
            is_configured: false,
        })
    }

    fn configured(name: &str, entry: &toml::Table, config: &Config) -> Result<Self> {
        let wrong = |field: &str, why: &str| {
            let error = Error::new(Kind::Config, format!("{field} of the profile {name}: {why}"));
            let profile = name.to_owned();
            error.remedy(match field {
                "service" => Remedy::SetFields { profile, settings: vec!["service=mcp".to_owned()] },
                _ => Remedy::UnsetField { profile, field: field.to_owned() },
            })
        };
        let service = entry.get("service").ok_or_else(|| wrong("service", "it is missing"))?;
        let service = service.as_str().ok_or_else(|| wrong("service", "it is the name of a service"))?;
        let found = config.catalog.find(service)?.ok_or_else(|| {
            let known = config.catalog.names();
            unknown("service", service, &known.iter().map(String::as_str).collect::<Vec<_>>())
        })?;
        let mut profile = Self { is_configured: true, ..Self::of(name, found)? };
        for (field, value) in entry {
            if let Some(row) = Row::named(field) {
                let read = row.read(&mut profile.options, value, &config.place);
                read.map_err(|why| wrong(field, &why))?;
            } else if profile.service.variables.contains_key(field) {
                let value = scalar(value).ok_or_else(|| wrong(field, "it is one value"))?;
                profile.values.insert(field.clone(), value);
            } else if field == "headers" {
                let headers = value.as_table().ok_or_else(|| wrong(field, "it is a table of headers"))?;
                profile.read_headers(headers)?;
            } else if field != "service" {
                return Err(unknown(&format!("value of the profile {name}"), field, &profile.fields()));
            }
        }
        if profile.options.dialect == Some(Dialect::Rest) && profile.service.wire == ServiceWire::Mcp {
            return Err(wrong("dialect", &format!("{} speaks MCP only", profile.service.title)));
        }
        Ok(profile)
    }

    fn read_headers(&mut self, headers: &toml::Table) -> Result<()> {
        for (name, value) in headers {
            let Some(value) = scalar(value) else {
                let why = format!("headers of the profile {}: the value of {name} is not text", self.name);
                return Err(Error::new(Kind::Config, why));
            };
            let why = match (headers::settable(name), headers::check_value(name, &value)) {
                (Err(why), _) | (_, Err(why)) => why,
                _ if self.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) => {
                    format!("the header {name} is set twice")
                }
                _ if self.is_credential(name) && headers::is_literal(&value) => {
                    let why = format!(
                        "the profile {} holds a literal value for {name}: keep credentials out of the configuration",
                        self.name
                    );
                    let (profile, header) = (self.name.clone(), name.clone());
                    return Err(Error::new(Kind::Config, why).remedy(Remedy::MoveHeader { profile, header }));
                }
                _ => {
                    self.headers.push((name.clone(), value));
                    continue;
                }
            };
            return Err(Error::new(Kind::Config, format!("headers of the profile {}: {why}", self.name)));
        }
        Ok(())
    }

    /// Says whether a header carries a credential of this profile.
    pub fn is_credential(&self, header: &str) -> bool {
        headers::carries_credential(header) || self.service.auth.carries_key(header)
    }

    /// Returns the fields that this profile can have.
    pub fn fields(&self) -> Vec<&str> {
        let variables = self.service.variables.keys().map(String::as_str);
        variables.chain(Row::stored().map(|(key, _)| key)).chain(OWN_FIELDS.iter().copied()).collect()
    }

    /// Says whether MCP is spoken to its service.
    pub fn speaks_mcp(&self) -> bool {
        self.service.wire == ServiceWire::Mcp || self.options.dialect == Some(Dialect::Mcp)
    }

    /// Checks the values that are there, whether any are missing or not.
    ///
    /// # Errors
    /// [`Kind::Config`] for an unfit value.
    pub fn check(&self) -> Result<()> {
        for (name, variable) in &self.service.variables {
            if let Some(value) = self.values.get(name) {
                variable.filled(name, value)?;
            }
        }
        let missing = !self.service.missing(&self.values).is_empty();
        if missing { Ok(()) } else { self.endpoint().map(drop) }
    }

    /// Returns where the profile's service is.
    ///
    /// # Errors
    /// [`Kind::Config`] for a missing or an unfit value.
    pub fn endpoint(&self) -> Result<Url> {
        self.service.endpoint(&self.values).map_err(|error| {
            let missing = self.service.missing(&self.values);
            if missing.is_empty() {
                return error;
            }
            if !self.is_configured {
                return error.remedy(Remedy::AddProfile { name: self.name.clone() });
            }
            let settings = missing
                .iter()
                .map(|(name, variable)| format!("{name}={}", variable.kind.example()))
                .collect();
            error.remedy(Remedy::SetFields { profile: self.name.clone(), settings })
        })
    }
}

/// Refuses a service whose fields a profile could not tell apart from its own.
fn check_service(service: &Service) -> Result<()> {
    let wrong = |why: String| {
        Err(Error::new(Kind::Config, format!("the service {}: {why}", service.name))
            .hint(format!("mend services/{}.toml", service.name)))
    };
    let taken = |name: &str| Row::named(name).is_some() || OWN_FIELDS.contains(&name);
    if let Some(name) = service.variables.keys().find(|name| taken(name)) {
        return wrong(format!("the variable {name} has the name of an option"));
    }
    let header = &service.auth.header;
    match headers::settable(header) {
        Err(why) if !header.is_empty() => wrong(why),
        _ => Ok(()),
    }
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str) -> Result<Profile> {
        Profile::find("work", &Config::parse(text, Place::default())?)
    }

    #[test]
    fn a_profile_of_the_configuration_has_values() {
        let profile =
            find("[profiles.work]\nservice='task-tracking'\nbase_url='https://h'\nworkspace_id=7").unwrap();
        assert_eq!(profile.endpoint().unwrap().as_str(), "https://h/app/api/mcp/server/7");
    }

    #[test]
    fn an_unknown_value_names_the_nearest() {
        for (wrong, near) in
            [("base_ul='https://h'", "base_url"), ("timout='5m'", "timeout"), ("header={}", "headers")]
        {
            let error = find(&format!("[profiles.work]\nservice='task-tracking'\n{wrong}")).unwrap_err();
            assert_eq!(error.advice(), Some(&*format!("did you mean {near}?")));
        }
    }

    #[test]
    fn a_profile_is_read_however_it_is_written() {
        for text in [
            "profiles.work.service = 'mcp'\nprofiles.work.url = 'https://h'\nprofiles.work.headers.X-A = 'b'",
            "profiles = { work = { service = 'mcp', url = 'https://h', headers = { X-A = 'b' } } }",
            "[profiles]\nwork = { service = 'mcp', url = 'https://h', headers.X-A = 'b' }",
            "[profiles.\"work\"]\nservice = 'mcp'\nurl = 'https://h'\n[profiles.work.headers]\nX-A = 'b'",
        ] {
            let profile = find(text).unwrap();
            assert_eq!(profile.headers, [("X-A".to_owned(), "b".to_owned())]);
            assert_eq!(profile.endpoint().unwrap().as_str(), "https://h/");
        }
    }

    #[test]
    fn a_configuration_is_no_place_for_a_credential() {
        let with =
            |header: &str| find(&format!("[profiles.work]\nservice='bob-studio'\nheaders={{{header}}}"));
        for wrong in [
            "Authorization='Bearer x'",
            "X-API-Key='1'",
            "Cookie='a=b'",
            "Host='h'",
            "X-A=\"a\\nb\"",
            "X-A=[]",
            "X-A='1', x-a='2'",
        ] {
            let error = with(wrong).map(|p| p.headers).unwrap_err();
            assert_eq!(error.kind(), Kind::Config, "{wrong}");
        }
        assert!(with("Authorization='Bearer ${TOKEN}', X-A='${B}', X-C='d'").is_ok());
    }

    #[test]
    fn a_bare_url_means_any_mcp_service() {
        assert_eq!(
            Profile::of_url("http://127.0.0.1:1/mcp?x=1").unwrap().endpoint().unwrap().as_str(),
            "http://127.0.0.1:1/mcp?x=1"
        );
        assert_eq!(Profile::of_url("nonsense").unwrap_err().kind(), Kind::Usage);
    }
}
