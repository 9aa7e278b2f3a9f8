//! What is only created: clients, offers, invoices, ideas, contacts.

use super::records::{View, change, in_order};
use super::tables::{CLIENT, CONTACT, IDEA, INVOICE, OFFER, Record};
use super::{ADDS, CURRENCY_TEXT, INTERNAL, PRIORITIES};
use crate::sandbox::arguments::{Arguments, Form, Param};
use crate::sandbox::keys::Caller;
use crate::sandbox::service::{Outcome, Tool};
use crate::sandbox::shapes::{CURRENCY, EMAIL, LINE, LONG, NUMBER, SHORT};
use rusqlite::Connection;

const COMPANY_ID: Param = Param::optional("companyId", Form::Uuid, "The UUID of the company it belongs to.");
const CLIENT_ID: Param = Param::optional("clientId", Form::Uuid, "The client's UUID.");
const SUBJECT: Param = Param::optional("subject", SHORT, "What it is about, in a line.");
const DESCRIPTION: Param = Param::optional("description", LONG, "More about it.");
const CURRENCY_CODE: Param = Param::optional("currency", CURRENCY, CURRENCY_TEXT);
const NOTES: Param = Param::optional("notes", LONG, "Notes.");
const MAIL: Param = Param::optional("email", EMAIL, "An e-mail address.");
const PHONE: Param = Param::optional("phone", SHORT, "A phone number.");
const ADDRESS: Param = Param::optional("address", SHORT, "Street and number.");
const CITY: Param = Param::optional("city", SHORT, "City.");
const COUNTRY: Param = Param::optional("country", SHORT, "Country.");

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "create_client",
        title: "Create a client",
        description: "Create a client.",
        params: &[
            Param::required("companyName", LINE, "The name of the client's company."),
            Param::optional("firstName", SHORT, "First name of the person to talk to."),
            Param::optional("lastName", SHORT, "Last name of the person to talk to."),
            MAIL,
            PHONE,
            Param::optional("vatNumber", SHORT, "VAT number."),
            ADDRESS,
            Param::optional("postalCode", SHORT, "Postal code."),
            CITY,
            COUNTRY,
            COMPANY_ID,
        ],
        run: |connection, caller, arguments| create(connection, caller, arguments, &CLIENT),
        ..ADDS
    },
    Tool {
        name: "create_offer",
        title: "Create an offer",
        description: "Create an offer (a quote); it is a draft with the next number.",
        access: INTERNAL,
        params: &[
            SUBJECT,
            DESCRIPTION,
            CLIENT_ID,
            COMPANY_ID,
            Param::optional("offerDate", Form::Date, "The day of the offer, ISO-8601."),
            Param::optional("validUntil", Form::Date, "The last day on which it is valid, ISO-8601."),
            CURRENCY_CODE,
            NOTES,
        ],
        run: |connection, caller, arguments| {
            in_order(arguments.all(), "offerDate", "validUntil")?;
            create_numbered(connection, caller, arguments, &OFFER)
        },
        ..ADDS
    },
    Tool {
        name: "create_invoice",
        title: "Create an invoice",
        description: "Create an invoice; it is a draft with the next number.",
        params: &[
            CLIENT_ID,
            COMPANY_ID,
            Param::optional("projectId", Form::Uuid, "The UUID of the project that it is for."),
            SUBJECT,
            DESCRIPTION,
            Param::optional("invoiceDate", Form::Date, "The day of the invoice, ISO-8601."),
            Param::optional("dueDate", Form::Date, "When it is to be paid, ISO-8601."),
            CURRENCY_CODE,
            NOTES,
            Param::optional("paymentMethod", SHORT, "How it is to be paid."),
        ],
        run: |connection, caller, arguments| {
            in_order(arguments.all(), "invoiceDate", "dueDate")?;
            create_numbered(connection, caller, arguments, &INVOICE)
        },
        ..ADDS
    },
    Tool {
        name: "create_idea",
        title: "Create an idea",
        description: "Create an idea or a proposal.",
        access: INTERNAL,
        params: &[
            Param::required("title", LINE, "The idea in a line."),
            DESCRIPTION,
            Param::optional("estimatedBudget", NUMBER, "Estimated budget, in its currency."),
            CURRENCY_CODE,
            Param::optional("priority", Form::Word(PRIORITIES, Some("medium")), "How urgent it is."),
            NOTES,
            COMPANY_ID,
            CLIENT_ID,
        ],
        run: |connection, caller, arguments| create(connection, caller, arguments, &IDEA),
        ..ADDS
    },
    Tool {
        name: "create_contact",
        title: "Create a contact",
        description: "Create a business contact.",
        params: &[
            Param::optional("companyName", SHORT, "The name of the contact's company."),
            Param::optional("contactName", SHORT, "The name of the person."),
            MAIL,
            PHONE,
            Param::optional("website", SHORT, "Website."),
            ADDRESS,
            CITY,
            COUNTRY,
            Param::optional("source", SHORT, "Where the contact comes from."),
            Param::optional("status", SHORT, "How far things are."),
            NOTES,
            Param::optional("nextFollowUp", Form::Date, "When to get in touch again, ISO-8601."),
        ],
        run: |connection, caller, arguments| create(connection, caller, arguments, &CONTACT),
        ..ADDS
    },
];

fn create(connection: &mut Connection, caller: &Caller, arguments: &Arguments, record: &Record) -> Outcome {
    change(connection, caller, |view| Ok(view.insert(record, arguments.all().clone())?.into()))
}

/// Creates a record with the next number of its kind in the workspace.
fn create_numbered(
    connection: &mut Connection,
    caller: &Caller,
    arguments: &Arguments,
    record: &Record,
) -> Outcome {
    change(connection, caller, |view| {
        let mut fields = arguments.all().clone();
        fields.insert("number".into(), next_number(view, record)?.into());
        Ok(view.insert(record, fields)?.into())
    })
}

fn next_number(view: &View<'_>, record: &Record) -> rusqlite::Result<i64> {
    let sql = format!("SELECT coalesce(max(number), 0) + 1 FROM {} WHERE workspaceId = ?1", record.table);
    view.connection.prepare_cached(&sql)?.query_row([&view.workspace], |row| row.get(0))
}
