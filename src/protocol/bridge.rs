//! Routes between a client and its service: what one side says goes to the other.
//!
//! Refuses IO and waiting: lines, items and outcomes come in, [`Effect`]s go out. One answer leaves for each request
//! that came, whatever happens. Neither room reaches into the other: both know a request by its number.
//!
//! Each request says for itself which era its client speaks (ERA-2); the client's own opening tells which era the
//! service speaks (PROBE). A pair of one era stays in it. The pairs (section 3.1):
//!
//! | message | legacy to legacy: `client/legacy`, `upstream/legacy` | legacy to modern: `client/door`, `upstream/modern` | modern to modern: `client/modern`, `upstream/modern` | modern to legacy: `client/modern`, `upstream/sessions` |
//! |---|---|---|---|---|
//! | `initialize` | as it came | answered from `server/discover` | (legacy from there on) | (legacy from there on) |
//! | `notifications/initialized` | sent | opens the subscription | dropped | sent by us |
//! | `server/discover` | -32601 | sent by us | as it came | answered from `initialize` |
//! | `ping` | answered here | answered here | -32601 | -32601 |
//! | every request | as it came | envelope and `Mcp-*` headers added, `task` taken off | as it came, `Mcp-*` headers added | envelope, `inputResponses` and `requestState` taken off |
//! | every result | as it came | `resultType`, `ttlMs`, `cacheScope`, `serverInfo` taken off | as it came | `resultType` and `serverInfo` added, `related-task` taken off |
//! | lists, `resources/read` | as they came | as every request and result | as they came | `ttlMs` and `cacheScope` added, too |
//! | `tools/list` | as it came | an `outputSchema` that is no object's is put into one (`client/lower`); tools with an invalid `x-mcp-header` are left out | such tools are left out | `execution` taken off |
//! | `tools/call` | as it came | `Mcp-Param-*` headers added; its `structuredContent` goes into that object; a text block with it is added where there is none | `Mcp-Param-*` headers added | run as a task where the tool requires it (`sessions/tasks`) |
//! | questions during `tools/call`, `prompts/get`, `resources/read` | as they came | `input_required` becomes requests to the client (`client/rounds`); `elicitationId` added, `mode` taken off where the client's revision wants that | as they came | requests become `input_required` (`sessions/parked`); `elicitationId`, `task`, `progressToken`, `related-task` taken off |
//! | `subscriptions/listen` | as it came | sent by us (`client/subscriptions`) | ids rewritten, opened again | from `resources/subscribe` and the standalone stream (`sessions/listens`) |
//! | `resources/subscribe`, `unsubscribe` | as they came | the filter of that subscription | -32601 | -32601 |
//! | `logging/setLevel`, `logLevel` | as it came | kept, and stamped on each request | as it came | `logging/setLevel` once a level (`sessions/levels`) |
//! | `notifications/cancelled` | the service's id | its exchange is closed (T-11) | its exchange is closed | the service's id |
//! | changes of lists and resources | as they came | without the subscription's id, for what is subscribed to | the client's id | to each subscription that wants them |
//! | errors | as they came | -32020 to -32022 become -32603 (X-5) | as they came | -32002 becomes -32602, -32042 a URL to open, or -32021 for a client that does not offer URLs |
//! | tasks | as they came | followed (`client/tasks`) | as they came, `Mcp-Name` | handed on, or followed (`sessions/tasks`) |
//! | other notifications | as they came | dropped | dropped | sent |
//!
//! Not translatable: `tasks/list` and tasks of a client; a question of a service during no call, for a modern client
//! (-32601 to the service); a question about something that the client does not offer.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Executed, Kind, Result};
use crate::protocol::Moment;
use crate::protocol::client::{Client, Room, Said, ToolsPage};
use crate::protocol::driver::{Item, Prompt};
use crate::protocol::effect::{Effect, Ended, Lesson, Spilled, Tag, UpstreamKind};
use crate::protocol::request::{Outgoing, Wait};
use crate::protocol::revision::Era;
use crate::protocol::secrets::StoredKey;
use crate::protocol::settings::{Protocol, Settings, Spoken};
use crate::protocol::upstream::legacy::Legacy;
use crate::protocol::upstream::local::Local;
use crate::protocol::upstream::modern::Modern;
use crate::protocol::upstream::probe::Probed;
use crate::protocol::upstream::sessions::Sessions;
use crate::protocol::upstream::{self, Heard, Out, Upstream};

/// Messages under way to the service, or bytes in them, at which further requests wait.
const MOST_OPEN: (usize, usize) = (16_384, 256 * 1024 * 1024);

/// One of each kind.
const UPSTREAMS: [UpstreamKind; 3] = [UpstreamKind::Legacy, UpstreamKind::Modern, UpstreamKind::Session(0)];

/// A client's conversation with a service.
#[derive(Debug)]
pub struct Bridge {
    settings: Arc<Settings>,
    client: Client,
    legacy: Legacy,
    modern: Modern,
    sessions: Sessions,
    /// In the place of `modern`, for a service that does not speak MCP.
    local: Option<Local>,
    speaks_legacy: Spoken,
    /// That the service opens no sessions was remembered, and may be wrong by now.
    was_remembered: bool,
    speaks_modern: Spoken,
    /// Requests of the stateless era that wait until it is known whether the service speaks it.
    parked: Vec<Outgoing>,
    parked_bytes: usize,
    effects: VecDeque<Effect>,
    lists: Lists,
}

/// Empty lists, kept for their memory.
#[derive(Debug, Default)]
struct Lists {
    said: Vec<Said>,
    out: Vec<Out>,
}

impl Bridge {
    /// Makes a bridge that has said nothing yet.
    pub fn new(settings: Settings, moment: Moment) -> Self {
        let settings = Arc::new(settings);
        Self {
            client: Client::new(settings.clone(), moment.now),
            legacy: Legacy::new(settings.clone(), moment),
            modern: Modern::new(settings.clone(), moment),
            sessions: Sessions::new(&settings, moment),
            local: (settings.protocol == Protocol::AgentStack).then(|| Local::new(settings.clone(), moment)),
            speaks_legacy: settings.legacy(),
            was_remembered: settings.era.is_none() && settings.no_sessions,
            speaks_modern: settings.modern(),
            parked: Vec::new(),
            parked_bytes: 0,
            effects: VecDeque::new(),
            lists: Lists::default(),
            settings,
        }
    }

    /// Takes what is to be done next.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Says whether a request of the client waits for its answer.
    pub fn owes_an_answer(&self) -> bool {
        self.client.is_owed_an_answer()
    }

    /// Takes one line of the client.
    pub fn from_client(&mut self, line: Bytes, moment: Moment) {
        self.client.line(line, self.room(), moment.now);
        self.settle(moment);
    }

    /// The client sent a line longer than [`super::MAX_MESSAGE`]; its bytes are gone.
    pub fn line_too_long(&mut self, moment: Moment) {
        self.client.line_too_long();
        self.settle(moment);
    }

    /// Takes what came out of a reply to the driver of this tag.
    pub fn item(&mut self, tag: Tag, item: Item, moment: Moment) {
        self.upstream(tag.ticket.upstream).item(tag, item, moment);
        self.settle(moment);
    }

    /// Takes what came of a driver.
    pub fn ended(&mut self, ended: Ended, moment: Moment) {
        self.upstream(ended.tag.ticket.upstream).ended(ended, moment);
        self.settle(moment);
    }

    /// The driver of this tag waits for a rate limit.
    pub fn waiting(&mut self, tag: Tag, wait: Wait, moment: Moment) {
        self.upstream(tag.ticket.upstream).waits(tag, wait, moment);
        self.settle(moment);
    }

    /// Takes the shortened response of a result that went into a file.
    pub fn spilled(&mut self, to: Spilled, text: Bytes, moment: Moment) {
        self.client.spilled(text, to);
        self.settle(moment);
    }

    /// Takes what came of work with the key store ([`Effect::Keys`]).
    pub fn keys_done(&mut self, number: u64, came: Result<Option<StoredKey>>, moment: Moment) {
        if let Some(local) = &mut self.local {
            local.keys_done(number, came, moment);
        }
        self.settle(moment);
    }

    /// Takes what came of a login ([`Effect::SignIn`]).
    pub fn signed_in(&mut self, number: u64, came: Result<()>, moment: Moment) {
        self.client.signed_in(number, came);
        self.settle(moment);
    }

    /// Says whether a call is under way whose new key would be lost.
    pub fn makes_a_key(&self) -> bool {
        self.local.as_ref().is_some_and(Local::makes_a_key)
    }

    /// A pause asked for by [`Effect::Alarm`] is over.
    pub fn alarm(&mut self, moment: Moment) {
        self.client.alarm(moment.now);
        for parked in self.unpark(|parked| parked.promise.broken_at(moment.now).is_some()) {
            let limit = parked.promise.broken_at(moment.now).unwrap_or_default();
            self.client.failed(parked.number, upstream::overdue(&self.settings.place, limit));
        }
        self.legacy.alarm(moment);
        self.upstream(UpstreamKind::Modern).alarm(moment);
        self.sessions.alarm(moment);
        self.settle(moment);
    }

    /// The end: answers what is unanswered, cancels it at the service, and leaves the session.
    pub fn close(&mut self, moment: Moment) {
        self.client.end();
        for parked in self.unpark(|_| true) {
            let error = Error::new(Kind::Interrupted, "asistry ended before the request was sent");
            self.client.failed(parked.number, error.executed(Executed::No));
        }
        self.legacy.close(moment);
        self.upstream(UpstreamKind::Modern).close(moment);
        self.sessions.close(moment);
        self.settle(moment);
    }

    fn route(&mut self, said: Said, moment: Moment) {
        match said {
            Said::Opens(outgoing) if self.speaks_legacy == Spoken::No => self.lift(outgoing, moment),
            Said::Opens(outgoing) => self.legacy.opens(outgoing, moment),
            Said::Confirms if self.speaks_legacy == Spoken::No => self.client.subscribes(),
            Said::Confirms => self.legacy.confirms(moment),
            Said::Request(outgoing) => self.request(outgoing, moment),
            // A service of the stateless era knows no notification of a client (section 3.1).
            Said::Notice(_) if self.speaks_legacy == Spoken::No => {}
            Said::Notice(message) => self.legacy.notice(message, moment),
            Said::Extra(message) if self.speaks_modern == Spoken::No => self.sessions.notice(message, moment),
            Said::Extra(_) => {
                let why = "dropped a notification of the client: the stateless era has none";
                self.effects.push_back(Effect::Note(why.to_owned()));
            }
            Said::Cancels(number, message) => {
                let mut is_known = !self.unpark(|parked| parked.number == number).is_empty();
                for kind in UPSTREAMS {
                    is_known = is_known || self.upstream(kind).cancel(number, &message, moment);
                }
                if is_known {
                    self.client.cancelled(number);
                }
            }
            Said::Listens(filter) => match &mut self.local {
                Some(local) => local.listen(filter.as_deref()),
                None => self.modern.listen(filter, moment),
            },
            Said::Answers(message, generation) => self.legacy.answer(message, generation, moment),
        }
    }

    fn upstream(&mut self, kind: UpstreamKind) -> &mut dyn Upstream {
        match kind {
            UpstreamKind::Legacy => &mut self.legacy,
            UpstreamKind::Modern => match &mut self.local {
                Some(local) => local,
                None => &mut self.modern,
            },
            UpstreamKind::Session(_) => &mut self.sessions,
        }
    }

    fn request(&mut self, outgoing: Outgoing, moment: Moment) {
        match (outgoing.era, self.speaks_modern) {
            (Era::Legacy, _) if self.speaks_legacy == Spoken::No => self.lift(outgoing, moment),
            (Era::Legacy, _) => self.legacy.request(outgoing, moment),
            // What was asked in a session goes on there.
            (Era::Modern, Spoken::Yes) if self.sessions.have_parked(&outgoing.message) => {
                self.sessions.request(outgoing, moment);
            }
            (Era::Modern, Spoken::Yes) => self.upstream(UpstreamKind::Modern).request(outgoing, moment),
            (Era::Modern, Spoken::No) if self.speaks_legacy == Spoken::No => {
                self.client.speaks_nothing(outgoing.number);
            }
            (Era::Modern, Spoken::No) => self.sessions.request(outgoing, moment),
            (Era::Modern, Spoken::Unknown) => self.probe(outgoing, moment),
        }
    }

    /// Sends a request of a client with a handshake to a service that opens no sessions.
    fn lift(&mut self, outgoing: Outgoing, moment: Moment) {
        if let Some(outgoing) = self.client.lift(outgoing) {
            self.request(outgoing, moment);
        }
    }

    /// The service opens no sessions: what waits for one goes as the stateless era wants it.
    fn no_sessions(&mut self, unsent: Vec<Outgoing>, moment: Moment) {
        if self.speaks_legacy != Spoken::No {
            self.speaks_legacy = Spoken::No;
            // A service that refuses sessions speaks something else, whatever it said before.
            self.speaks_modern = Spoken::Unknown;
            self.was_remembered = false;
            self.client.leaves_session(self.legacy.words());
        }
        for outgoing in unsent {
            match outgoing.era {
                Era::Legacy => self.lift(outgoing, moment),
                Era::Modern => self.request(outgoing, moment),
            }
        }
    }

    /// Finds out whether the service speaks the stateless era: by the client's own `server/discover` if this is it.
    fn probe(&mut self, outgoing: Outgoing, moment: Moment) {
        let is_probing = self.modern.is_probing();
        if !is_probing && outgoing.message.method() == "server/discover" {
            return self.modern.probe_with(outgoing, moment);
        }
        if !is_probing {
            self.modern.probe_for(Some(&outgoing), moment);
        }
        if let Some(deadline) = outgoing.promise.deadline() {
            let after = deadline.saturating_duration_since(moment.now);
            self.effects.push_back(Effect::Alarm(after));
        }
        self.parked_bytes += outgoing.message.text().len();
        self.parked.push(outgoing);
    }

    fn unpark(&mut self, which: impl Fn(&Outgoing) -> bool) -> Vec<Outgoing> {
        let unparked: Vec<Outgoing> = self.parked.extract_if(.., |parked| which(parked)).collect();
        self.parked_bytes -= unparked.iter().map(|parked| parked.message.text().len()).sum::<usize>();
        unparked
    }

    fn probed(&mut self, number: u64, came: Probed, moment: Moment) {
        let parked = self.unpark(|_| true);
        let is_modern = if matches!(came, Probed::Modern) { Spoken::Yes } else { Spoken::No };
        self.legacy.era_is_known(is_modern, moment);
        match came {
            Probed::Modern => {
                self.speaks_modern = Spoken::Yes;
                if self.speaks_legacy == Spoken::No {
                    self.effects.push_back(Effect::Learned(Lesson::NoSessions));
                    self.client.subscribes_again();
                }
                parked.into_iter().for_each(|parked| self.modern.request(parked, moment));
            }
            Probed::Legacy if self.was_remembered => {
                // What was remembered is wrong by now: the opening goes as the client wrote it.
                self.was_remembered = false;
                self.speaks_legacy = Spoken::Unknown;
                self.effects.push_back(Effect::Learned(Lesson::Sessions));
                let mut stateless = Vec::new();
                for number in std::iter::once(number).chain(parked.iter().map(|parked| parked.number)) {
                    match self.client.unlifted(number) {
                        Some(outgoing) if outgoing.message.method() == "initialize" => {
                            self.legacy.opens(outgoing, moment);
                        }
                        Some(outgoing) => self.legacy.request(outgoing, moment),
                        None => stateless.push(number),
                    }
                }
                self.speaks_modern = Spoken::No;
                for number in stateless {
                    if let Some(outgoing) = self.client.outgoing(number) {
                        self.request(outgoing, moment);
                    }
                }
            }
            Probed::Legacy => {
                self.speaks_modern = Spoken::No;
                let probe = self.client.outgoing(number);
                probe.into_iter().chain(parked).for_each(|parked| self.request(parked, moment));
                if self.speaks_legacy == Spoken::No {
                    // It speaks nothing now: the next request finds out whether that is still so.
                    (self.speaks_legacy, self.speaks_modern) = (Spoken::Unknown, Spoken::Unknown);
                }
            }
            // The client's own opening message may not begin a login; what waits behind it may.
            Probed::Nothing(error)
                if error.needs_login()
                    && number.is_multiple_of(2)
                    && self.settings.login_at_opening == Prompt::Forbidden =>
            {
                parked.into_iter().for_each(|parked| self.request(parked, moment));
            }
            Probed::Nothing(error) => {
                for parked in parked {
                    self.client.failed(parked.number, error.clone().executed(Executed::No));
                }
            }
        }
    }

    fn room(&self) -> Room {
        let modern = self.local.as_ref().map_or_else(|| self.modern.open(), Local::open);
        let (legacy, sessions) = (self.legacy.open(), self.sessions.open());
        let count = legacy.0 + modern.0 + sessions.0 + self.parked.len();
        let bytes = legacy.1 + modern.1 + sessions.1 + self.parked_bytes;
        let full = count >= MOST_OPEN.0 || bytes >= MOST_OPEN.1;
        if full { Room::Full } else { Room::Free }
    }

    /// Routes what the client has said and the upstreams have heard until nothing is left.
    fn settle(&mut self, moment: Moment) {
        let mut lists = std::mem::take(&mut self.lists);
        loop {
            self.client.take_said(&mut lists.said);
            for said in lists.said.drain(..) {
                self.route(said, moment);
            }
            let mut is_quiet = true;
            for kind in UPSTREAMS {
                self.upstream(kind).take(&mut lists.out);
                is_quiet &= lists.out.is_empty();
                for out in lists.out.drain(..) {
                    match out {
                        Out::Do(effect) => self.effects.push_back(effect),
                        Out::Heard(heard) => {
                            self.client.at(moment.now);
                            self.heard(kind, heard, moment);
                            self.client.take_effects(&mut self.effects);
                        }
                    }
                }
            }
            let is_quiet = is_quiet && !self.client.has_said();
            if is_quiet && !(self.client.has_waiting() && self.client.resume(self.room())) {
                self.lists = lists;
                return self.client.take_effects(&mut self.effects);
            }
        }
    }

    fn heard(&mut self, kind: UpstreamKind, heard: Heard, moment: Moment) {
        match heard {
            Heard::Answer { number, message, status } => self.client.answered(number, &message, status),
            Heard::Failed { number, error } => self.client.failed(number, error),
            Heard::Ours { number, message } => self.client.answer_here(number, &message),
            Heard::ToolsChanged => self.client.tools_changed(),
            Heard::Opened { revision, answer } => self.client.agreed_on(revision, &answer),
            Heard::Asked { during, message, generation } => {
                if let Some(refusal) = self.client.asks(&message, during, generation) {
                    self.legacy.answer(refusal, generation, moment);
                }
            }
            Heard::Told { during, message, generation } => self.client.told(&message, during, generation),
            Heard::Waits { number, remaining, why } => self.client.waits(number, remaining, why),
            Heard::Lives { number, said } => self.client.task_lives(number, said.as_deref()),
            Heard::Unsure if self.modern.is_probing() => {}
            Heard::Unsure => self.modern.probe_for(None, moment),
            Heard::Acknowledged(came) => self.client.acknowledged(&came),
            Heard::NotAcknowledged { asked, error } => self.client.not_acknowledged(&asked, &error),
            Heard::NoSessions(unsent) => self.no_sessions(unsent, moment),
            Heard::Probed { number, came } => self.probed(number, came, moment),
            Heard::Tools(page) => match self.client.tools_page(page.as_ref()) {
                ToolsPage::Next(cursor) => self.upstream(kind).list_tools(cursor.as_deref(), moment),
                ToolsPage::Known(known) => self.tools_are_known(kind, known.err().as_ref()),
            },
        }
    }

    fn tools_are_known(&mut self, kind: UpstreamKind, failed: Option<&Error>) {
        let era = if kind == UpstreamKind::Legacy { Era::Legacy } else { Era::Modern };
        for (number, decision) in self.client.decide_held(era, failed) {
            match decision {
                Ok((message, class)) => self.upstream(kind).release(number, message, class),
                Err(error) => self.upstream(kind).refuse(number, &error),
            }
        }
    }
}
