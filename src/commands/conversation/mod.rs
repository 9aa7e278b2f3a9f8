//! A short conversation with a service, for commands that are clients themselves.
//!
//! The same relay as the bridge's, with the client inside the process. Refuses what it cannot answer.

mod answer;
mod era;
mod lists;
mod new_keys;
mod questions;
mod tasks;
mod tool;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use self::answer::answered;
pub use self::answer::{parsed, parsed_json};
pub use self::lists::not_offered;
use self::tasks::Tasks;
pub use self::tool::{Filters, Runs, Tool};
use super::arguments::Common;
use super::ask::Asker;
use super::bridge::stop_signal;
use super::environment::Environment;
use super::profile_in_use::ProfileInUse;
use crate::auth::keys::Found;
use crate::error::{Error, Executed, Kind, Result};
use crate::local::inside::{self, Client};
use crate::profile::Options;
use crate::protocol::effect::Origin;
use crate::protocol::http::origin_and_path;
use crate::protocol::message::{Id, Kind as MessageKind, Message};
use crate::protocol::revision::{Era, NEWEST_LEGACY};
use crate::protocol::secrets::NewKeys;
use crate::protocol::settings::Protocol;
use crate::relay::{Ending, Relay};
use crate::remote::Remote;
use crate::ui;

/// After Ctrl-C in a form the service is told, and has this long to end the call.
const FAREWELL: Duration = Duration::from_millis(500);
/// A request that ends in time says more of why than the command as a whole does.
const LAST_WORD: Duration = Duration::from_millis(250);

/// One client's conversation.
pub struct Conversation {
    client: Client,
    relay: tokio::task::JoinHandle<Result<()>>,
    in_use: ProfileInUse,
    interrupted: Pin<Box<dyn Future<Output = ()>>>,
    asker: Asker,
    /// When the command as a whole must end.
    deadline: Option<Instant>,
    max_time: Option<Duration>,
    /// Whether nothing moves on stderr.
    quiet: bool,
    reveals: Reveals,
    count: i64,
    /// Answers that came while another one was waited for.
    early: VecDeque<Answered>,
    /// Messages that came while a form was open.
    unread: VecDeque<(Message, Origin)>,
    tasks: Tasks,
    /// The era of the service's last result.
    era: Option<Era>,
    /// The id of our own `initialize`.
    opening: Option<Id>,
    /// The person has ended the command in a form.
    leaving: Option<Leaving>,
    /// A form was closed, and its prompt still reads the terminal: nothing else can be asked.
    abandoned: bool,
}

/// When the person has ended the command in a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    /// The service waits for the answer, or runs a task.
    DuringTheCall,
    /// Nothing runs at the service until the call is made again with the answer.
    BetweenRounds,
}

/// Whether a service that repeats the credential is heard as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reveals {
    /// It is replaced by `MASKED`.
    #[default]
    Nothing,
    /// It is heard as it is.
    All,
    /// That too, and asks GitHub Actions to mask it in its log.
    AllButInTheLog,
}

/// Which request was answered, and what with.
pub type Answered = (Id, Result<String>);

impl Conversation {
    /// Makes everything ready; the first request opens the session.
    ///
    /// # Errors
    /// Errors of the command line, the configuration or the key.
    pub async fn begin(common: &Common, environment: &Environment) -> Result<Self> {
        Self::begin_to_call(common, environment, NewKeys::Refused).await
    }

    /// As [`Self::begin`], without a list that an earlier command kept.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub async fn begin_anew(common: &Common, environment: &Environment) -> Result<Self> {
        let mut in_use = ProfileInUse::prepare(common, Options::default(), environment).await?;
        in_use.cache = None;
        let deadline = within_max_time(&in_use);
        Self::with(in_use, (environment.asker(common.no_input), NewKeys::Refused), deadline).await
    }

    /// As [`Self::begin`], and says what is to become of new keys.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub async fn begin_to_call(
        common: &Common,
        environment: &Environment,
        new_keys: NewKeys,
    ) -> Result<Self> {
        let asker = environment.asker(common.no_input);
        let in_use = ProfileInUse::prepare(common, Options::default(), environment).await?;
        let deadline = within_max_time(&in_use);
        Ok(Self { quiet: common.quiet, ..Self::with(in_use, (asker, new_keys), deadline).await? })
    }

    /// As [`Self::begin`], with this key instead of any other.
    ///
    /// # Errors
    /// Errors of the command line, the configuration or the key.
    pub async fn begin_with(common: &Common, environment: &Environment, key: Found) -> Result<Self> {
        let options = Options::default();
        let asker = environment.asker(common.no_input);
        let in_use = ProfileInUse::prepare_with(common, options, environment, Some(key)).await?;
        let deadline = within_max_time(&in_use);
        Self::with(in_use, (asker, NewKeys::Refused), deadline).await
    }

    /// As [`Self::begin`], but never asks: calls run side by side.
    ///
    /// # Errors
    /// Errors of the command line, the configuration or the key.
    pub async fn begin_unasked(
        common: &Common,
        environment: &Environment,
        new_keys: NewKeys,
    ) -> Result<Self> {
        let in_use = ProfileInUse::prepare(common, Options::default(), environment).await?;
        Ok(Self { quiet: common.quiet, ..Self::with(in_use, (Asker::never(), new_keys), None).await? })
    }

    async fn with(
        in_use: ProfileInUse,
        (asker, new_keys): (Asker, NewKeys),
        deadline: Option<Instant>,
    ) -> Result<Self> {
        let mut settings = in_use.fresh_settings()?;
        settings.new_keys = new_keys;
        let max_time = in_use.options.max_time;
        // A short conversation needs no notifications beside its answers.
        settings.pushes = false;
        settings.keeps_lists = true;
        settings.client_filters = true;
        settings.known_tools = lists::known_tools(&in_use).await;
        settings.until = deadline.map(Instant::into_std);
        let (port, client) = inside::pair();
        let ending = Ending { drain: Duration::ZERO };
        let endpoint = settings.endpoint.clone();
        let relay = Relay::new(port, in_use.remote.clone(), settings, ending)
            .remembering(in_use.state.clone(), endpoint)
            .traced(in_use.trace.clone());
        let relay = tokio::spawn(relay.run(std::future::pending()));
        let interrupted = Box::pin(stop_signal()?);
        Ok(Self {
            client,
            relay,
            in_use,
            interrupted,
            asker,
            era: None,
            opening: None,
            deadline: deadline.map(|at| at + LAST_WORD),
            max_time,
            quiet: false,
            reveals: Reveals::default(),
            count: 0,
            early: VecDeque::new(),
            unread: VecDeque::new(),
            tasks: Tasks::default(),
            leaving: None,
            abandoned: false,
        })
    }

    /// Asks, and returns the JSON text of the result; `progress` gets its progress.
    ///
    /// # Errors
    /// The service's error, or ours.
    pub async fn ask(
        &mut self,
        method: &str,
        params: &str,
        progress: impl FnMut(&Message),
    ) -> Result<String> {
        let id = self.say(method, params);
        self.answer_to(&id, progress).await.map_err(Error::without_execution_doubt)
    }

    /// Calls a tool, and returns the JSON text of its result; `token` is the JSON text of a token for `progress`.
    ///
    /// # Errors
    /// The service's error, or ours.
    pub async fn call(
        &mut self,
        (tool, arguments): (&Tool, &str),
        token: Option<&str>,
        progress: impl FnMut(&Message),
    ) -> Result<String> {
        let id = self.say_call((&tool.name, tool.runs), arguments, token);
        match self.answer_to(&id, progress).await {
            Err(error) if error.kind() == Kind::Interrupted => Err(self.stopped(&id, error).await),
            answer => answer,
        }
    }

    async fn answer_to(&mut self, id: &Id, mut progress: impl FnMut(&Message)) -> Result<String> {
        loop {
            let (message, origin) = self.hear().await?;
            match self.take(&message, &origin, &mut progress).await {
                Some((of, answer)) if of == *id => return answer,
                Some(early) => self.early.push_back(early),
                None => {}
            }
        }
    }

    /// Starts what moves on stderr during a request, unless `-q` was given.
    pub fn progress(&self, what: &str) -> ui::Progress {
        if self.quiet { ui::Progress::hidden() } else { ui::Progress::start(what) }
    }

    /// Sends a request, whose answer [`Self::answer`] brings among others.
    pub fn say(&mut self, method: &str, params: &str) -> Id {
        self.count += 1;
        let id = Id::Integer(self.count);
        self.client.say(Message::request(&id, method, Some(params)).text().clone());
        id
    }

    /// Waits for whichever answer comes next; may be dropped while it waits.
    ///
    /// # Errors
    /// [`Kind::Interrupted`], after which nothing more is heard.
    pub async fn answer(&mut self, mut progress: impl FnMut(&Message)) -> Result<Answered> {
        loop {
            if let Some(early) = self.early.pop_front() {
                return Ok(early);
            }
            let (message, origin) = self.hear().await?;
            // Nothing is asked here, so this does not wait.
            if let Some(answered) = self.take(&message, &origin, &mut progress).await {
                return Ok(answered);
            }
        }
    }

    /// Says nothing more, and takes what is still owed: each call ends with whether it may have run.
    pub async fn hang_up(&mut self) {
        self.cancel_tasks().await;
        self.client.hang_up();
        let until = Instant::now() + FAREWELL;
        while let Ok(Some(heard)) = tokio::time::timeout_at(until, self.client.hear()).await {
            let Ok(message) = Message::read(self.revealed(heard.text)) else { continue };
            let Some(id) = message.id().filter(|_| message.kind() == MessageKind::Response) else { continue };
            let answer = answered(&message, &heard.origin).map_err(|error| match error.kind() {
                Kind::Interrupted if error.details().executed == Some(Executed::No) => unsent(),
                Kind::Interrupted => self.interruption(),
                _ => error.with_hint_text(&self.in_use.advise()),
            });
            self.early.push_back((id.clone(), answer));
        }
    }

    /// Returns how an interrupted call ended, as far as that is known.
    async fn stopped(&mut self, id: &Id, error: Error) -> Error {
        self.hang_up().await;
        let own = self.early.iter().position(|(of, _)| of == id).and_then(|at| self.early.remove(at));
        own.and_then(|(_, answer)| answer.err())
            .filter(|own| own.kind() == Kind::Interrupted)
            .unwrap_or(error)
    }

    /// Returns an answer that has come already, also after an interruption.
    pub async fn answer_at_hand(&mut self) -> Option<Answered> {
        loop {
            if let Some(early) = self.early.pop_front() {
                return Some(early);
            }
            let heard = self.client.heard()?;
            if let Ok(message) = Message::read(self.revealed(heard.text))
                && let Some(answered) = self.take(&message, &heard.origin, &mut |_: &Message| {}).await
            {
                return Some(answered);
            }
        }
    }

    /// Waits for something else, unless the person wants an end first.
    ///
    /// # Errors
    /// [`Kind::Interrupted`].
    pub async fn unless_interrupted<T>(&mut self, other: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            biased;
            value = other => Ok(value),
            () = &mut self.interrupted => Err(interrupted()),
        }
    }

    /// Waits until the result is shown; `--max-time` includes `--jq`.
    async fn shown<T>(&mut self, showing: impl Future<Output = T>) -> Result<T> {
        let Some(deadline) = self.deadline else { return self.unless_interrupted(showing).await };
        tokio::time::timeout_at(deadline, self.unless_interrupted(showing)).await.unwrap_or_else(|_| {
            let seconds = self.max_time.unwrap_or_default().as_secs_f64();
            let why = format!("the answer came, but printing it did not end within {seconds} s");
            Err(Error::new(Kind::Timeout, why).hint("simplify --jq, or allow more time with --max-time"))
        })
    }

    async fn hear(&mut self) -> Result<(Message, Origin)> {
        match self.unread.pop_front() {
            Some(message) => Ok(message),
            None => self.hear_more().await,
        }
    }

    /// Waits for a message that has not come yet; may be dropped while it waits.
    async fn hear_more(&mut self) -> Result<(Message, Origin)> {
        loop {
            let over = async {
                match self.deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            let due = async {
                match self.tasks.due() {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let heard = tokio::select! {
                biased;
                heard = self.client.hear() => heard,
                () = &mut self.interrupted => return Err(self.interruption()),
                () = over => return Err(self.out_of_time()),
                () = due => {
                    self.poll_tasks();
                    continue;
                }
            };
            let Some(heard) = heard else {
                return Err(Error::new(Kind::Bug, "the conversation ended without an answer"));
            };
            if let Ok(message) = Message::read(self.revealed(heard.text)) {
                return Ok((message, heard.origin));
            }
        }
    }

    /// Returns the error of an interruption.
    fn interruption(&self) -> Error {
        match self.leaving {
            Some(Leaving::BetweenRounds) => {
                Error::new(Kind::Interrupted, "interrupted; nothing is running at the service")
                    .executed(Executed::Maybe)
            }
            _ => interrupted(),
        }
    }

    fn out_of_time(&self) -> Error {
        let seconds = self.max_time.unwrap_or_default().as_secs_f64();
        Error::new(Kind::Timeout, format!("{} is not done within {seconds} s", self.place()))
            .hint("allow more time with --max-time")
            .executed(Executed::Maybe)
    }

    /// Hears a service that repeats the credential as it is.
    #[must_use]
    pub fn revealing(self, reveals: Reveals) -> Self {
        Self { reveals, ..self }
    }

    fn revealed(&self, line: Bytes) -> Bytes {
        let remote = &self.in_use.remote;
        if self.reveals == Reveals::Nothing {
            return remote.without_secrets(line);
        }
        let line = remote.unsealed(line);
        if self.reveals == Reveals::AllButInTheLog {
            remote.repeated_in(&line).iter().for_each(|secret| ui::mask(secret));
        }
        line
    }

    /// Returns the remote side.
    pub fn remote(&self) -> Arc<Remote> {
        self.in_use.remote.clone()
    }

    /// Takes what is to be said once a call has succeeded.
    pub fn take_note(&mut self) -> Option<String> {
        self.in_use.note.take()
    }

    async fn take(
        &mut self,
        message: &Message,
        origin: &Origin,
        progress: &mut impl FnMut(&Message),
    ) -> Option<Answered> {
        match message.kind() {
            MessageKind::Response => {
                let answer = answered(message, origin);
                let answer = answer.map_err(|error| self.in_forced_era(error, message, origin));
                if let (Origin::Service { era, .. }, Ok(_)) = (origin, &answer) {
                    self.era = Some(*era);
                }
                let answer =
                    answer.map_err(|error| self.unasked(error).with_hint_text(&self.in_use.advise()));
                let answer = if self.leaving.is_some() { Err(self.interruption()) } else { answer };
                return self.step(message.id()?.clone(), answer, progress);
            }
            MessageKind::Request => {
                progress(message);
                self.reply_to(message, origin).await;
            }
            MessageKind::Notification => progress(message),
        }
        None
    }

    /// Returns the options that choose the profile or URL in use, each after a space.
    pub fn options(&self) -> String {
        self.in_use.target_options()
    }

    /// Returns the era of the service's last result.
    pub fn era(&self) -> Era {
        self.era.unwrap_or(Era::Legacy)
    }

    /// Returns what keeps tools back here.
    pub fn filters(&self) -> Filters {
        Filters::new(self.in_use.settings().tools, self.in_use.advise())
    }

    /// Opens the session with a handshake of our own, and returns what the service says of itself.
    ///
    /// # Errors
    /// The service's error.
    pub async fn open(&mut self) -> Result<String> {
        let capabilities =
            if self.asker.is_allowed() { r#"{"elicitation":{"form":{},"url":{}}}"# } else { "{}" };
        let params = format!(
            r#"{{"protocolVersion":"{}","capabilities":{capabilities},"clientInfo":{{"name":"asistry","version":"{}"}}}}"#,
            NEWEST_LEGACY.date,
            env!("CARGO_PKG_VERSION")
        );
        self.opening = Some(Id::Integer(self.count + 1));
        let opened = self.ask("initialize", &params, |_| {}).await?;
        self.client.say(Message::notification("notifications/initialized", None).text().clone());
        Ok(opened)
    }

    /// Opens the session ourselves where a person can be asked: the service must know that. A service that
    /// knows no handshake is asked all the same.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_for_questions(&mut self) -> Result<()> {
        if !self.asker.is_allowed() {
            return Ok(());
        }
        match self.open().await {
            Err(error) if error.details().code.is_none() => Err(error),
            _ => Ok(()),
        }
    }

    /// Returns the endpoint, fit to be shown.
    pub fn place(&self) -> String {
        origin_and_path(&self.in_use.endpoint)
    }

    /// Returns what is spoken to the service.
    pub fn wire(&self) -> Protocol {
        self.in_use.settings().protocol
    }

    /// Returns what stands for the service, wherever the sandbox inside this process listens.
    pub fn service(&self) -> String {
        let profile = &self.in_use.profile;
        if profile.service.embedded.is_some() { profile.name.clone() } else { self.place() }
    }

    /// Shows what came of it, and ends the conversation. A pipe that nobody empties holds up neither the service
    /// nor Ctrl-C.
    ///
    /// # Errors
    /// Its own error, or that it cannot be shown.
    pub async fn end_with<T: Send + 'static>(
        mut self,
        came: Result<T>,
        show: impl FnOnce(T) -> Result<u8> + Send + 'static,
    ) -> Result<u8> {
        let shown = match came {
            Ok(came) => match self.shown(tokio::task::spawn_blocking(|| show(came))).await {
                Ok(shown) => shown.unwrap_or_else(|e| Err(Error::new(Kind::Bug, e.to_string()))),
                Err(error) if error.kind() == Kind::Timeout => Err(error),
                Err(_) => Err(Error::new(Kind::Interrupted, "interrupted while the answer was printed")
                    .hint("what was asked for is done: look before you repeat it")),
            },
            Err(error) => Err(error),
        };
        self.end().await;
        shown
    }

    /// Ends the conversation and leaves the session.
    pub async fn end(mut self) {
        self.cancel_tasks().await;
        let Self { client, relay, .. } = self;
        drop(client);
        let _ = relay.await;
    }
}

/// Returns when everything ends: `--max-time` bounds the command, not only each request.
fn within_max_time(in_use: &ProfileInUse) -> Option<Instant> {
    in_use.options.max_time.map(|time| Instant::now() + time)
}

/// A call that waited for a rate limit has not left.
fn unsent() -> Error {
    Error::new(Kind::Interrupted, "interrupted before the call was sent").executed(Executed::No)
}

/// Calls under way are cancelled at the service when the conversation ends.
fn interrupted() -> Error {
    Error::new(Kind::Interrupted, "interrupted; the request is cancelled at the service")
        .executed(Executed::Maybe)
}
