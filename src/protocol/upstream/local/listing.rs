//! The list of tools of a service without MCP: fetched when it is asked for, kept until its time is over.
//!
//! Refuses to fetch it twice at once.

use std::time::{Duration, Instant};

use super::super::under_way::{Asker, Entry, Own, Request};
use super::catalogue::{Catalogue, EXECUTE, KEEP_MS, Term};
use super::{Fetched, Known, Local, empty, results};
use crate::error::{Error, Executed, Kind as ErrorKind};
use crate::protocol::message::{INVALID_PARAMS, Message};
use crate::protocol::object::string;
use crate::protocol::request::Class;
use crate::protocol::settings::KnownTools;
use crate::protocol::tool_rules::cursor_of;
use crate::protocol::upstream::{Heard, Out};

impl Known {
    /// Takes up a list that an earlier conversation kept.
    pub(super) fn kept(known: &KnownTools, now: Instant) -> Self {
        let tools = Catalogue::kept(&known.tools);
        Self { tools, until: now + known.fresh, etag: known.etag.clone() }
    }
}

impl Local {
    /// Answers a request of the client for the list, which may have waited until we knew that there is none.
    pub(super) fn list(&mut self, number: u64) {
        match &self.unlisted {
            Some((error, waited)) if waited.contains(&number) => {
                let error = error.clone();
                self.answer_without_catalogue(number, &error);
            }
            _ => {
                self.lists.push(number);
                self.look_at_catalogue();
            }
        }
    }

    /// Answers what waits for the catalogue, or fetches it.
    pub(super) fn look_at_catalogue(&mut self) {
        let now = self.moment.now;
        if self.catalogue.as_ref().is_some_and(|known| now < known.until) {
            return self.answer_lists();
        }
        self.fetch(Own::Actions);
        // Where the list may be unchanged, that is asked first.
        if self.catalogue.as_ref().is_none_or(|known| known.etag.is_none()) {
            self.fetch(Own::Schemas);
        }
    }

    fn fetch(&mut self, own: Own) {
        if self.table.asks(own) {
            return;
        }
        let id = self.table.own_id();
        let message = Message::request(&id, "tools/list", None);
        let promise = self.settings.promise(self.moment.now);
        let request = Request::new(message, id, Asker::Own(own), (Class::A, promise));
        let number = self.table.insert(Entry::Request(request));
        self.carry(number, Duration::ZERO);
    }

    /// A part of the catalogue came, or cannot be had.
    pub(super) fn catalogue_came(&mut self) {
        let Fetched { actions: Some(actions), schemas } = &self.fetched else { return };
        let is_list = matches!(actions, Ok(data) if data.status < 300);
        if schemas.is_none() && (is_list || self.table.asks(Own::Schemas)) {
            return self.fetch(Own::Schemas);
        }
        let Fetched { actions: Some(actions), schemas } = std::mem::take(&mut self.fetched) else { return };
        let until = self.moment.now + Duration::from_millis(KEEP_MS);
        let read = match actions {
            Ok(data) if data.status == 304 && self.catalogue.is_some() => {
                if let Some(known) = &mut self.catalogue {
                    known.until = until;
                }
                return self.answer_lists();
            }
            Ok(data) if data.status >= 400 => Err(results::sentence_of(&data)),
            Ok(data) => {
                let schemas = schemas.flatten();
                let tools = Catalogue::read(&data.body, schemas.as_deref());
                // A list without its schemas is not kept for longer than it must be.
                let tagged = |tools: Catalogue| {
                    (data.etag.or(tools.etag.clone()).filter(|_| schemas.is_some()), tools)
                };
                tools.map(tagged).map_err(str::to_owned)
            }
            Err(error) => return self.no_catalogue(error),
        };
        match read {
            Ok((etag, tools)) => {
                self.catalogue = Some(Known { tools, until, etag });
                self.answer_lists();
            }
            Err(why) => {
                let why = format!("{} gave no catalogue of its actions: {why}", self.settings.place);
                self.no_catalogue(Error::new(ErrorKind::ServiceError, why));
            }
        }
    }

    /// Lists fail, unless only a key is missing; calls by name go on.
    fn no_catalogue(&mut self, error: Error) {
        for number in std::mem::take(&mut self.lists) {
            self.answer_without_catalogue(number, &error);
        }
        if self.own_list.take().is_some() {
            self.note(format!("{error}; only {EXECUTE} and the actions that make keys are known"));
            self.page_for_us(&Catalogue::unread(&self.settings.secrets), None);
            self.unlisted = Some((error, self.table.waiting("tools/list")));
        }
    }

    fn answer_without_catalogue(&mut self, number: u64, error: &Error) {
        // A client without a key needs the actions that make one; asistry's own client decides that itself.
        let has_no_key = error.kind() == ErrorKind::AuthRequired && !self.settings.client_filters;
        let tools = has_no_key.then(|| Catalogue::unread(&self.settings.secrets));
        match tools.and_then(|tools| tools.page(None, Term { keep_ms: 0, etag: None })) {
            Some(page) => {
                self.is_list_short = true;
                self.answer(number, &page);
            }
            None => self.give_up(number, error.clone().executed(Executed::No)),
        }
    }

    fn answer_lists(&mut self) {
        let Some(known) = self.catalogue.take() else { return };
        let rest = known.until.saturating_duration_since(self.moment.now);
        let keep_ms = u64::try_from(rest.as_millis()).unwrap_or(KEEP_MS);
        let term = Term { keep_ms, etag: known.etag.as_deref().filter(|_| self.settings.keeps_lists) };
        self.is_list_short &= self.lists.is_empty();
        for number in std::mem::take(&mut self.lists) {
            let Some(request) = self.table.request(number) else { continue };
            let cursor = cursor_of(&request.message).and_then(string);
            match known.tools.page(cursor.as_deref(), term) {
                Some(page) => self.answer(number, &page),
                None => self.refuse_request(number, INVALID_PARAMS, "Invalid params: unknown cursor"),
            }
        }
        if let Some(cursor) = self.own_list.take() {
            let cursor = cursor.as_deref().and_then(string);
            self.page_for_us(&known.tools, cursor.as_deref());
        }
        self.catalogue = Some(known);
    }

    fn page_for_us(&mut self, tools: &Catalogue, cursor: Option<&str>) {
        let term = Term { keep_ms: KEEP_MS, etag: None };
        let page = tools.page(cursor, term).unwrap_or_else(|| empty("tools"));
        let message = Message::result(&self.table.own_id(), &page);
        self.out.push(Out::Heard(Heard::Tools(Ok(message))));
    }
}
