//! The list of tools of a service without MCP: fetched when it is asked for, kept until its time is over.
//!
//! Refuses to fetch it twice at once.

use std::time::Duration;

use super::super::under_way::{Asker, Entry, Own, Request};
use super::catalogue::{Catalogue, EXECUTE, KEEP_MS};
use super::{Fetched, Known, Local, empty, results};
use crate::error::{Error, Executed, Kind as ErrorKind};
use crate::protocol::message::{INVALID_PARAMS, Message};
use crate::protocol::object::string;
use crate::protocol::request::Class;
use crate::protocol::tool_rules::cursor_of;
use crate::protocol::upstream::{Heard, Out};

impl Local {
    /// Answers what waits for the catalogue, or fetches it.
    pub(super) fn look_at_catalogue(&mut self) {
        let now = self.moment.now;
        if self.catalogue.as_ref().is_some_and(|known| now < known.until) {
            return self.answer_lists();
        }
        for own in [Own::Actions, Own::Schemas] {
            if !self.table.asks(own) {
                let number = self.ask(own);
                self.carry(number, Duration::ZERO);
            }
        }
    }

    fn ask(&mut self, own: Own) -> u64 {
        let id = self.table.own_id();
        let message = Message::request(&id, "tools/list", None);
        let promise = self.settings.promise(self.moment.now);
        self.table.insert(Entry::Request(Request::new(message, id, Asker::Own(own), (Class::A, promise))))
    }

    /// A part of the catalogue came, or cannot be had.
    pub(super) fn catalogue_came(&mut self) {
        let Fetched { actions: Some(_), schemas: Some(_) } = &self.fetched else { return };
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
                let tools = Catalogue::read(&data.body, schemas.flatten().as_deref());
                tools.map(|tools| (tools, data.etag)).map_err(str::to_owned)
            }
            Err(error) => return self.no_catalogue(error),
        };
        match read {
            Ok((tools, etag)) => {
                self.catalogue = Some(Known { tools, until, etag });
                self.answer_lists();
            }
            Err(why) => {
                let why = format!("{} gave no catalogue of its actions: {why}", self.settings.place);
                self.no_catalogue(Error::new(ErrorKind::ServiceError, why));
            }
        }
    }

    /// Lists fail; calls by name go on.
    fn no_catalogue(&mut self, error: Error) {
        for number in std::mem::take(&mut self.lists) {
            self.give_up(number, error.clone().executed(Executed::No));
        }
        if self.own_list.take().is_some() {
            self.note(format!("{error}; only {EXECUTE} is known"));
            let tools = Catalogue::without_actions();
            self.page_for_us(&tools, None);
        }
    }

    fn answer_lists(&mut self) {
        let Some(known) = self.catalogue.take() else { return };
        for number in std::mem::take(&mut self.lists) {
            let Some(request) = self.table.request(number) else { continue };
            let cursor = cursor_of(&request.message).and_then(string);
            match known.tools.page(cursor.as_deref()) {
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
        let page = tools.page(cursor).unwrap_or_else(|| empty("tools"));
        let message = Message::result(&self.table.own_id(), &page);
        self.out.push(Out::Heard(Heard::Tools(Ok(message))));
    }
}
