//! The pages for people: sign-in, consent, and a refusal. HTML without script.
//!
//! Every text from outside is escaped. The policy allows no script, no frame and no form to another place than the
//! client's redirect URI: browsers apply `form-action` to the redirect after a form, too. The referrer policy is
//! `same-origin`, since with `no-referrer` browsers send forms with `Origin: null`.

use super::authorize::Authorization;
use super::{CONSENT, SIGN_IN};
use crate::sandbox::reply::{self, Reply};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use sha2::{Digest, Sha256};
use url::{Host, Url};

const STYLE: &str = "
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 30rem; margin: 10vh auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; }
fieldset { border: 1px solid; border-radius: .4rem; margin: 1rem 0; padding: .5rem 1rem; }
label { display: block; padding: .3rem 0; }
button { display: block; width: 100%; margin: .6rem 0; padding: .6rem; font: inherit; text-align: left; }
:focus-visible { outline: 3px solid; outline-offset: 2px; }
code { overflow-wrap: anywhere; }
";

/// The hidden fields of a form: who may send it, and for which authorization request.
pub(super) struct Ticket<'a> {
    pub csrf: &'a str,
    pub query: &'a str,
}

/// An account that can sign in.
pub(super) struct Account {
    pub id: i64,
    pub name: String,
    pub email: String,
    /// The names of its organizations, separated by commas.
    pub organizations: String,
}

/// Builds the page that asks who signs in.
pub(super) fn sign_in(client: &str, accounts: &[Account], ticket: &Ticket<'_>) -> Reply {
    let button = |(at, account): (usize, &Account)| {
        format!(
            "<button name=\"account\" value=\"{}\"{}>{} ({})<br><small>{}</small></button>\n",
            account.id,
            if at == 0 { " autofocus" } else { "" },
            escaped(&account.name),
            escaped(&account.email),
            escaped(&account.organizations),
        )
    };
    let buttons: String = accounts.iter().enumerate().map(button).collect();
    let content = format!(
        "<h1>Sign in to Zuko (sandbox)</h1>
<p><strong>{}</strong> wants to use your account. Choose one; there are no passwords here.</p>
<form method=\"post\" action=\"{SIGN_IN}\">
{}{buttons}</form>",
        escaped(client),
        hidden(ticket),
    );
    page(StatusCode::OK, ("Sign in", &content), None)
}

/// Builds the page that asks for consent.
pub(super) fn consent(wanted: &Authorization, account: &Account, ticket: &Ticket<'_>) -> Reply {
    let scope = |scope: &&'static str| {
        format!(
            "<label><input type=\"checkbox\" name=\"{scope}\" value=\"yes\" checked> {} <code>{scope}</code></label>\n",
            meaning(scope),
        )
    };
    let scopes: String = wanted.scopes.iter().map(scope).collect();
    let content = format!(
        "<h1>Allow {}?</h1>
<p>You are signed in as <strong>{}</strong> ({}).</p>
<form method=\"post\" action=\"{CONSENT}\">
{}<fieldset><legend>It may</legend>
{scopes}</fieldset>
<p>It continues at <code>{}</code>.</p>
<button name=\"decision\" value=\"allow\" autofocus>Allow</button>
<button name=\"decision\" value=\"deny\">Deny</button>
<button name=\"decision\" value=\"switch\">Use another account</button>
</form>",
        escaped(&wanted.client.name),
        escaped(&account.name),
        escaped(&account.email),
        hidden(ticket),
        escaped(&wanted.redirect_uri),
    );
    page(StatusCode::OK, ("Allow access", &content), form_target(&wanted.redirect_uri))
}

/// Builds the page of a request that cannot go on.
pub(super) fn refusal(status: StatusCode, why: &str) -> Reply {
    let content = format!(
        "<h1>This login cannot continue</h1>
<p>{}.</p>
<p>Go back to the application and start again.</p>",
        escaped(why)
    );
    page(status, ("Error", &content), None)
}

/// Redirects a browser; a POST becomes a GET.
pub(super) fn redirect(location: &str) -> Reply {
    guarded(reply::with(reply::empty(StatusCode::SEE_OTHER), "location", location), None)
}

fn meaning(scope: &str) -> &'static str {
    match scope {
        super::super::READ_ORGANIZATIONS => "List the organizations you belong to",
        super::super::READ_TASKS => "List and read tasks",
        _ => "Create and change tasks",
    }
}

fn hidden(ticket: &Ticket<'_>) -> String {
    format!(
        "<input type=\"hidden\" name=\"csrf\" value=\"{}\">\n<input type=\"hidden\" name=\"query\" value=\"{}\">\n",
        escaped(ticket.csrf),
        escaped(ticket.query),
    )
}

fn page(status: StatusCode, (title, content): (&str, &str), target: Option<String>) -> Reply {
    let text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title} - Zuko (sandbox)</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n{content}\n</main>\n</body>\n</html>\n"
    );
    let mut page = reply::empty(status);
    *page.body_mut() = reply::Body::Whole(text.into());
    guarded(reply::with(page, "content-type", "text/html; charset=utf-8"), target)
}

/// Adds the headers that protect a page.
fn guarded(page: Reply, target: Option<String>) -> Reply {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    let target = target.map(|target| format!(" {target}")).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'{target}; frame-ancestors 'none'; base-uri 'none'"
    );
    let headers = [
        ("content-security-policy", policy.as_str()),
        ("referrer-policy", "same-origin"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    ];
    headers.into_iter().fold(page, |page, (name, value)| reply::with(page, name, value))
}

/// Returns a redirect URI as a source of a policy; an IPv6 address cannot be written there.
fn form_target(redirect_uri: &str) -> Option<String> {
    let url = Url::parse(redirect_uri).ok()?;
    let is_web = matches!(url.scheme(), "http" | "https") && !matches!(url.host(), Some(Host::Ipv6(_)));
    Some(if is_web { url.origin().ascii_serialization() } else { format!("{}:", url.scheme()) })
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_may_lead_to_its_clients_redirect_uri_only() {
        for (uri, target) in [
            ("http://127.0.0.1:5/cb?x", "http://127.0.0.1:5"),
            ("https://app.example/cb", "https://app.example"),
            ("http://[::1]:5/cb", "http:"),
            ("cursor://host/cb", "cursor:"),
        ] {
            assert_eq!(form_target(uri).as_deref(), Some(target));
        }
    }

    #[test]
    fn markup_is_shown_as_text() {
        assert_eq!(escaped("<a href='x'>\"&"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;");
    }
}
