//! Builds everything that one profile needs to connect: endpoint, credential, HTTP client, settings.
//!
//! Takes plain values; `commands/profile_in_use.rs` reads the command line and the environment.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::auth::oauth::{LoginParts, OAuth, Place};
use crate::auth::{Authorizer, Credential, ExtraHeaders, Route, is_loopback};
use crate::error::{RemedyWriter, Result};
use crate::gate::Gate;
use crate::net::{Net, Proxies, TlsOptions};
use crate::profile::{Dialect, Options, Profile, ToolNames};
use crate::protocol::driver::Prompt;
use crate::protocol::http::origin_and_path;
use crate::protocol::retry::RetryPolicy;
use crate::protocol::secrets::NewKeys;
use crate::protocol::settings::{Protocol, Settings, SignIn};
use crate::protocol::tool_rules::ToolRules;
use crate::remote::Remote;
use crate::service::{AuthScheme, Service, ServiceWire};
use crate::state::State;
use crate::trace::Trace;

const SILENCE: Duration = Duration::from_secs(60);
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The parts of a connection.
pub struct ConnectionParts {
    /// The profile.
    pub profile: Profile,
    /// Options of the command line and the profile.
    pub options: Options,
    /// The key, or the key store to find it in.
    pub credential: Credential,
    /// Extra request headers.
    pub extra: ExtraHeaders,
    /// The profile's proxy.
    pub proxy: Option<Url>,
    /// `SSL_CERT_FILE`: root certificates used if the options name none.
    pub ca_file: Option<PathBuf>,
    /// What a login needs, where one can be made.
    pub login: Option<LoginParts>,
    /// The `--trace` file.
    pub trace: Option<Arc<Trace>>,
    /// The state directory.
    pub state: Option<State>,
}

/// A profile that is ready to connect.
pub struct Connection {
    /// The profile.
    pub profile: Profile,
    /// Options of the command line and the profile.
    pub options: Options,
    /// The service's endpoint.
    pub endpoint: Url,
    /// Sends the requests.
    pub remote: Arc<Remote>,
    /// The `--trace` file.
    pub trace: Option<Arc<Trace>>,
    /// The state directory.
    pub state: Option<State>,
}

impl Connection {
    /// Prepares a connection; opens and sends nothing yet.
    ///
    /// # Errors
    /// [`Kind::Config`] for an invalid profile, or for a key that must not be sent to its endpoint.
    pub fn new(parts: ConnectionParts) -> Result<Self> {
        let ConnectionParts { profile, options, credential, extra, proxy, ca_file, login, trace, state } =
            parts;
        let endpoint = profile.endpoint()?;
        let allow_http = options.allow_http == Some(true);
        let route = Route { endpoint: &endpoint, proxy: proxy.as_ref(), allow_http };
        let (tls, proxies) = (tls_of(&options, ca_file), proxies_of(&endpoint, proxy.clone()));
        let keys = match &credential {
            Credential::Stored(keys) if !extra.carries_credential() => Some(keys.clone()),
            _ => None,
        };
        let mut authorizer = Authorizer::new(&profile, &route, credential, extra)?;
        if let (Some(keys), Some(parts)) = (keys, login.filter(|_| profile.service.auth.takes_logins())) {
            let place = Place {
                profile: profile.name.clone(),
                endpoint: endpoint.clone(),
                is_oauth: profile.service.auth.scheme == AuthScheme::Oauth,
                allow_http,
                timeout: options.timeout,
            };
            let proxies = proxy.map_or(Proxies::Environment, Proxies::One);
            authorizer = authorizer.with_login(OAuth::new(place, parts, keys, tls.clone(), proxies));
        }
        let net = Net::new(endpoint.clone(), tls, proxies);
        let remote = Arc::new(Remote::new(net, authorizer, Gate::new(profile.service.rate), trace.clone()));
        Ok(Self { profile, options, endpoint, remote, trace, state })
    }

    /// Returns the settings of a conversation; `advise` formats its remedies.
    pub fn settings(&self, advise: RemedyWriter) -> Settings {
        let (service, options) = (&self.profile.service, &self.options);
        let silence = options.timeout.unwrap_or(SILENCE);
        Settings {
            endpoint: Arc::new(self.endpoint.clone()),
            place: origin_and_path(&self.endpoint).into(),
            service: (service.name.as_str().into(), service.title.as_str().into()),
            protocol: if self.profile.speaks_mcp() { Protocol::Mcp } else { Protocol::AgentStack },
            secrets: Arc::new(service.secrets.clone()),
            new_keys: NewKeys::default(),
            hints: service.hints.iter().map(|hint| (hint.status, hint.text.clone())).collect(),
            wire: options.transport.unwrap_or(service.wire_choice()),
            remembered: self.state.as_ref().and_then(|state| state.wire_of(&self.endpoint)),
            no_sessions: self.state.as_ref().is_some_and(|state| state.opens_no_sessions(&self.endpoint)),
            era: options.era.flatten(),
            max_time: options.max_time,
            until: None,
            pushes: service.pushes,
            keeps_lists: false,
            retry: self.retry_policy().into(),
            call_silence: silence,
            silence,
            tools: tool_rules(service, options),
            client_filters: false,
            known_tools: None,
            max_result: None,
            login_at_opening: Prompt::Allowed,
            sign_in: SignIn::None,
            seed: [0; 16],
            advise,
            client_info: concat!(r#"{"name":"asistry","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#)
                .into(),
        }
    }

    fn retry_policy(&self) -> RetryPolicy {
        let (service, options) = (&self.profile.service, &self.options);
        let mut busy = service.busy.clone();
        if options.retry_503 == Some(false) {
            busy.statuses.retain(|status| *status != 503);
        }
        RetryPolicy {
            max_wait: options.max_wait.unwrap_or(MAX_WAIT),
            unhinted_pauses: service.unhinted_429_pauses.clone(),
            repeats_503: options.retry_503 == Some(true),
            busy,
        }
    }
}

/// Returns the rules about the tools of a service under these options.
pub fn tool_rules(service: &Service, options: &Options) -> ToolRules {
    ToolRules {
        allow: options.allow_tools.clone().unwrap_or_default(),
        deny: options.deny_tools.clone().unwrap_or_default(),
        hidden: options.hidden_tools.clone().unwrap_or_else(|| service.hidden_tools.clone()),
        read_only: options.read_only == Some(true),
        without_store: match (service.wire, options.dialect) {
            (ServiceWire::AgentStack, Some(Dialect::Mcp)) => service.secrets.new_keys.clone(),
            _ => Vec::new(),
        },
        runner: service.action_runner.clone(),
        safe_names: options.tool_names.map_or(service.safe_tool_names, |names| names == ToolNames::Safe),
    }
}

fn tls_of(options: &Options, ca_file: Option<PathBuf>) -> TlsOptions {
    TlsOptions {
        ca_file: options.ca_file.clone().or(ca_file),
        client_cert: options.client_cert.clone(),
        insecure: options.insecure == Some(true),
    }
}

/// Ignores the environment's proxy for plain `http` to this machine: it would read a key that may be sent
/// unencrypted only because it stays here.
fn proxies_of(endpoint: &Url, of_profile: Option<Url>) -> Proxies {
    match of_profile {
        Some(url) => Proxies::One(url),
        None if endpoint.scheme() == "http" && is_loopback(endpoint) => Proxies::None,
        None => Proxies::Environment,
    }
}
