//! The current user's online booking page.

use super::records::{change, mistake, read};
use super::tables::BOOKING;
use super::{INTERNAL, OVERWRITES, READS};
use crate::sandbox::arguments::{Arguments, Form, Param, Shape};
use crate::sandbox::keys::Caller;
use crate::sandbox::service::{Outcome, Tool};
use crate::sandbox::shapes::{FLAG, LONG, SHORT, between, minutes};
use rusqlite::Connection;
use serde_json::{Value, json};

const LOCATION_TYPES: &[&str] = &["none", "in_person", "google_meet"];
const DAYS: [&str; 7] = ["1", "2", "3", "4", "5", "6", "7"];

const SLOT: Form = Form::Own(&Shape {
    words: "an integer from 1 to 1440",
    schema: || json!({"type": "integer", "minimum": 1, "maximum": 1440}),
    read: between::<1, 1440>,
});
const MINUTES: Form = Form::Own(&Shape {
    words: "an integer from 0 to 525600",
    schema: || json!({"type": "integer", "minimum": 0, "maximum": 525_600}),
    read: between::<0, 525_600>,
});
const DAYS_AHEAD: Form = Form::Own(&Shape {
    words: "an integer from 1 to 730",
    schema: || json!({"type": "integer", "minimum": 1, "maximum": 730}),
    read: between::<1, 730>,
});
const WEEK: Form = Form::Own(&Shape {
    words: "an object with keys \"1\" (Monday) to \"7\" (Sunday), each an array of {\"start\":\"HH:MM\",\
        \"end\":\"HH:MM\"}, each end after its start",
    schema: week_schema,
    read: |value| is_week(value).then(|| value.clone()),
});

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "get_booking_settings",
        title: "Get the booking page",
        description: "Return the settings of the current user's online booking page.",
        access: INTERNAL,
        run: get,
        ..READS
    },
    Tool {
        name: "update_booking_settings",
        title: "Update the booking page",
        description: "Change the settings of the online booking page, or create it.",
        access: INTERNAL,
        params: &[
            Param::optional("isActive", FLAG, "Whether clients can book."),
            Param::optional("slotDuration", SLOT, "Minutes of a slot."),
            Param::optional("bufferMinutes", MINUTES, "Minutes between two slots."),
            Param::optional("weeklyHours", WEEK, "Open hours of each day; it replaces the whole week."),
            Param::optional("maxDaysAhead", DAYS_AHEAD, "How many days ahead can be booked."),
            Param::optional(
                "minimumNoticeMinutes",
                MINUTES,
                "How many minutes before it a slot can be booked.",
            ),
            Param::optional("welcomeMessage", LONG, "What clients read first."),
            Param::optional("locationType", Form::Word(LOCATION_TYPES, None), "Where appointments are."),
            Param::optional("locationAddress", SHORT, "The address, for in_person."),
            Param::optional("bookingCalendarId", Form::Uuid, "The calendar that gets the appointments."),
            Param::optional("companyId", Form::Uuid, "The UUID of the company it belongs to."),
        ],
        run: update,
        ..OVERWRITES
    },
];

fn get(connection: &mut Connection, caller: &Caller, _: &Arguments) -> Outcome {
    read(connection, caller, |view| {
        let page = view.list(&BOOKING, "true", &[])?.pop();
        page.map(Value::from)
            .ok_or_else(|| mistake("there is no booking page yet: update_booking_settings creates one"))
    })
}

fn update(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    change(connection, caller, |view| {
        let fields = arguments.all().clone();
        let page = match view.list(&BOOKING, "true", &[])?.pop() {
            Some(page) => view.update(&BOOKING, page["id"].as_str().unwrap_or_default(), &fields)?,
            None => {
                let mut fields = fields;
                fields
                    .insert("slug".into(), format!("studio-{}", &view.user[..view.user.len().min(8)]).into());
                view.insert(&BOOKING, fields)?
            }
        };
        Ok(page.into())
    })
}

fn week_schema() -> Value {
    let time = json!({"type": "string", "pattern": "^([01]\\d|2[0-3]):[0-5]\\d$"});
    let range = json!({
        "type": "object",
        "properties": {"start": time, "end": time},
        "required": ["start", "end"],
        "additionalProperties": false,
    });
    json!({
        "type": "object",
        "patternProperties": {"^[1-7]$": {"type": "array", "items": range}},
        "additionalProperties": false,
    })
}

fn is_week(value: &Value) -> bool {
    let is_day = |(day, ranges): (&String, &Value)| {
        DAYS.contains(&day.as_str()) && ranges.as_array().is_some_and(|ranges| ranges.iter().all(is_range))
    };
    value.as_object().is_some_and(|days| days.iter().all(is_day))
}

fn is_range(range: &Value) -> bool {
    let time = |name: &str| range[name].as_str().and_then(minutes);
    let is_long = time("start").zip(time("end")).is_some_and(|(start, end)| start < end);
    is_long && range.as_object().is_some_and(|fields| fields.len() == 2)
}
