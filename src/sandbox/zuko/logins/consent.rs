//! Signing in and consenting: browser sessions, and the answers to the two forms.
//!
//! Refuses a form that this server did not give to this browser for this request: its `csrf` field is a keyed hash of
//! the browser's cookie, the form's path and the authorization request. Signing in changes the cookie.

use super::authorize::{self, Authorization, Fault};
use super::pages::{self, Account, Ticket};
use super::parameters::Parameters;
use super::{AUTHORIZE, Asked, CONSENT, SIGN_IN, fresh};
use crate::sandbox::reply::{self, Reply};
use hyper::StatusCode;
use hyper::header::COOKIE;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

/// The cookie of a browser.
const NAME: &str = "zuko_session";
/// Lifetime of a session in seconds.
const SESSION: i64 = 12 * 60 * 60;
/// Lifetime of a code in seconds.
const CODE: i64 = 60;

const ACCOUNT: &str = "SELECT u.id, u.name, u.email, group_concat(o.name, ', ')
    FROM zuko_user u JOIN zuko_member m ON m.user_id = u.id JOIN zuko_organization o ON o.id = m.organization_id";

/// Shows the sign-in page or, to a browser that is signed in, the consent page.
pub(super) fn ask(connection: &mut Connection, asked: &Asked) -> rusqlite::Result<Reply> {
    let wanted = match authorize::read(connection, asked, &asked.query)? {
        Ok(wanted) => wanted,
        Err(fault) => return Ok(refused(&fault)),
    };
    let (cookie, is_new) = match cookie(asked) {
        Some(cookie) => (cookie.to_owned(), false),
        None => (fresh("")?, true),
    };
    let page = match signed_in(connection, asked, &cookie)? {
        Some(account) => {
            let csrf = csrf(asked, (CONSENT, &cookie), &asked.query);
            pages::consent(&wanted, &account, &Ticket { csrf: &csrf, query: &asked.query })
        }
        None => {
            let csrf = csrf(asked, (SIGN_IN, &cookie), &asked.query);
            let accounts = accounts(connection)?;
            pages::sign_in(&wanted.client.name, &accounts, &Ticket { csrf: &csrf, query: &asked.query })
        }
    };
    Ok(if is_new { with_cookie(page, &cookie) } else { page })
}

/// Signs a browser in, and shows it the consent page.
pub(super) fn sign_in(connection: &mut Connection, asked: &Asked) -> rusqlite::Result<Reply> {
    let (form, query) = match form(asked, SIGN_IN) {
        Ok(form) => form,
        Err(why) => return Ok(pages::refusal(StatusCode::BAD_REQUEST, &why)),
    };
    let chosen = form.named("account").and_then(|id| id.parse::<i64>().ok());
    let Some(account) = accounts(connection)?.into_iter().find(|account| Some(account.id) == chosen) else {
        return Ok(pages::refusal(StatusCode::BAD_REQUEST, "account is not one of those on the page"));
    };
    let cookie = fresh("")?;
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    change.execute("DELETE FROM zuko_session WHERE expires_at <= ?1", [asked.now])?;
    change.execute(
        "INSERT INTO zuko_session (hash, user_id, expires_at) VALUES (?1, ?2, ?3)",
        params![asked.keys.hash(&cookie), account.id, asked.now + SESSION],
    )?;
    change.commit()?;
    Ok(with_cookie(pages::redirect(&format!("{AUTHORIZE}?{query}")), &cookie))
}

/// Takes a decision back to the client.
pub(super) fn decide(connection: &mut Connection, asked: &Asked) -> rusqlite::Result<Reply> {
    let (form, query) = match form(asked, CONSENT) {
        Ok(form) => form,
        Err(why) => return Ok(pages::refusal(StatusCode::BAD_REQUEST, &why)),
    };
    let cookie = cookie(asked).unwrap_or_default();
    let again = || pages::redirect(&format!("{AUTHORIZE}?{query}"));
    let Some(account) = signed_in(connection, asked, cookie)? else { return Ok(again()) };
    let wanted = match authorize::read(connection, asked, &query)? {
        Ok(wanted) => wanted,
        Err(fault) => return Ok(refused(&fault)),
    };
    let scopes: Vec<_> = wanted.scopes.iter().filter(|scope| form.named(scope).is_some()).copied().collect();
    match form.named("decision") {
        Some("allow") if !scopes.is_empty() => {
            let code = grant(connection, asked, (&wanted, account.id, &scopes.join(" ")))?;
            Ok(pages::redirect(&wanted.success(&code)))
        }
        Some("allow" | "deny") => {
            Ok(pages::redirect(&wanted.failure("access_denied", "the user did not allow it")))
        }
        Some("switch") => {
            connection.execute("DELETE FROM zuko_session WHERE hash = ?1", [asked.keys.hash(cookie)])?;
            Ok(again())
        }
        _ => Ok(pages::refusal(StatusCode::BAD_REQUEST, "decision must be allow, deny or switch")),
    }
}

/// Stores a grant, and returns its code.
fn grant(
    connection: &mut Connection,
    asked: &Asked,
    (wanted, user, scope): (&Authorization, i64, &str),
) -> rusqlite::Result<String> {
    let code = fresh("zuko_code_")?;
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let expires_at = asked.now + CODE;
    change.execute(
        "INSERT INTO zuko_grant (client_id, user_id, scope, resource, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![wanted.client.id, user, scope, asked.resource(), expires_at],
    )?;
    change.execute(
        "INSERT INTO zuko_code (hash, grant_id, redirect_uri, challenge, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            asked.keys.hash(&code),
            change.last_insert_rowid(),
            wanted.redirect_uri,
            wanted.challenge,
            expires_at
        ],
    )?;
    change.commit()?;
    Ok(code)
}

fn refused(fault: &Fault) -> Reply {
    match fault {
        Fault::Shown(why) => pages::refusal(StatusCode::BAD_REQUEST, why),
        Fault::Returned(url) => pages::redirect(url),
    }
}

/// Returns the fields of a form that was given to this browser, and its authorization request.
fn form(asked: &Asked, path: &str) -> Result<(Parameters, String), String> {
    let form = Parameters::of_form(asked)?;
    let (query, given) = (form.required("query")?.to_owned(), form.required("csrf")?);
    let is_given = cookie(asked).is_some_and(|cookie| {
        // Hashed again, so that the time of the comparison says nothing.
        asked.keys.hash(given) == asked.keys.hash(&csrf(asked, (path, cookie), &query))
    });
    if is_given { Ok((form, query)) } else { Err("the form is not one that this browser was given".into()) }
}

fn csrf(asked: &Asked, (path, cookie): (&str, &str), query: &str) -> String {
    asked.keys.hash(&format!("csrf\n{path}\n{cookie}\n{query}"))
}

fn cookie(asked: &Asked) -> Option<&str> {
    let cookies = asked.headers.get_all(COOKIE).iter().filter_map(|header| header.to_str().ok());
    cookies
        .flat_map(|header| header.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(NAME)?.strip_prefix('='))
        .filter(|value| !value.is_empty())
}

fn with_cookie(page: Reply, value: &str) -> Reply {
    let cookie = format!("{NAME}={value}; Path=/auth; Max-Age={SESSION}; HttpOnly; SameSite=Lax");
    reply::with(page, "set-cookie", &cookie)
}

fn signed_in(connection: &Connection, asked: &Asked, cookie: &str) -> rusqlite::Result<Option<Account>> {
    connection
        .prepare_cached(&format!(
            "{ACCOUNT} JOIN zuko_session s ON s.user_id = u.id WHERE s.hash = ?1 AND s.expires_at > ?2 GROUP BY u.id"
        ))?
        .query_row(params![asked.keys.hash(cookie), asked.now], account)
        .optional()
}

fn accounts(connection: &Connection) -> rusqlite::Result<Vec<Account>> {
    let mut statement = connection.prepare_cached(&format!("{ACCOUNT} GROUP BY u.id ORDER BY u.id"))?;
    statement.query_map([], account)?.collect()
}

fn account(row: &rusqlite::Row<'_>) -> rusqlite::Result<Account> {
    Ok(Account { id: row.get(0)?, name: row.get(1)?, email: row.get(2)?, organizations: row.get(3)? })
}
