//! Everything one profile needs to talk: its endpoint, its credential, the way there, what is promised on it.
//!
//! Takes plain values. Refuses to read a command line, the environment or a terminal: `commands/profile_in_use.rs` does.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::auth::{Authorizer, Credential, ExtraHeaders, Way, is_loopback};
use crate::error::{Advise, Error, Kind, Result};
use crate::net::{Net, Proxies, TlsOptions};
use crate::profile::{Options, Profile, ToolNames};
use crate::protocol::http::origin_and_path;
use crate::protocol::retry::RetryPolicy;
use crate::protocol::settings::Settings;
use crate::protocol::tool_rules::ToolRules;
use crate::remote::Remote;
use crate::service::ServiceWire;
use crate::state::State;
use crate::trace::Trace;

const SILENCE: Duration = Duration::from_secs(60);
const MAX_WAIT: Duration = Duration::from_secs(60);

/// What a connection is made from.
pub struct Given {
    /// The profile.
    pub profile: Profile,
    /// What is asked of the connection, the profile's own options among it.
    pub options: Options,
    /// Its key, or where that is found.
    pub credential: Credential,
    /// Headers that were asked for.
    pub extra: ExtraHeaders,
    /// A proxy of its own.
    pub proxy: Option<Url>,
    /// Further roots, where the options name none.
    pub ca_file: Option<PathBuf>,
    /// The file that the conversation is written into.
    pub trace: Option<Arc<Trace>>,
    /// Where things are remembered.
    pub state: Option<State>,
}

/// A profile with everything that is needed to talk to its service.
pub struct Connection {
    /// The profile.
    pub profile: Profile,
    /// What is asked of the connection.
    pub options: Options,
    /// Its service's endpoint.
    pub endpoint: Url,
    /// The way there.
    pub remote: Arc<Remote>,
    /// The file that the conversation is written into.
    pub trace: Option<Arc<Trace>>,
    /// Where things are remembered.
    pub state: Option<State>,
}

impl Connection {
    /// Makes everything ready; nothing is opened or sent yet.
    ///
    /// # Errors
    /// What is wrong with the profile, or keeps its key from going to its endpoint.
    pub fn new(given: Given) -> Result<Self> {
        let Given { profile, options, credential, extra, proxy, ca_file, trace, state } = given;
        let endpoint = profile.endpoint()?;
        let allow_http = options.allow_http == Some(true);
        let way = Way { endpoint: &endpoint, proxy: proxy.as_ref(), allow_http };
        let authorizer = Authorizer::new(&profile, &way, credential, extra)?;
        let net = Net::new(endpoint.clone(), tls_of(&options, ca_file), proxies_of(&endpoint, proxy));
        let remote = Arc::new(Remote::new(net, authorizer, trace.clone()));
        Ok(Self { profile, options, endpoint, remote, trace, state })
    }

    /// Returns the settings of a conversation; `advise` writes remedies for whoever holds it.
    pub fn settings(&self, advise: Advise) -> Settings {
        let (service, options) = (&self.profile.service, &self.options);
        let silence = options.timeout.unwrap_or(SILENCE);
        Settings {
            endpoint: Arc::new(self.endpoint.clone()),
            place: origin_and_path(&self.endpoint).into(),
            wire: options.transport.unwrap_or_default(),
            remembered: self.state.as_ref().and_then(|state| state.wire_of(&self.endpoint)),
            era: options.era.flatten(),
            max_time: options.max_time,
            pushes: service.pushes,
            retry: RetryPolicy {
                max_wait: options.max_wait.unwrap_or(MAX_WAIT),
                unhinted_is_final: service.unhinted_429_is_final,
                repeats_503: options.retry_503 == Some(true),
            },
            call_silence: silence,
            silence,
            tools: ToolRules {
                allow: options.allow_tools.clone().unwrap_or_default(),
                deny: options.deny_tools.clone().unwrap_or_default(),
                hidden: options.hidden_tools.clone().unwrap_or_else(|| service.hidden_tools.clone()),
                read_only: options.read_only == Some(true),
                safe_names: options.tool_names == Some(ToolNames::Safe),
            },
            max_result: None,
            advise,
            client_info: concat!(r#"{"name":"asistry","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#)
                .into(),
        }
    }
}

/// Makes sure that this version speaks the wire of a profile's service.
///
/// # Errors
/// [`Kind::Config`] where it does not.
pub fn check_wire(profile: &Profile) -> Result<()> {
    let service = &profile.service;
    match service.wire {
        ServiceWire::Mcp => Ok(()),
        ServiceWire::AgentStack => Err(Error::new(
            Kind::Config,
            format!(
                "{} speaks a wire of its own, which this version of asistry does not speak yet",
                service.title
            ),
        )
        .hint(format!("use its MCP endpoint: --url {}", service.endpoint))),
    }
}

fn tls_of(options: &Options, ca_file: Option<PathBuf>) -> TlsOptions {
    TlsOptions {
        ca_file: options.ca_file.clone().or(ca_file),
        client_cert: options.client_cert.clone(),
        insecure: options.insecure == Some(true),
    }
}

/// A proxy of the environment has no part in plain `http` that stays on this machine: it would read a key that
/// is allowed in the clear only because it stays here.
fn proxies_of(endpoint: &Url, of_profile: Option<Url>) -> Proxies {
    match of_profile {
        Some(url) => Proxies::One(url),
        None if endpoint.scheme() == "http" && is_loopback(endpoint) => Proxies::Avoided,
        None => Proxies::OfTheEnvironment,
    }
}
