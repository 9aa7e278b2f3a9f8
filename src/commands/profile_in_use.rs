//! From what was typed to what it means: the profile, its endpoint, its credential, the remote side.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::arguments::Common;
use super::ask::Asker;
use super::environment::{Environment, variable};
use crate::auth::keys::Found;
use crate::auth::{Authorizer, Credential, ExtraHeaders, read_header_file};
use crate::error::{Error, Kind, Result};
use crate::net::{Net, TlsOptions};
use crate::profile::{self, Profile};
use crate::protocol::bridge::{Settings, ToolRules, Transport};
use crate::protocol::retry::RetryPolicy;
use crate::remote::Remote;
#[cfg(feature = "sandbox")]
use crate::secret::Secret;
use crate::service::DialectName;
use crate::state::State;
use crate::trace::Trace;

const SILENCE: Duration = Duration::from_secs(60);

/// A profile with everything that is needed to talk to its service.
pub struct ProfileInUse {
    /// The profile.
    pub profile: Profile,
    /// Its service's endpoint.
    pub endpoint: Url,
    /// The way there.
    pub remote: Arc<Remote>,
    /// The file that the conversation is written into.
    pub trace: Option<Arc<Trace>>,
    /// Where things are remembered.
    pub state: Option<State>,
    /// Holds the embedded sandbox as long as the profile is in use.
    #[cfg(feature = "sandbox")]
    _sandbox: Option<crate::sandbox::Sandbox>,
}

impl ProfileInUse {
    /// Finds the profile and makes its remote side ready; nothing is sent yet.
    ///
    /// # Errors
    /// What is wrong with the command line, the configuration or the key.
    pub async fn prepare(common: &Common, environment: &Environment) -> Result<Self> {
        let key = environment.key().map(|secret| Found {
            secret,
            forced: false,
            place: "in ASISTRY_API_KEY".into(),
        });
        Self::prepare_with(common, environment, key).await
    }

    /// As [`Self::prepare`], with this key instead of any other.
    ///
    /// # Errors
    /// What is wrong with the command line, the configuration or the key.
    pub async fn prepare_with(
        common: &Common,
        environment: &Environment,
        key: Option<Found>,
    ) -> Result<Self> {
        let profile = find(common, environment)?;
        if profile.service.dialect == DialectName::Agentstack {
            let title = &profile.service.title;
            return Err(Error::new(
                Kind::Config,
                format!("{title} speaks a wire of its own, which this version of asistry does not speak yet"),
            )
            .hint(format!("use its MCP endpoint: --url {}", profile.service.endpoint)));
        }
        let extra = extra_headers(common)?;
        let embedded = profile.service.embedded;
        #[cfg(feature = "sandbox")]
        let (profile, key, sandbox) = start_embedded(profile, key, environment).await?;
        let endpoint = profile.endpoint()?;
        let credential = match key {
            Some(key) => Credential::Given(key),
            None => Credential::Stored(Arc::new(
                environment.keys(&environment.config()?, Asker::new(common.no_input, environment))?,
            )),
        };
        let authorizer =
            Authorizer::new(&profile, &endpoint, credential, extra)?.guarded(&endpoint, common.allow_http)?;
        if common.insecure {
            crate::ui::say(
                "asistry: --insecure: no certificate is checked; anyone on the way can read the key",
            );
        }
        let tls = TlsOptions {
            ca_file: common.ca_file.clone(),
            client_cert: common.client_cert.clone(),
            insecure: common.insecure,
        };
        let trace = common.trace.as_deref().map(Trace::create).transpose()?.map(Arc::new);
        let net = Net::new(endpoint.clone(), tls);
        let remote = Arc::new(Remote::new(net, authorizer, common.max_time, trace.clone()));
        Ok(Self {
            profile,
            endpoint,
            remote,
            trace,
            state: environment.state().filter(|_| !embedded),
            #[cfg(feature = "sandbox")]
            _sandbox: sandbox,
        })
    }

    /// Returns the settings of a conversation with this profile.
    pub fn settings(&self, common: &Common) -> Settings {
        let service = &self.profile.service;
        Settings {
            endpoint: Arc::new(self.endpoint.clone()),
            place: crate::protocol::http::origin_and_path(&self.endpoint).into(),
            transport: Transport::Auto,
            remembered: self.state.as_ref().and_then(|state| state.wire_of(&self.endpoint)),
            pushes: service.pushes,
            retry: RetryPolicy {
                max_wait: common.max_wait,
                unhinted_is_final: service.unhinted_429_is_final,
            },
            call_silence: common.timeout.unwrap_or(SILENCE),
            silence: common.timeout.unwrap_or(SILENCE),
            tools: ToolRules { hidden: service.hidden_tools.clone(), ..ToolRules::default() },
            max_result: None,
            client_info: concat!(r#"{"name":"asistry","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#)
                .into(),
        }
    }
}

/// Finds the profile that the options and the configuration name.
///
/// # Errors
/// What is wrong with the options or the configuration.
pub fn find(common: &Common, environment: &Environment) -> Result<Profile> {
    match (&common.profile, &common.url) {
        (None, Some(url)) => Profile::of_url(url),
        (Some(name), None) => Profile::find(name, &environment.config()?),
        (None, None) => {
            let config = environment.config()?;
            Profile::find(config.profile.as_deref().unwrap_or(profile::DEFAULT), &config)
        }
        (Some(name), Some(url)) => {
            let mut profile = Profile::find(name, &environment.config()?)?;
            let target = Profile::of_url(url)?;
            profile.service.endpoint = target.service.endpoint;
            profile.service.variables = target.service.variables;
            profile.service.embedded = false;
            profile.values = target.values;
            Ok(profile)
        }
    }
}

fn extra_headers(common: &Common) -> Result<ExtraHeaders> {
    let file = common.header_file.as_deref().map(read_header_file).transpose()?;
    ExtraHeaders::read(&common.header, file.as_deref(), &variable)
}

/// Starts the sandbox in this process where the profile is one.
#[cfg(feature = "sandbox")]
async fn start_embedded(
    mut profile: Profile,
    mut key: Option<Found>,
    environment: &Environment,
) -> Result<(Profile, Option<Found>, Option<crate::sandbox::Sandbox>)> {
    use crate::sandbox::{Data, Options, Sandbox};
    if !profile.service.embedded {
        return Ok((profile, key, None));
    }
    let data = Data::Directory(environment.data_dir()?.join("sandbox"));
    let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let sandbox = Sandbox::start(Options { data, listen, embedded: true }).await?;
    if let Some(endpoint) = sandbox.endpoints().first() {
        profile.values.insert("url".into(), endpoint.url.clone());
        // Its own key, whatever stands in the environment for other services.
        let secret = Secret::new(endpoint.key.clone());
        key = Some(Found { secret, forced: false, place: "of the sandbox".into() });
    }
    Ok((profile, key, Some(sandbox)))
}
