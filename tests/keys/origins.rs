//! A credential goes to the origin it was stored for and to no other.

use serde_json::Value;

use super::{Accepted, NEW, OLD, key_of, origin};
use crate::support::bridge::request;
use crate::support::home::Home;
use crate::support::service::{Reply, Service};

/// A home with a key that is for the origin of this service.
fn home_for(service: &Service) -> Home {
    let home = Home::new();
    home.told(&["keys", "add", "-p", "asistry", "--url", &service.url(), "--stdin"], OLD)
        .succeeds()
        .says(&["it works"]);
    home
}

/// The stand-in as it is reached by an address that is no loopback address.
fn beyond(url: &str) -> String {
    url.replace("127.0.0.1", "0.0.0.0")
}

/// Both origins, and the way on.
fn assert_mismatch(error: &Value, own: &str, other: &str) {
    assert_eq!(error["kind"], "origin_mismatch", "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(own) && message.contains(other), "{message}");
    assert!(error["hint"].as_str().unwrap().contains("asistry keys bind"), "{error}");
}

#[test]
fn another_url_is_no_place_for_the_key_until_it_is_bound_there() {
    let own = Service::start(|_| None);
    let home = home_for(&own);
    let command;
    let port = {
        let other = Service::never_called();
        let tools = ["-p", "asistry", "--url", &other.url(), "tools"];
        let error = home.run(&[&tools[..], &["--json"]].concat()).fails(3).error();
        assert_mismatch(&error, &origin(&own.url()), &origin(&other.url()));
        home.run(&["keys", "test", "-p", "asistry", "--url", &other.url()]).fails(3).says(&["keys bind"]);
        home.run(&["-p", "asistry", "--url", &other.url(), "call", "x"]).fails(3).says(&["keys bind"]);
        let told = home.run(&tools).fails(3);
        [command] = told.commands().try_into().unwrap();
        other.url()
    };
    // The command of the hint, as it stands there; a yes is all it wants.
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    home.run(&words).fails(2).says(&["The operator of", "--yes"]);
    home.run(&[&words[..], &["--yes"]].concat()).succeeds().says(&[&origin(&port), "may go to"]);
    home.run(&[&words[..], &["--yes"]].concat()).succeeds().says(&["already"]);
    let other = Service::start(|_| None);
    let bind = ["keys", "bind", &origin(&other.url()), "-p", "asistry", "--yes"];
    home.run(&bind).succeeds();
    home.run(&["-p", "asistry", "--url", &other.url(), "tools"]).succeeds();
    assert!(other.received().iter().all(|received| key_of(received).as_deref() == Some(OLD)));
    // The old one is still its own.
    home.run(&["-p", "asistry", "--url", &own.url(), "tools"]).succeeds();
    assert_eq!(home.json(&["keys", "list", "--json"])[0]["boundTo"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_profile_whose_url_was_edited_does_not_take_the_key_along() {
    let own = Service::start(|_| None);
    let other = Service::never_called();
    let home = Home::new();
    let configure = |service: &Service| {
        let base = origin(&service.url());
        let text =
            format!("[profiles.work]\nservice = 'task-tracking'\nbase_url = '{base}'\nworkspace_id = '7'\n");
        home.write("config/config.toml", text)
    };
    configure(&own);
    let key = "mcp_live_Vq8sTz31LmXw07Kd";
    home.told(&["keys", "add", "-p", "work", "--stdin"], key).succeeds();
    home.run(&["-p", "work", "tools"]).succeeds();
    configure(&other);
    let error = home.run(&["-p", "work", "tools", "--json"]).fails(3).error();
    assert_mismatch(&error, &origin(&own.url()), &origin(&other.url()));
    let mut bridge = home.start(&["bridge", "-p", "work"]).spawn();
    bridge.say(request("1", "tools/list", "{}"));
    let answer = bridge.answer(1)["error"].clone();
    assert_eq!(answer["code"], -32603, "{answer}");
    assert_mismatch(
        &serde_json::json!({
            "kind": answer["data"]["kind"], "hint": answer["data"]["hint"], "message": answer["message"]
        }),
        &origin(&own.url()),
        &origin(&other.url()),
    );
    bridge.close();
    assert_eq!(bridge.exit_code(), 0);
}

#[test]
fn an_edited_profile_works_again_when_its_key_is_bound() {
    let own = Service::start(|_| None);
    let other = Service::start(|_| None);
    let home = home_for(&own);
    home.run(&["keys", "bind", "-p", "asistry", "--url", &other.url(), "--yes"]).succeeds();
    home.run(&["-p", "asistry", "--url", &other.url(), "tools"]).succeeds();
    // A new key in its place is for one origin again.
    let add = ["keys", "add", "-p", "asistry", "--url", &other.url(), "--name", "spare", "--stdin"];
    home.told(&add, NEW).succeeds();
    home.run(&["keys", "use", "spare"]).succeeds();
    home.run(&["-p", "asistry", "--url", &own.url(), "tools"]).fails(3).says(&["--name spare"]);
}

#[test]
fn what_is_no_origin_cannot_be_bound() {
    let own = Service::start(|_| None);
    let home = home_for(&own);
    for origin in ["example.com", "ftp://h.example", "https://user@h.example", "https://", "file:///etc"] {
        home.run(&["keys", "bind", origin, "-p", "asistry", "--yes"])
            .fails(2)
            .says(&["not an origin", "https://"]);
    }
    // A path is not a part of an origin.
    home.run(&["keys", "bind", "https://h.example:8443/mcp?x=1", "-p", "asistry", "--yes"])
        .succeeds()
        .says(&["https://h.example:8443 now"]);
    home.run(&["-p", "asistry", "--url", "https://h.example:8444/mcp", "tools"]).fails(3);
    home.run(&["-p", "asistry", "--url", "http://h.example:8443/mcp", "tools"]).fails(3);
}

#[test]
fn a_redirect_to_another_origin_takes_neither_key_nor_headers_along() {
    for status in [307, 308] {
        let other = Service::never_called();
        let target = other.url();
        let own = Service::start(move |received| {
            let tool = received.method == "tools/call" || received.method == "tools/list";
            tool.then(|| Reply::empty(status).header("location", &target))
        });
        let home = Home::new();
        home.told(&["keys", "add", "-p", "asistry", "--url", &own.url(), "--no-verify", "--stdin"], OLD)
            .succeeds();
        let headers = home.write("headers", "X-Api-Key: marked-header\nX-Tenant: 7\n");
        let asked = ["-p", "asistry", "--url", &own.url(), "tools", "--json"];
        let stored = home.run(&asked).fails(3);
        assert_mismatch(&stored.error(), &origin(&own.url()), &origin(&other.url()));
        let error = home.run(&[&asked[..], &["--header-file", &headers]].concat()).fails(3).error();
        assert_eq!(error["kind"], "origin_mismatch", "{error}");
        let mut bridge = home.start(&["bridge", "-p", "asistry", "--url", &own.url()]).spawn();
        bridge.open("2025-06-18");
        bridge.call(1, "x");
        let answer = bridge.answer(1)["error"].clone();
        assert_eq!(answer["data"]["kind"], "origin_mismatch", "{answer}");
        assert_eq!(answer["data"]["httpStatus"], status, "{answer}");
        assert!(answer["data"]["hint"].as_str().unwrap().contains("asistry keys bind"), "{answer}");
        bridge.close();
        assert_eq!(bridge.exit_code(), 0);
    }
}

#[test]
fn headers_of_the_user_go_to_the_endpoint() {
    let own = Service::start(|_| None);
    let home = Home::new();
    let headers = home.write("headers", "# mine\nX-Api-Key: marked-header\nX-Tenant: 7\n");
    home.run(&["--url", &own.url(), "--header-file", &headers, "tools"]).succeeds();
    let list = own.awaits("a list of tools", |received| received.method == "tools/list");
    assert_eq!((list.header("x-api-key"), list.header("x-tenant")), (Some("marked-header"), Some("7")));
}

#[test]
#[cfg(target_os = "linux")]
fn a_key_does_not_travel_in_the_clear_unless_that_is_allowed() {
    let never = Service::never_called();
    let service = Service::start(|_| None);
    let home = Home::new();
    let add = |url: &str, more: &[&str]| {
        home.told(&[&["keys", "add", "-p", "asistry", "--url", url, "--stdin"], more].concat(), OLD)
    };
    add(&beyond(&never.url()), &[]).fails(3).says(&["over plain http", "--allow-http"]);
    assert!(home.files().is_empty(), "{:?}", home.files());
    add(&beyond(&service.url()), &["--allow-http"]).succeeds().says(&["it works"]);
    let tools =
        |url: &str, more: &[&str]| home.run(&[&["-p", "asistry", "--url", url, "tools"], more].concat());
    tools(&beyond(&service.url()), &[]).fails(3).says(&["over plain http", "--allow-http"]);
    tools(&beyond(&service.url()), &["--allow-http"]).succeeds();
    let headers = home.write("headers", "Authorization: Bearer marked\n");
    let bare = ["--url", &beyond(&never.url()), "tools", "--header-file", &headers];
    home.run(&bare).fails(3).says(&["--allow-http"]);
}

#[test]
fn a_key_of_a_bare_url_is_for_its_origin_and_other_urls_go_without() {
    let own = Service::start(|_| None);
    let other = Service::start(|_| None);
    let home = Home::new();
    let key = "any-form-of-key-0123456789";
    home.told(&["keys", "add", "--url", &own.url(), "--stdin"], key).succeeds();
    home.run(&["--url", &own.url(), "tools"]).succeeds();
    home.run(&["--url", &other.url(), "tools"]).succeeds();
    assert!(own.received().iter().all(|received| key_of(received).as_deref() == Some(key)));
    assert!(other.received().iter().all(|received| key_of(received).is_none()));
    // Each of them can have its own, and the commands find it by the URL.
    home.told(&["keys", "add", "--url", &other.url(), "--stdin"], NEW).succeeds();
    home.run(&["--url", &other.url(), "tools"]).succeeds();
    let last = other.received().pop().unwrap();
    assert_eq!(key_of(&last).as_deref(), Some(NEW));
    let show = |url: &str| home.run(&["keys", "show", "--url", url, "--reveal", "--yes"]).succeeds().stdout;
    assert_eq!((show(&own.url()), show(&other.url())), (format!("{key}\n"), format!("{NEW}\n")));
    home.run(&["keys", "test", "--url", &own.url()]).succeeds();
    home.run(&["keys", "remove", "--url", &own.url(), "--yes"]).succeeds();
    assert_eq!(home.json(&["keys", "list", "--json"]).as_array().map(Vec::len), Some(1));
}

/// Edits the list of keys by hand.
fn edit_list(home: &Home, from: &str, to: &str) {
    let path = home.file("state/keys.json");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&path, text.replace(from, to)).unwrap();
}

#[test]
fn an_origin_that_was_edited_into_the_list_is_not_believed() {
    let service = Accepted::only(&[OLD]).service();
    let elsewhere = Service::never_called();
    let home = Home::new();
    let (here, there) = (origin(&service.url()), origin(&elsewhere.url()));
    home.told(&["keys", "add", "-p", "asistry", "--url", &service.url(), "--stdin"], OLD).succeeds();
    let list = std::fs::read_to_string(home.file("state/keys.json")).unwrap();
    let tools = ["-p", "asistry", "--url", &elsewhere.url(), "tools"].map(str::to_owned);
    let tools: Vec<&str> = tools.iter().map(String::as_str).collect();
    edit_list(&home, &format!("\"origin\": \"{here}\""), &format!("\"origin\": \"{there}\""));
    home.run(&tools).fails(4).says(&["was edited"]);
    home.run(&["keys", "test", "-p", "asistry", "--url", &elsewhere.url()]).fails(4).says(&["was edited"]);
    std::fs::write(home.file("state/keys.json"), &list).unwrap();
    // An origin that was never bound is not in the store.
    let name = "\"name\": \"default\",";
    edit_list(&home, name, &format!("{name} \"bound\": [\"{there}\"],"));
    home.run(&tools).fails(3).says(&["must not be sent to"]);
    std::fs::write(home.file("state/keys.json"), &list).unwrap();
    home.run(&["-p", "asistry", "--url", &service.url(), "tools"]).succeeds();
}

#[test]
fn an_edited_item_is_noticed_and_nothing_is_written_over_it() {
    let service = Accepted::only(&[OLD, NEW]).service();
    let home = Home::new();
    let url = service.url();
    let add = |name: &'static str| ["keys", "add", "-p", "asistry", "--stdin", "--name", name, "--url"];
    home.told(&[&add("one")[..], &[&url]].concat(), OLD).succeeds();
    home.told(&[&add("two")[..], &[&url]].concat(), NEW).succeeds();
    let list = std::fs::read_to_string(home.file("state/keys.json")).unwrap();
    let here = origin(&url);
    edit_list(&home, &format!("v1/asistry/one/{here}"), &format!("v1/asistry/two/{here}"));
    home.run(&["-p", "asistry", "--url", &url, "tools"]).fails(4).says(&["was edited"]);
    home.told(&[&add("one")[..], &[&url, "--replace"]].concat(), NEW).fails(4).says(&["was edited"]);
    // Removing it deletes no other key.
    home.run(&["keys", "remove", "-p", "asistry", "--name", "one", "--yes"]).succeeds();
    let two = home.run(&["keys", "show", "-p", "asistry", "--name", "two", "--reveal", "--yes"]).succeeds();
    assert_eq!(two.stdout.trim_end(), NEW);
    std::fs::write(home.file("state/keys.json"), &list).unwrap();
    let one = home.run(&["keys", "show", "-p", "asistry", "--name", "one", "--reveal", "--yes"]).succeeds();
    assert_eq!(one.stdout.trim_end(), OLD, "it was not written over");
}

#[test]
fn a_name_below_localhost_is_not_this_machine() {
    let home = Home::new();
    let add = ["keys", "add", "-p", "asistry", "--no-verify", "--stdin", "--url"];
    home.told(&[&add[..], &["http://a.localhost:9/mcp"]].concat(), OLD).succeeds();
    home.run(&["-p", "asistry", "--url", "http://a.localhost:9/mcp", "tools"])
        .fails(3)
        .says(&["over plain http"]);
}
