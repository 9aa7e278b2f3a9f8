//! Actions that make keys: whether the new key can be stored is checked first, and it is stored before the call is
//! answered.
//!
//! Refuses to send a call whose new key would be lost. Sees references only.

use std::time::Duration;

use serde_json::Value;

use super::super::under_way::Sending;
use super::{Call, Form, Local, results};
use crate::error::{Error, Executed, Kind as ErrorKind, Remedy};
use crate::protocol::Moment;
use crate::protocol::effect::Effect;
use crate::protocol::http::{CredentialUse, Data};
use crate::protocol::object::{fields, string, value};
use crate::protocol::secrets::{
    KeyWork, MASKED, MASKED_LENGTH, NewKey, NewKeyRule, NewKeys, Purpose, Replaced, StoredKey, is_masked,
    plain,
};
use crate::protocol::upstream::Out;
use crate::secret::Secret;

/// The longest name of what a key belongs to.
const LONGEST_SUBJECT: usize = 40;

/// A call that makes a key.
#[derive(Debug)]
pub(super) struct MadeKey {
    rule: NewKeyRule,
    replaced: Replaced,
    /// What it belongs to, as its parameters say.
    subject: Option<String>,
    /// The result, while the key is being stored.
    result: Option<String>,
}

impl Call {
    /// Says whether the call was made, and its key is being stored.
    pub(super) fn has_its_key(&self) -> bool {
        self.new_key.as_ref().is_some_and(|made| made.result.is_some())
    }
}

impl Local {
    /// Says whether a call that makes a key was sent, and its key is not stored yet.
    pub(in crate::protocol) fn makes_a_key(&self) -> bool {
        self.calls.values().any(|call| call.is_sent && call.new_key.is_some())
    }

    /// Sends a call that makes a key, once it is known that the key can be stored; `params` is JSON text.
    pub(super) fn make_key(&mut self, number: u64, rule: NewKeyRule, params: &str) {
        let (wanted, purpose) = (self.settings.new_keys, rule.purpose);
        if (wanted, purpose) == (NewKeys::Refused, Purpose::Added) {
            let why = format!("{} makes a key; nothing was sent", rule.action);
            let error = Error::new(ErrorKind::Usage, why).remedy(Remedy::SaveNewKey);
            return self.give_up(number, error.executed(Executed::No));
        }
        let params = fields(params);
        let argument = rule.replaces.as_deref().and_then(|name| value(&params, name)).and_then(string);
        let replaced = match (purpose, argument) {
            (Purpose::Added, _) => Replaced::Nothing,
            (Purpose::Switched, Some(key)) => Replaced::This(Secret::new(key.into_owned())),
            (Purpose::Switched, None) => Replaced::Current,
        };
        let subject = value(&params, &rule.subject).map(|raw| string(raw).unwrap_or(raw.into()).into_owned());
        let Some(call) = self.calls.get_mut(&number) else { return };
        if purpose == Purpose::Added {
            call.http.signing.credential = CredentialUse::Never;
        }
        if wanted == NewKeys::Shown {
            return self.carry(number, Duration::ZERO);
        }
        call.new_key = Some(MadeKey { rule, replaced, subject, result: None });
        let deadline = self.table.request(number).and_then(|request| request.promise.deadline());
        self.alarm_at(deadline);
        self.out.push(Out::Do(Effect::Keys(number, KeyWork::Check)));
    }

    /// Takes what came of work with the key store.
    pub(in crate::protocol) fn keys_done(
        &mut self,
        number: u64,
        came: Result<Option<StoredKey>, Error>,
        moment: Moment,
    ) {
        self.moment = moment;
        let is_waiting = self.table.request(number).is_some_and(|r| r.sending == Sending::Waiting);
        let Some(call) = self.calls.get_mut(&number) else { return };
        let Some(result) = call.new_key.as_mut().and_then(|made| made.result.take()) else {
            return match came {
                Ok(_) if is_waiting => self.carry(number, Duration::ZERO),
                Ok(_) => {}
                Err(error) => self.give_up(number, error.executed(Executed::No)),
            };
        };
        if !matches!(came, Ok(None)) {
            // It is used while this process runs, even where it could not be stored.
            self.list_opens();
        }
        let note = match came {
            Ok(Some(stored)) => self.note_of(&stored),
            Ok(None) => return self.answer(number, &result),
            Err(error) => {
                format!("asistry could not store the new key, which is lost when this process ends: {error}")
            }
        };
        self.answer(number, &results::with_note(&result, &note));
    }

    /// Answers with the result of a call whose key is still being stored.
    pub(super) fn answer_without_note(&mut self, number: u64) {
        let call = self.calls.get_mut(&number);
        let result = call.and_then(|call| call.new_key.as_mut()?.result.take());
        self.answer(number, &result.unwrap_or_default());
    }

    /// Answers with the result of an action; a new key in it is stored first.
    pub(super) fn finish(&mut self, number: u64, data: &Data) {
        let hints = &self.settings.hints;
        let result = match self.calls.get(&number).map(|call| call.form) {
            Some(Form::Steps) => results::of_batch(data, hints),
            _ => results::of_action(data, hints),
        };
        let Some(made) = self.calls.get_mut(&number).and_then(|call| call.new_key.as_mut()) else {
            return self.answer(number, &result);
        };
        let reply: Value = serde_json::from_slice(&data.body).unwrap_or_default();
        let named = made.rule.fields.iter().find_map(|name| masked_field(&reply, name));
        let is_added = made.rule.purpose == Purpose::Added;
        // A key that was made is not lost because its reply has another shape.
        let key = named.or_else(|| first_masked(&data.body).filter(|_| is_added));
        let Some(key) = key.filter(|_| is_added || !results::is_failure(data)) else {
            let is_lost = is_added && !results::is_failure(data);
            let note = "asistry found no new key in this result, and stored none";
            let result = if is_lost { results::with_note(&result, note) } else { result };
            return self.answer(number, &result);
        };
        let subject = found(&reply, &made.rule.subject).and_then(word).or(made.subject.take());
        let new = NewKey {
            name: name_of(&made.rule, subject.as_deref()),
            others: self
                .settings
                .secrets
                .fields
                .iter()
                .filter_map(|name| {
                    let other = masked_field(&reply, name)?;
                    (other != key).then(|| (name.clone(), other))
                })
                .collect(),
            key,
            replaced: made.replaced.clone(),
        };
        made.result = Some(result);
        self.out.push(Out::Do(Effect::Keys(number, KeyWork::Store(new))));
    }

    fn note_of(&self, stored: &StoredKey) -> String {
        let StoredKey { id, store, shown, .. } = stored;
        let arguments = self.settings.secrets.arguments.join(" or ");
        let current = stored
            .still_current
            .as_ref()
            .map_or_else(String::new, |name| format!(" The key in use is still {name}."));
        format!(
            "asistry stored the new key as {id} ({shown}) in {store}.{current} \
             Each {MASKED}… in the result is a reference to a secret: pass it unchanged as {arguments}."
        )
    }
}

/// Returns the reference in a field, at any depth.
fn masked_field(reply: &Value, name: &str) -> Option<String> {
    found(reply, name).and_then(Value::as_str).filter(|text| is_masked(text)).map(str::to_owned)
}

/// Returns the first reference in a text.
fn first_masked(text: &[u8]) -> Option<String> {
    let starts = memchr::memmem::find_iter(text, MASKED);
    let words = starts.filter_map(|at| std::str::from_utf8(text.get(at..at + MASKED_LENGTH)?).ok());
    words.filter(|word| is_masked(word)).map(str::to_owned).next()
}

/// Finds a field: the outermost of this name.
fn found<'a>(reply: &'a Value, name: &str) -> Option<&'a Value> {
    let mut level = vec![reply];
    while !level.is_empty() {
        let own = level.iter().filter_map(|value| value.as_object()).flatten();
        let own = own.filter(|(field, value)| plain(field) == plain(name) && !value.is_null());
        let own = own.map(|(_, value)| value).next();
        if own.is_some() {
            return own;
        }
        level = level
            .into_iter()
            .flat_map(|value| match value {
                Value::Object(map) => map.values().collect::<Vec<_>>(),
                Value::Array(list) => list.iter().collect(),
                _ => Vec::new(),
            })
            .collect();
    }
    None
}

fn word(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned).or_else(|| value.as_number().map(ToString::to_string))
}

/// Returns the name of a key that is stored beside another one.
fn name_of(rule: &NewKeyRule, subject: Option<&str>) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let subject: String = subject.unwrap_or("project").chars().filter(plain).take(LONGEST_SUBJECT).collect();
    format!("{}{subject}", rule.prefix)
}
