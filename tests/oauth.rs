//! OAuth logins, with the real binary: the shell, the bridge, and several processes at once.

mod bridges;
mod machines;
mod proofs;
pub mod server;

use std::process::{Child, Stdio};

use url::Url;

use crate::support::home::{Home, Ran};
use crate::support::service::Received;
use server::{Browser, Login, MARK, ask, denial_of, follow, get};

/// A person's machine: a home, and a browser.
struct Desk {
    home: Home,
    browser: Browser,
}

impl Desk {
    fn new() -> Self {
        let home = Home::new();
        let browser = Browser::in_directory(home.path());
        Self { home, browser }
    }

    /// Starts a command that may need a person.
    fn start(&self, login: &Login, words: &[&str]) -> Running {
        let url = login.url();
        self.start_with(&[&["--url", &url], words].concat())
    }

    /// Starts a command that names its service itself.
    fn start_with(&self, words: &[&str]) -> Running {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_asistry"));
        command.args(words).env_clear().envs(self.home.environment()).env("BROWSER", &self.browser.command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(command.spawn().unwrap())
    }

    /// Runs a command that opens no window.
    fn run(&self, login: &Login, words: &[&str]) -> Ran {
        self.start(login, words).ends()
    }

    /// No file but the encrypted one holds a secret of the server.
    fn holds_no_secret(&self) {
        for file in self.home.files().iter().filter(|file| file.is_file()) {
            let content = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
            assert!(!content.contains(MARK), "{}: {content}", file.display());
        }
    }

    /// Logs in.
    fn logs_in(&self, login: &Login) {
        let running = self.start(login, &["login"]);
        let (status, page) = self.browser.logs_in();
        assert_eq!(status, 200, "{page}");
        running.ends().succeeds();
    }
}

/// A command under way.
struct Running(Child);

impl Running {
    fn ends(self) -> Ran {
        let output = self.0.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Ran {
            code: output.status.code().expect("no signal"),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

#[test]
fn a_login_is_stored_used_shown_and_ended() {
    let (desk, login) = (Desk::new(), Login::start());
    desk.run(&login, &["whoami"]).fails(4).says(&["not logged in", "asistry login --url"]);
    desk.logs_in(&login);
    let shown = desk.run(&login, &["whoami", "--json"]).succeeds().json();
    assert_eq!(shown["scopes"], serde_json::json!(["read", "offline_access"]));
    assert!(shown["issuer"].as_str().unwrap().ends_with("/auth"));
    desk.run(&login, &["call", "read"]).succeeds();
    assert_eq!(login.grants(), ["authorization_code"]);
    assert_eq!(login.count("/register"), 1);
    desk.run(&login, &["logout"]).succeeds();
    desk.run(&login, &["--login", "never", "call", "read"])
        .fails(4)
        .says(&["needs a login", "asistry login --url"]);
    // The client is still known.
    desk.logs_in(&login);
    assert_eq!((login.count("/register"), desk.browser.more()), (1, 0));
    desk.holds_no_secret();
}

#[test]
fn a_call_opens_the_window_itself() {
    let (desk, login) = (Desk::new(), Login::start());
    let running = desk.start(&login, &["call", "read"]);
    assert_eq!(desk.browser.logs_in().0, 200);
    let ran = running.ends().succeeds();
    assert!(!ran.stderr.contains(MARK) && !ran.stdout.contains(MARK));
    assert_eq!(desk.browser.more(), 0);
}

#[test]
fn a_refused_token_is_refreshed_once_and_kept() {
    let (desk, login) = (Desk::new(), Login::start());
    desk.logs_in(&login);
    login.set(|server| server.access.clear());
    desk.run(&login, &["call", "read"]).succeeds();
    desk.run(&login, &["call", "read"]).succeeds();
    assert_eq!(login.grants(), ["authorization_code", "refresh_token"]);
    assert_eq!(desk.browser.more(), 0);
}

#[test]
fn a_token_is_refreshed_before_it_expires() {
    let (desk, login) = (Desk::new(), Login::with(|server| server.lifetime = Some(1)));
    desk.logs_in(&login);
    login.set(|server| server.lifetime = Some(3600));
    let until = std::time::Instant::now() + crate::support::DEADLINE;
    while login.grants().len() < 2 && std::time::Instant::now() < until {
        desk.run(&login, &["call", "read"]).succeeds();
    }
    desk.run(&login, &["call", "read"]).succeeds();
    assert_eq!(login.grants(), ["authorization_code", "refresh_token"]);
    let signed = |r: &&Received| r.path == "/mcp" && r.header("authorization").is_none();
    assert_eq!(
        login.service.received().iter().filter(signed).count(),
        1,
        "only the login asks without a token"
    );
}

#[test]
fn a_token_with_a_lifetime_of_zero_is_used_until_it_is_refused() {
    let (desk, login) = (Desk::new(), Login::with(|server| server.lifetime = Some(0)));
    desk.logs_in(&login);
    desk.run(&login, &["call", "read"]).succeeds();
    desk.run(&login, &["call", "read"]).succeeds();
    assert_eq!(login.grants(), ["authorization_code"]);
}

#[test]
fn a_server_that_fails_ends_no_login() {
    let (desk, login) = (Desk::new(), Login::start());
    desk.logs_in(&login);
    login.set(|server| {
        server.access.clear();
        server.fails = (503, 100);
    });
    desk.run(&login, &["call", "read"]).fails(6).says(&["failed (HTTP 503)"]);
    login.set(|server| server.fails = (503, 2));
    desk.run(&login, &["call", "read"]).succeeds();
    assert_eq!(desk.browser.more(), 0);
}

#[test]
fn a_server_that_forgot_everything_is_logged_in_at_anew() {
    let (desk, login) = (Desk::new(), Login::start());
    desk.logs_in(&login);
    login.set(|server| {
        server.clients.clear();
        server.access.clear();
        server.refresh.clear();
    });
    let running = desk.start(&login, &["call", "read"]);
    assert_eq!(desk.browser.logs_in().0, 200);
    running.ends().succeeds();
    assert_eq!((login.count("/register"), desk.browser.more()), (2, 0));
    // A client that was forgotten after the logout.
    desk.run(&login, &["logout"]).succeeds();
    login.set(|server| server.clients.clear());
    desk.logs_in(&login);
    assert_eq!((login.count("/register"), desk.browser.more()), (3, 0));
}

#[test]
fn a_token_that_was_just_issued_and_is_refused_opens_no_window() {
    let (desk, login) = (Desk::new(), Login::start());
    desk.logs_in(&login);
    login.set(|server| server.refuses_all = true);
    desk.run(&login, &["call", "read"]).fails(4);
    assert_eq!(login.grants(), ["authorization_code", "refresh_token"]);
    assert_eq!(desk.browser.more(), 0);
}

#[test]
fn a_service_that_refuses_every_token_opens_one_window_whatever_the_process() {
    let (desk, login) = (Desk::new(), Login::with(|server| server.refreshes = false));
    desk.logs_in(&login);
    login.set(|server| server.refuses_all = true);
    for _ in 0..3 {
        desk.run(&login, &["call", "read"]).fails(4);
    }
    assert_eq!(desk.browser.more(), 0);
}

#[test]
fn a_login_that_expires_before_it_is_used_opens_the_next_window() {
    let (desk, login) = (Desk::new(), Login::with(|server| server.refreshes = false));
    login.set(|server| server.lifetime = Some(1));
    desk.logs_in(&login);
    login.set(|server| server.access.clear());
    let expires = desk.run(&login, &["whoami", "--json"]).succeeds().json()["expiresAt"].clone();
    let expires: jiff::Timestamp = expires.as_str().unwrap().parse().unwrap();
    while jiff::Timestamp::now() <= expires {
        desk.run(&login, &["whoami"]).succeeds();
    }
    login.set(|server| server.lifetime = Some(3600));
    let running = desk.start(&login, &["call", "read"]);
    assert_eq!(desk.browser.logs_in().0, 200);
    running.ends().succeeds();
}

#[test]
fn a_call_that_needs_more_scopes_asks_for_all_of_them_once() {
    let (desk, login) = (Desk::new(), Login::with(|server| server.scope_of_write = "write"));
    desk.logs_in(&login);
    let running = desk.start(&login, &["call", "write"]);
    let url = desk.browser.opens();
    let scope = url.query_pairs().find(|(name, _)| name == "scope").unwrap().1.into_owned();
    assert_eq!(scope, "read offline_access write");
    get(&follow(&url));
    running.ends().succeeds();
    // Not granted.
    login.set(|server| {
        server.scope_of_write = "admin";
        server.withheld = vec!["admin"];
    });
    let running = desk.start(&login, &["call", "write"]);
    get(&follow(&desk.browser.opens()));
    running.ends().fails(4).says(&["this needs the scope admin"]);
    // Some servers grant only scopes that the client was registered for.
    assert_eq!(login.count("/register"), 3);
    // Another process does not ask again.
    desk.run(&login, &["call", "write"]).fails(4).says(&["the last one was not finished"]);
    assert_eq!(desk.browser.more(), 0);
}

#[test]
fn a_declined_login_for_more_scopes_keeps_the_login_that_there_was() {
    let (desk, login) = (Desk::new(), Login::with(|server| server.scope_of_write = "write"));
    desk.logs_in(&login);
    let running = desk.start(&login, &["call", "write"]);
    get(&denial_of(&desk.browser.opens(), &login));
    running.ends().fails(4);
    desk.run(&login, &["call", "read"]).succeeds();
    assert_eq!(login.grants(), ["authorization_code"]);
}

#[test]
fn strangers_at_the_callback_change_nothing() {
    let (desk, login) = (Desk::new(), Login::start());
    let running = desk.start(&login, &["login"]);
    let callback = follow(&desk.browser.opens());
    let forged = |query: &str| {
        let mut url = callback.clone();
        url.set_query(Some(query));
        get(&url).0.0
    };
    assert_eq!(forged("code=x&state=y"), 400);
    assert_eq!(forged("error=access_denied"), 400);
    assert_eq!(get(&callback.join("/other").unwrap()).0.0, 404);
    assert_eq!(ask("GET", &callback, "evil.example").0.0, 404, "DNS rebinding");
    let own = format!("127.0.0.1:{}", callback.port().unwrap());
    assert_eq!(ask("POST", &callback, &own).0.0, 405);
    assert_eq!(get(&callback).0.0, 200);
    running.ends().succeeds();
}

#[test]
fn another_issuer_in_the_response_ends_the_login() {
    let login = Login::with(|server| server.iss = Some("https://evil.example".into()));
    let desk = Desk::new();
    let running = desk.start(&login, &["login"]);
    let (status, page) = desk.browser.logs_in();
    assert_eq!(status, 400, "{page}");
    running.ends().fails(4).says(&["another authorization server"]);
    assert!(login.grants().is_empty(), "the code stays here");
}

#[test]
fn a_declined_login_keeps_its_registration_and_opens_no_window_later() {
    let (desk, login) = (Desk::new(), Login::start());
    let running = desk.start(&login, &["login"]);
    let page = desk.browser.opens();
    assert_eq!(get(&denial_of(&page, &login)).0.0, 400);
    running.ends().fails(4).says(&["the login was denied"]);
    desk.run(&login, &["call", "read"]).fails(4).says(&["the last one was not finished", "asistry login"]);
    desk.logs_in(&login);
    assert_eq!((login.count("/register"), desk.browser.more()), (1, 0));
}

#[test]
fn a_busy_server_keeps_the_consent_and_a_revocation_tells_it() {
    let (desk, login) = (Desk::new(), Login::start());
    let running = desk.start(&login, &["login"]);
    let page = desk.browser.opens();
    login.set(|server| server.fails = (503, 1));
    assert_eq!(get(&follow(&page)).0.0, 200);
    running.ends().succeeds();
    desk.run(&login, &["logout", "--revoke", "--forget-client"]).succeeds();
    assert!(login.set(|server| server.refresh.is_empty() && server.access.is_empty()));
    desk.logs_in(&login);
    assert_eq!(login.count("/register"), 2);
}

#[test]
fn a_login_in_another_process_is_waited_for() {
    let (desk, login) = (Desk::new(), Login::start());
    let first = desk.start(&login, &["call", "read"]);
    let page = desk.browser.opens();
    let url = login.url();
    let mut second = desk.home.start(&["--url", &url, "login"]).env("BROWSER", &desk.browser.command).spawn();
    while !second.stderr().contains("waiting for it") {
        std::thread::yield_now();
    }
    get(&follow(&page));
    first.ends().succeeds();
    assert_eq!(second.exit_code(), 0);
    assert_eq!((login.grants().len(), desk.browser.more()), (1, 0));
}

#[test]
fn a_token_that_cannot_be_sent_is_not_kept() {
    let (desk, login) = (Desk::new(), Login::with(|server| server.mark = "\n"));
    let running = desk.start(&login, &["login"]);
    assert_eq!(desk.browser.logs_in().0, 400);
    running.ends().fails(7).says(&["cannot be sent in a header"]);
    desk.run(&login, &["whoami"]).fails(4);
}

#[test]
fn a_callback_that_comes_twice_is_used_once() {
    let (desk, login) = (Desk::new(), Login::start());
    let running = desk.start(&login, &["login"]);
    let callback = follow(&desk.browser.opens());
    let twice = [(); 2].map(|()| {
        let callback = callback.clone();
        std::thread::spawn(move || std::panic::catch_unwind(|| get(&callback).0.0).unwrap_or(0))
    });
    let came = twice.map(|page| page.join().unwrap());
    assert!(came.contains(&200), "{came:?}");
    running.ends().succeeds();
    assert_eq!(login.grants(), ["authorization_code"]);
}

#[test]
fn a_registered_port_that_is_taken_makes_a_new_registration() {
    let (desk, login) = (Desk::new(), Login::start());
    let running = desk.start(&login, &["login"]);
    let page = desk.browser.opens();
    let callback = follow(&page);
    assert_eq!(get(&callback).0.0, 200);
    running.ends().succeeds();
    desk.run(&login, &["logout"]).succeeds();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", callback.port().unwrap())).unwrap();
    desk.logs_in(&login);
    assert_eq!((login.count("/register"), desk.browser.more()), (2, 0));
}

#[test]
fn a_service_that_changes_its_authorization_server_is_logged_in_at_there() {
    let (desk, login) = (Desk::new(), Login::start());
    desk.logs_in(&login);
    let old = login.set(|server| {
        server.name = "other";
        server.access.clear();
        server.clients.drain().map(|(id, _)| id).next().unwrap()
    });
    let running = desk.start(&login, &["call", "read"]);
    assert_eq!(desk.browser.logs_in().0, 200);
    running.ends().succeeds();
    let at_other = |r: &&Received| r.path.starts_with("/other/");
    let all = login.service.received();
    assert!(all.iter().filter(at_other).all(|r| r.field("client_id").as_deref() != Some(old.as_str())));
    assert!(all.iter().filter(at_other).all(|r| r.field("grant_type").as_deref() != Some("refresh_token")));
}

#[test]
fn a_server_without_pkce_is_refused_before_a_window_opens() {
    let (desk, login) = (Desk::new(), Login::with(|server| server.pkce = false));
    desk.run(&login, &["login"]).fails(7).says(&["PKCE"]);
    assert_eq!((login.count("/register"), desk.browser.more()), (0, 0));
}

#[test]
fn a_client_logs_in_for_itself() {
    let (desk, login) = (Desk::new(), Login::start());
    login.set(|server| server.clients.insert("robot".into(), String::new()));
    let url = login.url();
    let words = [
        "--url",
        &url,
        "--client-credentials",
        "--client-id",
        "robot",
        "--client-secret-env",
        "SECRET",
        "call",
        "read",
    ];
    let mut command = desk.home.command(words);
    Ran::of(command.env("SECRET", MARK)).succeeds();
    assert_eq!(login.grants(), ["client_credentials"]);
    let token = login.service.awaits("a token request", |r| r.path.ends_with("/token"));
    assert!(token.header("authorization").is_some_and(|value| value.starts_with("Basic ")));
    Ran::of(&mut desk.home.command(words))
        .fails(2)
        .says(&["--client-secret-env SECRET: that variable is not set"]);
}

#[test]
fn a_client_that_the_user_names_goes_to_no_other_server_and_uses_no_other_login() {
    let (desk, login) = (Desk::new(), Login::start());
    login.set(|server| server.clients.insert("robot".into(), String::new()));
    desk.logs_in(&login);
    let url = login.url();
    let words =
        ["--url", &url, "--client-credentials", "--client-id", "robot", "--client-secret-env", "SECRET"];
    let run = |more: &[&str]| Ran::of(desk.home.command(words.iter().chain(more)).env("SECRET", MARK));
    run(&["call", "read"]).succeeds();
    assert_eq!(login.grants(), ["authorization_code", "client_credentials"]);
    login.set(|server| server.name = "other");
    run(&["call", "read"]).fails(4).says(&[
        "names another authorization server now",
        "logout",
        "--forget-client",
    ]);
    assert!(!login.service.received().iter().any(|r| r.path.starts_with("/other/token")));
    desk.run(&login, &["logout", "--forget-client"]).succeeds();
    run(&["call", "read"]).succeeds();
}

#[test]
fn a_login_keeps_the_scopes_that_there_were_and_a_logout_ends_each() {
    let (desk, login) = (Desk::new(), Login::with(|server| server.scope_of_write = "write"));
    desk.logs_in(&login);
    let running = desk.start(&login, &["call", "write"]);
    get(&follow(&desk.browser.opens()));
    running.ends().succeeds();
    let running = desk.start(&login, &["login", "--scope", "admin"]);
    let page = desk.browser.opens();
    let scope = page.query_pairs().find(|(name, _)| name == "scope").unwrap().1.into_owned();
    assert_eq!(scope, "read offline_access write admin");
    get(&follow(&page));
    running.ends().succeeds();
    login.set(|server| server.name = "other");
    desk.logs_in(&login);
    desk.run(&login, &["logout", "--forget-client"]).succeeds();
    desk.run(&login, &["whoami"]).fails(4);
}

#[test]
fn a_key_that_is_refused_opens_no_window() {
    let (desk, login) = (Desk::new(), Login::start());
    let url = login.url();
    let add = ["keys", "add", "--url", &url, "--no-verify", "--stdin"];
    desk.home.told(&add, "key_0123456789abcdef").succeeds();
    desk.run(&login, &["call", "read"]).fails(4).says(&["does not accept the key"]);
    assert_eq!((login.count("/register"), desk.browser.more()), (0, 0));
}

#[test]
fn a_key_beside_a_login_is_named_and_a_profile_with_a_login_is_not_removed() {
    let (desk, login) = (Desk::new(), Login::start());
    let url = login.url();
    desk.home.run(&["profiles", "add", "work", "--url", &url]).succeeds();
    let running = desk.start_with(&["-p", "work", "login"]);
    assert_eq!(desk.browser.logs_in().0, 200);
    running.ends().succeeds();
    desk.home
        .run(&["profiles", "remove", "work", "--yes"])
        .fails(3)
        .says(&["asistry logout -p work --forget-client"]);
    desk.home
        .told(&["keys", "add", "-p", "work", "--no-verify", "--stdin"], "key_0123456789abcdef")
        .succeeds();
    let ran = desk.home.run(&["-p", "work", "whoami"]).succeeds();
    assert!(
        ran.stderr.contains("a stored key is used instead of this login: asistry keys remove -p work"),
        "{}",
        ran.stderr
    );
    desk.home.run(&["keys", "remove", "-p", "work", "--yes"]).succeeds();
    desk.home.run(&["logout", "-p", "work", "--forget-client"]).succeeds();
    desk.home.run(&["profiles", "remove", "work", "--yes"]).succeeds();
}

#[test]
fn a_code_on_another_device_logs_in_where_the_server_offers_that() {
    let (desk, login) = (Desk::new(), Login::start());
    let ran = desk.run(&login, &["login", "--device"]).fails(4);
    assert!(ran.stderr.contains("--no-browser") && login.count("/register") == 0, "{}", ran.stderr);
    login.set(|server| server.device = Some(1));
    let ran = desk.run(&login, &["login", "--device"]).succeeds().says(&["/auth/enter", "WDJB-MJHT"]);
    assert!(!ran.stderr.contains(MARK), "{}", ran.stderr);
    desk.run(&login, &["call", "read"]).succeeds();
    let document = login.service.awaits("a registration", |r| r.path.ends_with("/register")).message();
    assert_eq!(document["grant_types"][2], "urn:ietf:params:oauth:grant-type:device_code");
}

#[test]
fn metadata_that_fails_in_one_place_is_looked_for_in_the_next() {
    let login = Login::with(|server| server.broken = "/.well-known/oauth-authorization-server");
    Desk::new().logs_in(&login);
    // A service without metadata is no service with a failing authorization server.
    let login = Login::with(|server| server.broken = "/.well-known/");
    login.set(|server| server.names_server = false);
    Desk::new().run(&login, &["call", "read"]).fails(4).says(&["asistry keys add"]);
}

#[test]
fn a_damaged_list_of_logins_is_never_replaced() {
    let (desk, login) = (Desk::new(), Login::start());
    desk.logs_in(&login);
    for damaged in ["", "{", r#"{"version":2,"logins":[]}"#] {
        let list = desk.home.write("state/logins.json", damaged);
        desk.run(&login, &["login"]).fails(4).says(&["logins.json", "mv "]);
        desk.run(&login, &["call", "read"]).fails(4).says(&["logins.json"]);
        assert_eq!(std::fs::read_to_string(list).unwrap(), damaged);
    }
    assert_eq!(desk.browser.more(), 0);
}

#[test]
fn a_service_that_wants_a_key_is_told_apart() {
    let (desk, login) = (Desk::new(), Login::with(|server| server.names_server = false));
    login.set(|server| server.name = "elsewhere/auth");
    let ran = desk.run(&login, &["call", "read"]).fails(4);
    assert!(ran.stderr.contains("asistry keys add"), "{}", ran.stderr);
    desk.run(&login, &["login"]).fails(4).says(&["names no authorization server", "asistry keys add --url"]);
    assert_eq!(desk.browser.more(), 0);
}

#[test]
fn no_secret_reaches_a_trace_a_log_or_an_output() {
    let (desk, login) = (Desk::new(), Login::start());
    let (trace, log) = (desk.home.file("trace"), desk.home.file("log"));
    let words = ["-vv", "--trace", trace.to_str().unwrap(), "--log-file", log.to_str().unwrap()];
    let running = desk.start(&login, &[&words[..], &["call", "read"]].concat());
    let (_, page) = desk.browser.logs_in();
    let ran = running.ends().succeeds();
    login.set(|server| server.access.clear());
    let again = desk.run(&login, &[&words[..], &["call", "read"]].concat()).succeeds();
    for text in [page, ran.stdout, ran.stderr, again.stdout, again.stderr] {
        assert!(!text.contains(MARK), "{text}");
    }
    desk.holds_no_secret();
}

#[test]
fn the_callback_url_can_be_pasted() {
    let (desk, login) = (Desk::new(), Login::start());
    let url = login.url();
    let mut bridge = desk.home.start(&["--url", &url, "login", "--no-browser"]).spawn();
    let page = loop {
        let said = bridge.stderr();
        let words =
            said.split_whitespace().find(|word| word.contains("/authorize?") && word.contains("&prompt="));
        if let Some(word) = words {
            break Url::parse(word).unwrap();
        }
        std::thread::yield_now();
    };
    bridge.say(follow(&page));
    assert_eq!(bridge.exit_code(), 0);
    desk.run(&login, &["call", "read"]).succeeds();
    assert_eq!(desk.browser.more(), 0);
}

#[test]
fn what_is_pasted_in_vain_ends_the_login() {
    let (desk, login) = (Desk::new(), Login::start());
    let mut command = desk.home.command(["--url", &login.url(), "login", "--no-browser"]);
    let _ = command.write_stdin("nonsense words\n");
    let ran = Ran::of(&mut command).fails(4);
    assert!(ran.stderr.contains("to log in, open http"), "{}", ran.stderr);
    login.service.awaits("a registration", |received| received.path.ends_with("/register"));
}
