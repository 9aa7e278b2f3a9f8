//! Looks up names for completion without the network: profiles, services, tools of the last list, stored keys.
//!
//! Never opens a key store and never fails: what cannot be read is left out.

use super::Candidate;
use super::place::{Place, Want};
use crate::commands::conversation::Tool;
use crate::commands::environment::{Environment, variable};
use crate::commands::profile_in_use::find_named;
use crate::connection::tool_rules;
use crate::profile::{DEFAULT, Profile};
use crate::protocol::http::origin_and_path;
use crate::protocol::settings::Protocol;
use crate::state::keys::KeyRecord;

/// The names found; only the kinds that the place wants are looked up.
#[derive(Debug, Default)]
pub struct Known {
    pub profiles: Vec<Candidate>,
    pub tools: Vec<Tool>,
    pub keys: Vec<Candidate>,
    pub services: Vec<Candidate>,
}

impl Known {
    /// Looks up the names that a place wants.
    pub fn at(place: &Place<'_>, environment: &Environment) -> Self {
        let mut known = Self::default();
        let name = place.profile.clone().or_else(|| variable("ASISTRY_PROFILE"));
        let url = place.url.clone().or_else(|| variable("ASISTRY_URL"));
        for want in &place.wants {
            match want {
                Want::Profiles => known.profiles = profiles(environment),
                Want::Keys => known.keys = keys(name.as_deref(), url.as_deref(), environment),
                Want::Services => known.services = services(environment),
                Want::Tools | Want::ToolArgument { .. } if known.tools.is_empty() => {
                    known.tools = tools(name.as_deref(), url.as_deref(), environment).unwrap_or_default();
                }
                _ => {}
            }
        }
        known
    }
}

fn profiles(environment: &Environment) -> Vec<Candidate> {
    let config = environment.config().unwrap_or_default();
    let about = |name: &str| {
        let profile = Profile::find(name, &config).ok()?;
        let place = profile.endpoint().ok().filter(|_| !profile.values.is_empty());
        Some(place.map_or(profile.service.title, |endpoint| origin_and_path(&endpoint)))
    };
    let named = Profile::names(&config).into_iter();
    named.map(|name| Candidate::new(name.as_str(), &about(&name).unwrap_or_default())).collect()
}

fn services(environment: &Environment) -> Vec<Candidate> {
    let catalog = environment.config().unwrap_or_default().catalog;
    let title = |name: &str| catalog.find(name).ok().flatten().map(|service| service.title);
    let named = catalog.names().into_iter();
    named.map(|name| Candidate::new(name.as_str(), &title(&name).unwrap_or_default())).collect()
}

/// Returns the tools last listed at the endpoint with any key: to find out which key is current, a key store
/// would have to be opened.
fn tools(name: Option<&str>, url: Option<&str>, environment: &Environment) -> Option<Vec<Tool>> {
    let profile = find_named(name, url, &environment.config().unwrap_or_default()).ok()?;
    let rules = tool_rules(&profile.service, &profile.options);
    #[cfg(feature = "sandbox")]
    if let Some(service) = &profile.service.embedded {
        let listed = crate::sandbox::embedded_tools(service);
        let raws = listed.iter().filter_map(|tool| serde_json::value::to_raw_value(tool).ok());
        return Some(Tool::read_all(&raws.collect::<Vec<_>>(), rules, |_| {}));
    }
    let protocol = if profile.speaks_mcp() { Protocol::Mcp } else { Protocol::AgentStack };
    let listed = environment.cache()?.last_tools(&profile.endpoint().ok()?, protocol)?;
    Some(Tool::read_all(&listed, rules, |_| {}))
}

fn keys(name: Option<&str>, url: Option<&str>, environment: &Environment) -> Vec<Candidate> {
    let environment = environment.without_key();
    let list = environment.state().and_then(|state| state.keys().ok()).unwrap_or_default();
    let profile = name.map(str::to_owned).unwrap_or_else(|| {
        let found = find_named(None, url, &environment.config().unwrap_or_default());
        found.map_or_else(|_| DEFAULT.to_owned(), |profile| profile.name)
    });
    let about = |record: &KeyRecord| {
        let deposit = record.deposit.as_ref();
        deposit.map(|deposit| format!("{} for {}", deposit.shown, deposit.origin)).unwrap_or_default()
    };
    list.of_profile(&profile).map(|record| Candidate::new(&record.name, &about(record))).collect()
}
