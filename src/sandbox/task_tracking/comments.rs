//! Task Tracking's comments, and the verification of the customer who adds one.
//!
//! A refusal names the factors and how many are needed, never which given one is wrong.

use super::digits;
use super::tasks::{self, Task};
use crate::sandbox::arguments::Arguments;
use crate::sandbox::keys::Caller;
use crate::sandbox::service::{Outcome, Refusal};
use crate::sandbox::text::folded;
use rusqlite::{Connection, Row, TransactionBehavior, params};
use serde_json::{Value, json};

const FIELDS: &str = "id, author, by_customer, text, created_at";
/// The number of verification factors there are.
const FACTORS: u64 = 3;
/// How many digits of two phone numbers are compared: all but a country code.
const PHONE_DIGITS: usize = 10;

/// `listTaskComments`: newest first.
pub(super) fn list(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    let view = connection.transaction()?;
    let task = tasks::one(&view, caller, arguments)?;
    let mut statement = view.prepare_cached(&format!(
        "SELECT {FIELDS} FROM tracking_comment WHERE task_id = ?1 ORDER BY rowid DESC LIMIT ?2"
    ))?;
    let comments = statement
        .query_map(params![task.id, arguments.integer("limit")], comment)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(json!({"taskId": task.id, "count": comments.len(), "comments": comments}))
}

/// `addCustomerComment`: in the customer's name, once enough factors match.
pub(super) fn add(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let task = tasks::one(&change, caller, arguments)?;
    let needed = caller.settings["factors"].as_u64().unwrap_or(FACTORS).min(FACTORS);
    verify(&task, arguments, needed).map_err(Refusal::Mistake)?;
    let id = uuid::Uuid::new_v4().to_string();
    change
        .prepare_cached(
            "INSERT INTO tracking_comment (id, task_id, author, by_customer, text) VALUES (?1, ?2, ?3, 1, ?4)",
        )?
        .execute(params![id, task.id, task.customer, arguments.text("comment")])?;
    change
        .prepare_cached(
            "UPDATE tracking_task SET updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE id = ?1",
        )?
        .execute([&task.id])?;
    let added = change
        .prepare_cached(&format!("SELECT {FIELDS} FROM tracking_comment WHERE id = ?1"))?
        .query_row([&id], comment)?;
    change.commit()?;
    Ok(json!({"taskId": task.id, "comment": added}))
}

fn comment(row: &Row<'_>) -> rusqlite::Result<Value> {
    let (id, author, by_customer, text, created_at): (String, String, bool, String, String) =
        row.try_into()?;
    Ok(json!({
        "id": id, "author": author, "byCustomer": by_customer, "text": text, "createdAt": created_at
    }))
}

/// Checks the given factors: all must match, and at least `needed` must be given.
fn verify(task: &Task, arguments: &Arguments, needed: u64) -> Result<(), String> {
    type Check = fn(&Task, &str) -> bool;
    let factors: [(&str, Check); 3] =
        [("taskNumber", is_number), ("customerName", is_name), ("phoneNumber", is_phone)];
    let given: Vec<bool> =
        factors.iter().filter_map(|(name, is_right)| Some(is_right(task, arguments.text(name)?))).collect();
    let refused = |why: &str| {
        format!(
            "customer verification required: {needed} of these 3 factors must be given and match: \
             taskNumber (task number), customerName (customer name), phoneNumber (phone number). {why}"
        )
    };
    if given.contains(&false) {
        return Err(refused("What was given does not match this task."));
    }
    match given.len() as u64 {
        count if count < needed => Err(refused(&format!("Given: {count}."))),
        _ => Ok(()),
    }
}

fn is_number(task: &Task, given: &str) -> bool {
    let given = given.trim();
    given.strip_prefix('#').unwrap_or(given) == task.number.to_string()
}

fn is_name(task: &Task, given: &str) -> bool {
    let words = |text: &str| folded(text).split_whitespace().collect::<Vec<_>>().join(" ");
    words(given) == words(&task.customer)
}

fn is_phone(task: &Task, given: &str) -> bool {
    let (given, known) = (digits(given), digits(&task.phone));
    let last = |digits: &str| digits.get(digits.len().checked_sub(PHONE_DIGITS)?..).map(str::to_owned);
    (given == known && !given.is_empty()) || (last(&given).is_some() && last(&given) == last(&known))
}
