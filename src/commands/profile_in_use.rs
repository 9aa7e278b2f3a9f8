//! From what was typed, and what the environment says, to the plain values that a connection is made from.

use std::ops::Deref;
use std::sync::Arc;

use url::Url;

use super::arguments::Common;
use super::browser::{self, Reach};
use super::client::{self, Who};
use super::environment::{Environment, variable, way_to_profiles};
use super::remedy::Target;
use crate::auth::keys::{Found, KeySource};
use crate::auth::oauth::{Keeping, LoginParts};
use crate::auth::{Credential, ExtraHeaders, read_header_file};
use crate::connection::{Connection, ConnectionParts};
use crate::error::{Error, Kind, RemedyWriter, Result};
use crate::net::{Net, Proxies, TlsOptions};
use crate::profile::{self, Config, Options, Profile, headers};
use crate::protocol::settings::Settings;
use crate::state::State;
use crate::trace::Trace;

/// Why a profile is not found where [`Environment::hides_profiles`].
pub const HIDDEN: &str = "profiles are not read while ASISTRY_API_KEY is set";

/// The connection of the profile that the command line means.
pub struct ProfileInUse {
    connection: Connection,
    target: Target,
    /// Where lists of tools are remembered.
    pub cache: Option<State>,
    /// What to say once a call has succeeded.
    pub note: Option<String>,
    /// Holds the embedded sandbox as long as the profile is in use.
    #[cfg(feature = "sandbox")]
    _sandbox: Option<crate::sandbox::Sandbox>,
}

impl Deref for ProfileInUse {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl ProfileInUse {
    /// Finds the profile and makes its remote side ready; nothing is sent yet. `given` is what the command's own
    /// options say.
    ///
    /// # Errors
    /// Errors of the command line, the configuration or the key.
    pub async fn prepare(common: &Common, given: Options, environment: &Environment) -> Result<Self> {
        let key =
            environment.key().map(|secret| Found { secret, forced: false, source: KeySource::Environment });
        Self::prepare_with(common, given, environment, key).await
    }

    /// As [`Self::prepare`], for work on the profile's login.
    ///
    /// # Errors
    /// Errors of the command line, the configuration or the key.
    pub async fn prepare_login(
        common: &Common,
        given: Options,
        environment: &Environment,
        way: (Reach, Keeping),
    ) -> Result<Self> {
        Self::prepare_all(common, given, environment, (None, Who::Person, way)).await
    }

    /// As [`Self::prepare`], with this key instead of any other.
    ///
    /// # Errors
    /// Errors of the command line, the configuration or the key.
    pub async fn prepare_with(
        common: &Common,
        given: Options,
        environment: &Environment,
        key: Option<Found>,
    ) -> Result<Self> {
        let way = (Reach::Window, Keeping::StoredIfPossible);
        Self::prepare_all(common, given, environment, (key, Who::AsConfigured, way)).await
    }

    async fn prepare_all(
        common: &Common,
        given: Options,
        environment: &Environment,
        (key, who, (reach, keeping)): (Option<Found>, Who, (Reach, Keeping)),
    ) -> Result<Self> {
        let config = environment.config()?;
        let profile = find_named(common.profile.as_deref(), common.url.as_deref(), &config)?;
        check_files(&common.options())?;
        let extra = extra_headers(common, &profile)?;
        let embedded = profile.service.embedded.is_some();
        #[cfg(feature = "sandbox")]
        let (profile, key, sandbox) = start_embedded(profile, key, environment).await?;
        #[cfg(feature = "sandbox")]
        let note = sandbox.as_ref().filter(|sandbox| {
            let has_board = profile.service.embedded.as_deref() == Some("asistry");
            has_board && sandbox.is_new() && !common.quiet && !common.output.is_json()
        });
        let on_line = common.options();
        check_one_credential(&on_line, key.as_ref())?;
        let stored = client::without_replaced(profile.options.clone(), &on_line);
        let options = given.over(on_line.clone()).over(stored);
        let proxy = proxy_of(&profile.name, &options)?;
        let asker = environment.asker(common.no_input);
        let credential = match key {
            Some(key) => Credential::Given(key),
            None => Credential::Stored(Arc::new(environment.keys(&config, asker)?)),
        };
        if options.insecure == Some(true) {
            crate::ui::warn("--insecure: no certificate is checked; anyone on the way can read the key");
        }
        let used = common.header.iter().chain(profile.headers.iter().map(|(_, value)| value));
        let hidden = used.flat_map(|value| browser::variables_in(value)).collect();
        let person = browser::person(&options, asker, reach, hidden);
        let client = client::Configured { given: &on_line, options: &options, profile: &profile.name, who };
        let login = client.login_options(browser::may_log_in(&options, asker, reach))?;
        let login = environment.state().map(|state| LoginParts { keeping, options: login, person, state });
        let trace = |path| Trace::create(path, config.catalog.key_prefixes());
        let trace = common.trace.as_deref().map(trace).transpose()?.map(Arc::new);
        let connection = Connection::new(ConnectionParts {
            profile,
            options,
            credential,
            extra,
            proxy,
            ca_file: environment.ca_file(),
            login,
            trace,
            state: environment.state().filter(|_| !embedded),
        })?;
        Ok(Self {
            connection,
            target: Target::of(common.profile.clone(), common.url.as_deref(), &config),
            cache: environment.cache().filter(|_| !embedded),
            #[cfg(feature = "sandbox")]
            note: note.map(|_| super::sandbox::board_hint()),
            #[cfg(not(feature = "sandbox"))]
            note: None,
            #[cfg(feature = "sandbox")]
            _sandbox: sandbox,
        })
    }

    /// Writes remedies for this profile, its URL and its key.
    pub fn advise(&self) -> RemedyWriter {
        let remote = self.remote.clone();
        self.target.clone().advise(move || remote.key_source())
    }

    /// Returns the options that choose this profile or URL, each after a space.
    pub fn target_options(&self) -> String {
        self.target.options()
    }

    /// Returns the settings of a conversation with this profile.
    pub fn settings(&self) -> Settings {
        self.connection.settings(self.advise())
    }

    /// Returns the settings of a conversation that begins now, with random bytes of its own.
    ///
    /// # Errors
    /// Where the system gives none.
    pub fn fresh_settings(&self) -> Result<Settings> {
        let mut settings = self.settings();
        getrandom::fill(&mut settings.seed)
            .map_err(|error| Error::new(Kind::Bug, format!("the system gives no random bytes: {error}")))?;
        Ok(settings)
    }
}

/// Refuses a key in the environment beside a login of a machine on the command line.
fn check_one_credential(on_line: &Options, key: Option<&Found>) -> Result<()> {
    let option = if on_line.identity_token.is_some() { "identity-token" } else { "client-credentials" };
    match key {
        Some(Found { source: KeySource::Environment, .. }) if client::is_machine(on_line) => {
            let why = format!("--{option} and ASISTRY_API_KEY are two credentials");
            Err(Error::new(Kind::Usage, why).hint("unset ASISTRY_API_KEY"))
        }
        _ => Ok(()),
    }
}

/// Reads the certificates that the command line names: a file that is missing there is wrong usage.
fn check_files(given: &Options) -> Result<()> {
    let Options { ca_file, client_cert, .. } = given.clone();
    if ca_file.is_none() && client_cert.is_none() {
        return Ok(());
    }
    check_certificates(TlsOptions { ca_file, client_cert, insecure: false })
}

/// Reads certificates as a connection would.
///
/// # Errors
/// [`Kind::Usage`] for a file that cannot be read.
pub fn check_certificates(tls: TlsOptions) -> Result<()> {
    // They are read for https alone, whatever the endpoint is.
    let Ok(somewhere) = Url::parse("https://localhost") else { return Ok(()) };
    Net::new(somewhere, tls, Proxies::Environment).check().map_err(|error| error.with_kind(Kind::Usage))
}

fn proxy_of(profile: &str, options: &Options) -> Result<Option<Url>> {
    let url = options.proxy.as_ref().map(|proxy| proxy.url(&variable)).transpose();
    url.map_err(|why| Error::new(Kind::Config, format!("proxy of the profile {profile}: {why}")))
}

/// Finds the profile that the options and the configuration name.
///
/// # Errors
/// Errors of the options or the configuration.
pub fn find(common: &Common, environment: &Environment) -> Result<Profile> {
    find_named(common.profile.as_deref(), common.url.as_deref(), &environment.config()?)
}

/// Finds the profile that a name, a URL, both or neither stand for.
///
/// # Errors
/// As [`find`].
pub fn find_named(name: Option<&str>, url: Option<&str>, config: &Config) -> Result<Profile> {
    match (name, url) {
        (None, Some(url)) => Profile::of_url(url),
        (Some(name), None) => named(name, config),
        (None, None) => Profile::find(config.profile.as_deref().unwrap_or(profile::DEFAULT), config),
        (Some(name), Some(url)) => {
            let mut profile = named(name, config)?;
            let target = Profile::of_url(url)?;
            let own = profile.endpoint().map(|own| own.origin());
            check_headers(&profile, &target)?;
            let origin = target.endpoint()?.origin();
            if own.ok() != Some(origin.clone()) {
                client::check_origin(name, &profile.options, &origin.ascii_serialization())?;
                // It is documented for the service's own address.
                profile.service.rate = None;
            }
            profile.service.endpoint = target.service.endpoint;
            profile.service.variables = target.service.variables;
            profile.service.embedded = None;
            profile.values = target.values;
            Ok(profile)
        }
    }
}

fn named(name: &str, config: &Config) -> Result<Profile> {
    Profile::find(name, config).map_err(|error| match config.place.directory.as_os_str().is_empty() {
        true => {
            let why = format!("{error}: {HIDDEN}");
            error.with_message(why).hint(way_to_profiles())
        }
        false => error,
    })
}

/// Refuses to send the headers of a profile to another origin than the profile's: a credential, and
/// whatever comes from the environment.
fn check_headers(profile: &Profile, target: &Profile) -> Result<()> {
    let is_bound =
        |(name, value): &&(String, String)| profile.is_credential(name) || !headers::is_literal(value);
    let Some((name, _)) = profile.headers.iter().find(is_bound) else {
        return Ok(());
    };
    let elsewhere = target.endpoint()?.origin();
    if profile.endpoint().is_ok_and(|own| own.origin() == elsewhere) {
        return Ok(());
    }
    let (profile, elsewhere) = (&profile.name, elsewhere.ascii_serialization());
    let why = format!("the header {name} of the profile {profile} may not go to {elsewhere}");
    Err(Error::new(Kind::OriginMismatch, why).hint(format!("leave --profile {profile} out, or --url")))
}

fn extra_headers(common: &Common, profile: &Profile) -> Result<ExtraHeaders> {
    let file = common.header_file.as_deref().map(read_header_file).transpose()?;
    ExtraHeaders::read(profile, &common.header, file.as_deref(), &variable)
}

/// Starts the sandbox in this process where the profile is one.
#[cfg(feature = "sandbox")]
async fn start_embedded(
    mut profile: Profile,
    mut key: Option<Found>,
    environment: &Environment,
) -> Result<(Profile, Option<Found>, Option<crate::sandbox::Sandbox>)> {
    use crate::sandbox::{Data, Faults, Options, Sandbox};
    use crate::secret::Secret;
    let Some(service) = profile.service.embedded.clone() else { return Ok((profile, key, None)) };
    // With a key in the environment nothing of ours is written, unless a directory is named for it.
    let data = match environment.may_keep_data() {
        true => Data::Directory(environment.data_dir()?.join("sandbox")),
        false => Data::Memory,
    };
    let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let sandbox = Sandbox::start(Options { data, listen, embedded: true, faults: Faults::default() }).await?;
    if let Some(endpoint) = sandbox.endpoints().iter().find(|endpoint| endpoint.service == service) {
        profile.values.insert("url".into(), endpoint.url.clone());
        // Its own key, even if the environment has one for other services.
        let secret = Secret::new(sandbox.credential(endpoint).await?);
        key = Some(Found { secret, forced: false, source: KeySource::Sandbox });
    }
    Ok((profile, key, Some(sandbox)))
}
