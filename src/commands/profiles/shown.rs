//! `asistry profiles list` and `show`.
//!
//! Refuses to show what `${VAR}` stands for: it is shown as it is written.

use serde_json::{Map, Value, json};

use crate::commands::arguments::Common;
use crate::commands::environment::Environment;
use crate::commands::output::Output;
use crate::error::Result;
use crate::profile::{self, Config, Dialect, Options, Profile, ToolNames};
use crate::service::ServiceWire;

/// Prints all profiles, the broken ones too.
pub fn list(environment: &Environment, output: &Output) -> Result<()> {
    let config = Config::read(environment.config_place()?)?;
    let names = Profile::names(&config).into_iter();
    let rows: Vec<Row> = names.map(|name| Row::of(name, &config)).collect();
    let all: Vec<Value> = rows.iter().map(|row| row.json(&config)).collect();
    let cells = |row: &Row| {
        let mark = if row.name == default_of(&config) { "default" } else { "" };
        vec![row.name.clone(), row.service(), row.place(), mark.to_owned()]
    };
    let cells: Vec<_> = rows.iter().map(cells).collect();
    output.print_rows(&all.into(), &["PROFILE", "SERVICE", "WHERE", ""], &cells)
}

/// Prints one profile.
pub fn show(common: &Common, name: Option<&str>, environment: &Environment, output: &Output) -> Result<()> {
    let config = Config::read(environment.config_place()?)?;
    let name = name.or(common.profile.as_deref()).unwrap_or_else(|| default_of(&config)).to_owned();
    let profile = Profile::find(&name, &config)?;
    let layers = [
        ("command line or environment", common.options()),
        ("profile", profile.options.clone()),
        ("environment", Options { ca_file: environment.ca_file(), ..Options::default() }),
        ("service", of_service(&profile)),
    ];
    let row = Row { name, profile: Ok(profile) };
    let Ok(profile) = &row.profile else { return Ok(()) };
    let mut shown = row.json(&config);
    shown["values"] = values(profile).into_iter().map(sourced).collect::<Map<_, _>>().into();
    let headers = profile.headers.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
    for (name, value) in of_data(profile) {
        shown[name] = value.into();
    }
    shown["headers"] = headers.collect::<Map<_, _>>().into();
    shown["options"] = options(&layers).into_iter().map(sourced).collect::<Map<_, _>>().into();
    let mark = if row.name == default_of(&config) { "default" } else { "" };
    let mut rows = vec![
        vec!["name".to_owned(), row.name.clone(), mark.to_owned()],
        vec!["service".to_owned(), row.service(), profile.service.title.clone()],
        vec!["endpoint".to_owned(), row.place(), String::new()],
    ];
    rows.extend(of_data(profile).into_iter().map(|(name, value)| vec![name.into(), value, "service".into()]));
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    };
    rows.extend(
        values(profile).iter().map(|(name, value, source)| vec![name.clone(), text(value), source.clone()]),
    );
    let headers = profile.headers.iter();
    rows.extend(
        headers.map(|(name, value)| vec![format!("headers.{name}"), value.clone(), "profile".into()]),
    );
    for ((name, value, source), (_, option)) in options(&layers).into_iter().zip(profile::Row::stored()) {
        let shown = if value.is_null() { option.default.to_owned() } else { text(&value) };
        rows.push(vec![name, shown, source]);
    }
    output.print_rows(&shown, &["NAME", "VALUE", "FROM"], &rows)
}

/// One profile, or what is wrong with it.
struct Row {
    name: String,
    profile: Result<Profile>,
}

impl Row {
    fn of(name: String, config: &Config) -> Self {
        let profile = Profile::find(&name, config);
        Self { profile: profile.and_then(|profile| profile.check().map(|()| profile)), name }
    }

    fn service(&self) -> String {
        self.profile.as_ref().map(|profile| profile.service.name.clone()).unwrap_or_default()
    }

    fn missing(&self) -> Vec<String> {
        let missing = |profile: &Profile| {
            let missing = profile.service.missing(&profile.values);
            missing.into_iter().map(|(name, _)| name.to_owned()).collect()
        };
        let complete = |profile: &&Profile| profile.service.embedded.is_none();
        self.profile.as_ref().ok().filter(complete).map(missing).unwrap_or_default()
    }

    fn endpoint(&self) -> Option<String> {
        self.profile.as_ref().ok()?.endpoint().ok().map(String::from)
    }

    /// Where it is, or why it is nowhere.
    fn place(&self) -> String {
        match (&self.profile, self.endpoint()) {
            (Err(error), _) => error.message().to_owned(),
            (Ok(_), Some(endpoint)) => endpoint,
            (Ok(profile), None) if profile.service.embedded.is_some() => "in this process".into(),
            (Ok(_), None) => format!("needs {}", self.missing().join(", ")),
        }
    }

    fn json(&self, config: &Config) -> Value {
        let profile = self.profile.as_ref().ok();
        json!({
            "name": self.name,
            "service": profile.map(|profile| profile.service.name.as_str()),
            "title": profile.map(|profile| profile.service.title.as_str()),
            "endpoint": self.endpoint(),
            "missing": self.missing(),
            "default": self.name == default_of(config),
            "configured": config.has(&self.name),
            "problem": self.profile.as_ref().err().map(|error| error.message()),
        })
    }
}

/// A name, its value, and where that comes from.
type Sourced = (String, Value, String);

fn sourced((name, value, source): Sourced) -> (String, Value) {
    (name, json!({"value": value, "source": source}))
}

fn default_of(config: &Config) -> &str {
    config.profile.as_deref().unwrap_or(profile::DEFAULT)
}

/// What the service's data says that no option changes.
fn of_data(profile: &Profile) -> Vec<(&'static str, String)> {
    let facts = [("limits", profile.service.limits()), ("scopes", profile.service.auth.scopes.join(" "))];
    facts.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

fn of_service(profile: &Profile) -> Options {
    let hidden = &profile.service.hidden_tools;
    Options {
        transport: profile.service.json_only.then(|| profile.service.wire_choice()),
        dialect: (profile.service.wire == ServiceWire::AgentStack).then_some(Dialect::Rest),
        retry_503: profile.service.busy.statuses.contains(&503).then_some(true),
        hidden_tools: (!hidden.is_empty()).then(|| hidden.clone()),
        tool_names: profile.service.safe_tool_names.then_some(ToolNames::Safe),
        ..Options::default()
    }
}

fn values(profile: &Profile) -> Vec<Sourced> {
    let value = |(name, variable): (&String, &crate::service::Variable)| {
        let (value, source) = match (profile.values.get(name), &variable.default) {
            (Some(value), _) => (Some(value), "profile"),
            (None, Some(default)) => (Some(default), "default"),
            (None, None) => (None, "missing"),
        };
        (name.clone(), value.cloned().map_or(Value::Null, Value::from), source.to_owned())
    };
    profile.service.variables.iter().map(value).collect()
}

fn options(layers: &[(&str, Options)]) -> Vec<Sourced> {
    let option = |(name, row): (&str, &profile::Row)| {
        let said = layers.iter().find_map(|(source, options)| Some((row.shown(options)?, *source)));
        let (value, source) = said.unwrap_or((Value::Null, "default"));
        (name.to_owned(), value, source.to_owned())
    };
    profile::Row::stored().map(option).collect()
}
