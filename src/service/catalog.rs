//! The known services: the built-in ones and those of `services/NAME.toml`.
//!
//! Refuses a file with the name of a built-in service, whose key would silently go elsewhere. Reads a file only when
//! its service is used, so that a broken file affects nothing else.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use http::HeaderName;

use super::file::parse;
use super::{AuthScheme, Service, VariableKind};
use crate::error::{Error, Kind, Result};

/// Maximum length of a service's or a profile's name.
const LONGEST_NAME: usize = 64;

/// The known services.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    directory: Option<PathBuf>,
}

impl Catalog {
    /// Includes the services of this directory, which may be missing.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory: Some(directory) }
    }

    /// Finds a service by name.
    ///
    /// # Errors
    /// [`Kind::Config`] for an invalid file, or one with the name of a built-in service.
    pub fn find(&self, name: &str) -> Result<Option<Service>> {
        let built_in = Service::built_in(name);
        let Some(path) = self.path(name) else { return Ok(built_in) };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(built_in),
            Err(e) => {
                return Err(
                    Error::new(Kind::Config, format!("{} cannot be read: {e}", path.display())).caused_by(e)
                );
            }
        };
        if Service::names().any(|known| known.eq_ignore_ascii_case(name)) {
            let why = format!("{} has the name of a built-in service", path.display());
            return Err(Error::new(Kind::Config, why).hint("give the file another name"));
        }
        let service = Service { name: name.to_owned(), ..parse(&text, &path)? };
        check(&service).map_err(|why| {
            Error::new(Kind::Config, format!("{} is not valid: {why}", path.display()))
                .hint("fix the file; the built-in services have the same format")
        })?;
        Ok(Some(service))
    }

    /// Refuses a profile that has the name of another service than its own: its keys would silently go elsewhere.
    ///
    /// # Errors
    /// [`Kind::Usage`].
    pub fn check_profile(&self, name: &str, service: &str) -> Result<()> {
        if self.find(name)?.is_none_or(|own| own.name == service) {
            return Ok(());
        }
        let why = format!("{name} is the name of a service and cannot be a profile of another one");
        Err(Error::new(Kind::Usage, why).hint("give the profile another name"))
    }

    /// Returns the names of all services, the built-in ones first.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Service::names().map(str::to_owned).collect();
        names
            .extend(self.own_names().into_iter().filter(|name| !Service::names().any(|known| known == name)));
        names
    }

    /// Returns the prefixes of the keys of all services. Reads the directory's files and leaves out broken ones.
    pub fn key_prefixes(&self) -> Vec<String> {
        let services = self.names().into_iter().filter_map(|name| self.find(&name).ok().flatten());
        services.flat_map(|service| service.masked_prefixes().to_vec()).collect()
    }

    /// Returns the names of the directory's services, sorted.
    pub fn own_names(&self) -> Vec<String> {
        let entries = self.directory.as_ref().and_then(|directory| std::fs::read_dir(directory).ok());
        let name = |path: &Path| {
            let is_service = path.extension().is_some_and(|ending| ending == "toml");
            path.file_stem().and_then(|stem| stem.to_str()).filter(|_| is_service).map(str::to_owned)
        };
        let mut names: Vec<String> = entries
            .into_iter()
            .flatten()
            .filter_map(|entry| name(&entry.ok()?.path()))
            .filter(|name| check_name(name).is_ok())
            .collect();
        names.sort();
        names
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        let directory = self.directory.as_ref()?;
        check_name(name).ok()?;
        Some(directory.join(format!("{name}.toml")))
    }
}

/// Checks the name of a service or a profile.
///
/// # Errors
/// [`Kind::Config`] with the allowed form.
pub fn check_name(name: &str) -> Result<()> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let fits = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(inner)
        && name.len() <= LONGEST_NAME;
    if fits {
        return Ok(());
    }
    let why = format!("{} cannot be a name", serde_json::Value::from(name));
    Err(Error::new(Kind::Config, why)
        .hint("a name has up to 64 letters, digits, “.”, “_” and “-”, and begins with a letter or a digit"))
}

/// Checks a user's service.
fn check(service: &Service) -> Result<(), String> {
    if service.embedded.is_some() {
        return Err("embedded is for the built-in sandbox alone".into());
    }
    let header = &service.auth.header;
    if service.auth.scheme == AuthScheme::Header && HeaderName::try_from(header).is_err() {
        return Err("auth.scheme = \"header\" needs the name of a header in auth.header".into());
    }
    service.secrets.check()?;
    check_names(service)?;
    service.endpoint(&examples(service)).map(drop).map_err(|e| e.message().to_owned())
}

/// Checks that the endpoint uses exactly the declared variables.
fn check_names(service: &Service) -> Result<(), String> {
    let mut rest = service.endpoint.as_str();
    while let Some((_, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            return Err("the endpoint has an unmatched {".into());
        };
        if !service.variables.contains_key(name) {
            return Err(format!("the endpoint uses {{{name}}}, but there is no [variables.{name}]"));
        }
        rest = after;
    }
    for name in service.variables.keys() {
        let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !plain || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Err(format!("the variable {name} must have only lower-case letters, digits and “_”"));
        }
        if !service.endpoint.contains(&format!("{{{name}}}")) {
            return Err(format!("the endpoint does not use the variable {name}"));
        }
    }
    Ok(())
}

/// Returns example values with which the endpoint must be a valid URL.
fn examples(service: &Service) -> BTreeMap<String, String> {
    let value = |kind: VariableKind| match kind {
        VariableKind::Url => "https://service.example",
        VariableKind::Segment => "x",
    };
    let open = service.variables.iter().filter(|(_, variable)| variable.default.is_none());
    open.map(|(name, variable)| (name.clone(), value(variable.kind).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRM: &str = "title = 'CRM'\nendpoint = 'https://{tenant}.crm.example/mcp'\nwire = 'mcp'\n\
        [auth]\nscheme = 'header'\nheader = 'X-CRM-Key'\n\
        [variables.tenant]\nkind = 'segment'\nabout = 'your tenant'\n";

    fn catalog(files: &[(&str, &str)]) -> (tempfile::TempDir, Catalog) {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let catalog = Catalog::new(directory.path().to_owned());
        (directory, catalog)
    }

    #[test]
    fn a_service_of_the_user_stands_beside_the_built_in_ones() {
        let (_directory, catalog) = catalog(&[("crm.toml", CRM), ("notes.txt", ""), (".x.toml", "")]);
        assert_eq!(catalog.own_names(), ["crm"]);
        assert!(catalog.names().contains(&"asistry".to_owned()));
        let service = catalog.find("crm").unwrap().unwrap();
        let values = BTreeMap::from([("tenant".to_owned(), "acme".to_owned())]);
        assert_eq!(service.endpoint(&values).unwrap().as_str(), "https://acme.crm.example/mcp");
        assert_eq!(service.name, "crm");
        assert!(catalog.find("../crm").unwrap().is_none());
        assert!(catalog.find("nothing").unwrap().is_none());
    }

    #[test]
    fn the_name_of_a_built_in_service_is_refused() {
        let (_directory, catalog) = catalog(&[("asistry.toml", CRM)]);
        assert!(catalog.find("asistry").unwrap_err().message().contains("built-in"));
        assert!(catalog.find("zuko").unwrap().is_some());
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_file() {
        for (from, to, why) in [
            ("title = 'CRM'", "title = 'CRM'\nembedded = 'asistry'", "embedded"),
            ("'https://{tenant}", "'ftp://{tenant}", "neither http nor https"),
            ("'https://{tenant}", "'https://u:p@{tenant}", "a user or a password"),
            ("'https://{tenant}", "'https://{tenent}", "[variables.tenent]"),
            ("'https://{tenant}", "'https://{tenant", "the endpoint"),
            ("'https://{tenant}.crm", "'https://crm", "does not use the variable tenant"),
            ("header = 'X-CRM-Key'", "header = 'X CRM'", "auth.header"),
            ("kind = 'segment'", "kind = 'segment'\ndefault = 'a/b'", "tenant cannot be"),
            ("kind = 'segment'", "kind = 'segmnt'", "line 8"),
            ("scheme = 'header'", "sceme = 'header'", "line 5"),
        ] {
            let (_directory, catalog) = catalog(&[("crm.toml", &CRM.replace(from, to))]);
            let error = catalog.find("crm").unwrap_err();
            assert!(error.message().contains("crm.toml") && error.message().contains(why), "{why}: {error}");
        }
    }

    #[test]
    fn names_are_plain() {
        for name in ["a", "A.b-c_1", "1"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", ".a", "-a", "a/b", "a b", "ü", &"a".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
