//! Calendars and appointments of the current user.

use super::records::{Object, View, change, in_order, mistake, read, without};
use super::tables::{APPOINTMENT, CALENDAR, Record};
use super::{ADDS, INTERNAL, OVERWRITES, READS};
use crate::sandbox::arguments::{Arguments, Form, Param};
use crate::sandbox::keys::Caller;
use crate::sandbox::service::{Outcome, Refusal, Tool};
use crate::sandbox::shapes::{DAY, EMAIL, FLAG, LONG, SHORT, TIME};
use rusqlite::Connection;
use serde_json::Value;

const LOCATIONS: &[&str] = &["studio", "online", "home"];

pub(super) const START_DAY: Param = Param::optional("startDate", DAY, "The first day, YYYY-MM-DD.");
pub(super) const END_DAY: Param = Param::optional("endDate", DAY, "The last day, YYYY-MM-DD.");

const TITLE: Param = Param::optional("title", SHORT, "What it is.");
const CLIENT_NAME: Param = Param::optional("clientName", SHORT, "The client's name.");
const CLIENT_EMAIL: Param = Param::optional("clientEmail", EMAIL, "The client's e-mail address.");
const ALL_DAY: Param = Param::optional("isAllDay", FLAG, "Whether it takes the whole day.");
const LOCATION: Param = Param::optional("location", Form::Word(LOCATIONS, None), "Where it is.");
const ADDRESS: Param = Param::optional("address", SHORT, "The address, for one away from the studio.");
const PLATFORM: Param = Param::optional("onlinePlatform", SHORT, "The platform, for one online.");
const LINK: Param = Param::optional("onlineLink", SHORT, "The link, for one online.");
const NOTES: Param = Param::optional("notes", LONG, "Notes.");
const STATUS: Param = Param::optional("status", SHORT, "Its status; scheduled at first.");
const PROJECT_ID: Param = Param::optional("projectId", Form::Uuid, "The UUID of its project.");

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "list_calendars",
        title: "List calendars",
        description: "List the current user's calendars.",
        access: INTERNAL,
        run: |connection, caller, _| {
            read(connection, caller, |view| Ok(view.list(&CALENDAR, "true ORDER BY rowid", &[])?.into()))
        },
        ..READS
    },
    Tool {
        name: "list_appointments",
        title: "List appointments",
        description: "List the current user's appointments, both days of the range included.",
        access: INTERNAL,
        params: &[START_DAY, END_DAY],
        run: |connection, caller, arguments| {
            read(connection, caller, |view| Ok(in_range(view, &APPOINTMENT, arguments)?.into()))
        },
        ..READS
    },
    Tool {
        name: "create_appointment",
        title: "Create an appointment",
        description: "Create an appointment in the default calendar.",
        access: INTERNAL,
        params: &[
            Param::required("date", DAY, "The day, YYYY-MM-DD."),
            Param::required("startTime", TIME, "The start, HH:MM."),
            Param::required("endTime", TIME, "The end, HH:MM, later on the same day."),
            TITLE,
            CLIENT_NAME,
            CLIENT_EMAIL,
            Param::optional("clientPhone", SHORT, "The client's phone number."),
            ALL_DAY,
            LOCATION,
            ADDRESS,
            PLATFORM,
            LINK,
            NOTES,
            STATUS,
            PROJECT_ID,
        ],
        run: create,
        ..ADDS
    },
    Tool {
        name: "update_appointment",
        title: "Update an appointment",
        description: "Change fields of an appointment; what is left out stays.",
        access: INTERNAL,
        params: &[
            Param::required("appointmentId", Form::Uuid, "The appointment's UUID."),
            TITLE,
            CLIENT_NAME,
            CLIENT_EMAIL,
            Param::optional("date", DAY, "Another day, YYYY-MM-DD."),
            Param::optional("startTime", TIME, "Another start, HH:MM."),
            Param::optional("endTime", TIME, "Another end, HH:MM."),
            ALL_DAY,
            LOCATION,
            ADDRESS,
            PLATFORM,
            LINK,
            NOTES,
            STATUS,
            PROJECT_ID,
        ],
        run: update,
        ..OVERWRITES
    },
];

fn create(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    change(connection, caller, |view| {
        let mut fields = arguments.all().clone();
        check(&fields)?;
        let calendar = view.list(&CALENDAR, "isDefault ORDER BY rowid LIMIT 1", &[])?.pop();
        fields.insert("calendarId".into(), calendar.map_or(Value::Null, |calendar| calendar["id"].clone()));
        Ok(view.insert(&APPOINTMENT, fields)?.into())
    })
}

fn update(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    change(connection, caller, |view| {
        let id = arguments.text("appointmentId").unwrap_or_default();
        view.one(&APPOINTMENT, "appointmentId", id)?;
        let after = view.update(&APPOINTMENT, id, &without(arguments, "appointmentId"))?;
        check(&after)?;
        Ok(after.into())
    })
}

/// Checks the times, unless the appointment takes the whole day.
fn check(appointment: &Object) -> Result<(), Refusal> {
    match appointment.get("isAllDay").and_then(Value::as_bool) {
        Some(true) => Ok(()),
        _ => end_after_start(appointment),
    }
}

/// Returns the records from `startDate` to `endDate`, in the order of time.
pub(super) fn in_range(
    view: &View<'_>,
    record: &Record,
    arguments: &Arguments,
) -> Result<Vec<Object>, Refusal> {
    in_order(arguments.all(), "startDate", "endDate")?;
    let rest = "(?4 IS NULL OR date >= ?4) AND (?5 IS NULL OR date <= ?5) ORDER BY date, startTime, rowid";
    Ok(view.list(record, rest, &[&arguments.text("startDate"), &arguments.text("endDate")])?)
}

/// Refuses an end that is not after the start. Times of the form HH:MM are in order as texts.
pub(super) fn end_after_start(fields: &Object) -> Result<(), Refusal> {
    let time = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let (start, end) = (time("startTime"), time("endTime"));
    if end > start {
        return Ok(());
    }
    Err(mistake(format!("`endTime` ({end}) must be later than `startTime` ({start}), on the same day")))
}
