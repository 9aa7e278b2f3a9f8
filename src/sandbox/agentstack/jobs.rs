//! Batches that run after their answer: queued, run in one transaction with their result, and looked at.
//!
//! A process that ends before a job has run leaves nothing of it; a queued job that is older than a minute has failed.

use super::batch::Batch;
use super::desk::{Asker, Desk, Outcome};
use super::fault::Fault;
use crate::sandbox::keys::Keys;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde_json::{Value, json};

/// Records a job. Returns its state, and its id if it still has to run: an `idempotency_key` may have named it before.
pub(super) fn queue(
    connection: &mut Connection,
    keys: &Keys,
    batch: &Batch,
    asker: &Asker,
) -> Result<(Value, Option<String>), Fault> {
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let asker = batch.asker(asker)?;
    let (desk, mut new) = (Desk { connection: &change, keys, asker: &asker }, None);
    let state = batch.once(&desk, || {
        let id = uuid::Uuid::new_v4().to_string();
        let insert = "INSERT INTO agentstack_job (id, user_id, status) VALUES (?1, ?2, 'queued')";
        change.prepare_cached(insert)?.execute(params![id, asker.user()?])?;
        new = Some(id.clone());
        Ok(json!({"job_id": id, "status": "queued"}))
    })?;
    change.commit()?;
    Ok((state, new))
}

/// Runs a queued job, and stores what came of it.
pub(super) fn work(
    connection: &mut Connection,
    keys: &Keys,
    (id, batch): (&str, &Batch),
    asker: &Asker,
) -> Result<(), Fault> {
    let came = run(connection, keys, (id, batch), asker);
    let Err(fault) = came else { return Ok(()) };
    let update = "UPDATE agentstack_job SET status = 'failed', error = ?2 WHERE id = ?1";
    connection.execute(update, params![id, fault.text()])?;
    Ok(())
}

fn run(
    connection: &mut Connection,
    keys: &Keys,
    (id, batch): (&str, &Batch),
    asker: &Asker,
) -> Result<(), Fault> {
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let asker = batch.asker(asker)?;
    let answer = batch.run(&Desk { connection: &change, keys, asker: &asker })?;
    let error = first_error(&answer);
    let status = if error.is_none() { "completed" } else { "failed" };
    let update = "UPDATE agentstack_job SET status = ?2, answer = ?3, error = ?4 WHERE id = ?1";
    change.execute(update, params![id, status, answer.to_string(), error])?;
    Ok(change.commit()?)
}

fn first_error(answer: &Value) -> Option<String> {
    let steps = answer["steps"].as_array()?;
    let failed = steps.iter().find(|step| step["status"] == "error")?;
    let text = |name: &str| failed[name].as_str().unwrap_or_default();
    Some(format!("step {}: {}", text("id"), text("error")))
}

/// `GET …/jobs/{id}`: the caller's job.
pub(super) fn look(connection: &Connection, id: &str, asker: &Asker) -> Outcome {
    type State = (String, Option<String>, Option<String>, bool);
    let found: Option<State> = connection
        .prepare_cached(
            "SELECT status, answer, error, created_at < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 minute')
             FROM agentstack_job WHERE id = ?1 AND user_id = ?2",
        )?
        .query_row(params![id, asker.user()?], |row| row.try_into())
        .optional()?;
    let Some((status, answer, error, is_old)) = found else {
        return Err(Fault::not_found("there is no such job"));
    };
    if status == "queued" && is_old {
        let error = "the server ended before the job ran; nothing of it was done";
        return Ok(json!({"job_id": id, "status": "failed", "error": error}));
    }
    let progress = if status == "completed" { 100 } else { 0 };
    let mut state = json!({"job_id": id, "status": status, "progress": progress});
    if let Some(answer) = answer {
        state["result"] = serde_json::from_str(&answer)?;
    }
    if let Some(error) = error {
        state["error"] = error.into();
    }
    Ok(state)
}
