//! What is taken for a key and what is not, from each place that a key can come from.

use super::{NOWHERE, SERVICES, key_of};
use crate::support::home::{Home, Ran};
use crate::support::service::Service;

/// Something that is no key, a word of the answer, and whether `--force` takes it.
type Bad = (Vec<u8>, &'static str, bool);

/// What is no key of any service.
fn bad(right: &str) -> Vec<Bad> {
    let bad = |text: String, word, forced| (text.into_bytes(), word, forced);
    let beginning = &right[..right.len() - 8];
    vec![
        bad(String::new(), "is empty", false),
        bad("\n".into(), "is empty", false),
        bad(" \t\r\n".into(), "is empty", false),
        bad("Bearer ".into(), "is empty", false),
        bad(format!("{beginning}…ab12"), "preview", false),
        bad(format!("{beginning}...ab12"), "preview", true),
        bad(format!("{beginning}****"), "preview", true),
        bad(format!("{beginning}••••"), "preview", false),
        bad(format!("{right} {right}"), "whitespace", true),
        bad(format!("{right}\n{right}"), "line breaks", false),
        bad(format!("Authorization: Bearer {right}"), "whitespace", true),
        bad(format!("\"{right}\""), "quotes", true),
        bad(format!("'{right}'"), "quotes", true),
        bad(format!("{right}ü"), "no key has", false),
        bad(format!("{right}\u{1b}[31m"), "control", false),
        bad("hunter2hunter2hunter2".into(), "begin with", true),
        bad("sk-ant-api03-Vq8sTz31LmXw07Kd".into(), "Anthropic", true),
        bad("sk-proj-Vq8sTz31LmXw07Kd".into(), "OpenAI", true),
        bad("AIzaVq8sTz31LmXw07Kd".into(), "Google", true),
        bad(right[..1].repeat(10 * 1024), "longer than any key", false),
    ]
}

/// Each way to give a key, tried with the same bytes; no way for those that an environment cannot hold.
fn ways(home: &Home, arguments: &[&str], key: &[u8]) -> Vec<Ran> {
    let with = |more: &[&str]| arguments.iter().chain(more).map(|a| (*a).to_owned()).collect::<Vec<_>>();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), key).unwrap();
    let path = file.path().to_str().unwrap();
    let mut ran = vec![
        Ran::of(home.command(with(&["--stdin"])).write_stdin(key)),
        Ran::of(&mut home.command(with(&["--from-file", path]))),
    ];
    #[cfg(unix)]
    if !key.contains(&0) {
        let value: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(key);
        ran.push(Ran::of(home.command(with(&["--from-env", "NEW_KEY"])).env("NEW_KEY", value)));
    }
    ran
}

/// Nothing of the input may come back, but what is as short as a word.
#[track_caller]
fn assert_no_echo(ran: &Ran, key: &[u8]) {
    let said = format!("{}{}", ran.stdout, ran.stderr);
    let text = String::from_utf8_lossy(key);
    for part in text.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')) {
        let part: String = part.chars().take(40).collect();
        if part.len() >= 8 && part != "Authorization:" {
            assert!(!said.contains(&part), "{part} is in: {said}");
            let stripped: String = part.chars().filter(|c| !c.is_control()).collect();
            assert!(!said.contains(&stripped), "{part} is in: {said}");
        }
    }
}

#[test]
fn a_key_of_each_service_is_stored_from_each_place_and_comes_back_as_it_was() {
    for (profile, right) in SERVICES {
        for key in [right.to_owned(), format!(" Bearer {right}\r\n"), format!("bearer\t{right}")] {
            let home = Home::new();
            let arguments = ["keys", "add", "-p", profile, "--url", NOWHERE, "--no-verify"];
            // The first is stored, the others meet it.
            let mut ran = ways(&home, &arguments, key.as_bytes()).into_iter();
            let said = ran.next().unwrap().succeeds().says(&["http://127.0.0.1:9 only", "not tried"]);
            assert_no_echo(&said, right.as_bytes());
            for second in ran {
                second.fails(2).says(&["already", "asistry keys rotate"]);
            }
            let revealed = home.run(&["keys", "show", "-p", profile, "--reveal", "--yes"]).succeeds();
            assert_eq!(revealed.stdout, format!("{right}\n"));
        }
    }
}

#[test]
fn from_a_file_and_from_the_environment_too_it_is_the_key_that_is_stored() {
    let (profile, right) = SERVICES[0];
    let home = Home::new();
    let file = home.write("key.txt", format!("{right}\n"));
    let add = ["keys", "add", "-p", profile, "--url", NOWHERE, "--no-verify", "--name"];
    let run = |more: &[&str]| home.command(add.iter().chain(more)).env("NEW_KEY", right).output().unwrap();
    assert!(run(&["one", "--from-file", &file]).status.success());
    assert!(run(&["two", "--from-env", "NEW_KEY"]).status.success());
    for name in ["one", "two"] {
        let shown = home.run(&["keys", "show", "-p", profile, "--name", name, "--reveal", "--yes"]);
        assert_eq!(shown.succeeds().stdout, format!("{right}\n"));
    }
    // GitHub Actions is told to keep it out of its log.
    let show = ["keys", "show", "-p", profile, "--name", "one", "--reveal", "--yes"];
    let shown = home.command(show).env("GITHUB_ACTIONS", "true").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&shown.stderr), format!("::add-mask::{right}\n"));
}

#[test]
fn what_is_no_key_is_refused_without_an_echo_and_nothing_is_stored() {
    for (profile, right) in SERVICES {
        let home = Home::new();
        let arguments = ["keys", "add", "-p", profile, "--url", NOWHERE, "--no-verify"];
        let mut cases = bad(right);
        cases.push((b"\x7fELF\x02\x01\x01\xff\xfe\x80binary".to_vec(), "text", false));
        for (key, word, _) in &cases {
            for ran in ways(&home, &arguments, key) {
                // A variable that is empty or binary is told as a variable.
                let other = ran.stderr.contains("not set, empty, or no text");
                let words: &[&str] = if other { &["--from-env"] } else { &[word, "nothing was stored"] };
                let ran = ran.fails(2).says(words);
                assert_no_echo(&ran, key);
            }
        }
        assert!(home.files().is_empty(), "{:?}", home.files());
    }
}

#[test]
fn force_takes_a_wrong_form_and_nothing_that_cannot_be_sent() {
    let (profile, right) = SERVICES[0];
    for (key, word, forced) in bad(right) {
        let home = Home::new();
        let arguments = ["keys", "add", "-p", profile, "--url", NOWHERE, "--no-verify", "--stdin", "--force"];
        let ran = home.told(&arguments, key.clone());
        assert_no_echo(&ran, &key);
        if forced {
            ran.succeeds();
            assert_eq!(home.json(&["keys", "list", "--json"])[0]["forced"], true);
            let shown = home.run(&["keys", "show", "--reveal", "--yes"]).succeeds().stdout;
            assert_eq!(shown.trim_end().as_bytes(), key);
        } else {
            ran.fails(2).says(&[word]);
            assert!(home.files().is_empty(), "{:?}", home.files());
        }
    }
}

#[test]
fn a_forced_key_is_sent_as_it_is() {
    let service = Service::start(|_| None);
    let home = Home::new();
    let add = ["keys", "add", "--url", &service.url(), "-p", "asistry", "--stdin"];
    let key = "eyJ.other.form";
    home.told(&add, key).fails(2).says(&["Zuko", "--force"]);
    home.told(&[&add[..], &["--force"]].concat(), key).succeeds().says(&["it works"]);
    home.run(&["-p", "asistry", "--url", &service.url(), "tools"]).succeeds();
    assert!(service.received().iter().all(|received| key_of(received).as_deref() == Some(key)));
}

#[test]
fn the_key_of_another_service_is_named() {
    for (profile, _) in SERVICES {
        let home = Home::new();
        for (other, key) in SERVICES.iter().filter(|(other, _)| *other != profile) {
            // AgentStack's keys may look like Asistry's.
            if (profile, *other) == ("agentstack", "asistry") {
                continue;
            }
            let title = match *other {
                "asistry" => "Asistry",
                "zuko" => "Zuko",
                "task-tracking" => "Task Tracking",
                "agentstack" => "AgentStack",
                _ => "Bob Studio",
            };
            let add = ["keys", "add", "-p", profile, "--url", NOWHERE, "--no-verify", "--stdin"];
            let ran = home.told(&add, *key).fails(2).says(&[&format!("is a key of {title}"), "begin with"]);
            assert_no_echo(&ran, key.as_bytes());
        }
        assert!(home.files().is_empty(), "{:?}", home.files());
    }
}

#[test]
fn a_key_in_the_wrong_place_of_the_command_line_is_not_repeated() {
    let (_, key) = SERVICES[0];
    let home = Home::new();
    let missing = home.file(key);
    let cases: &[&[&str]] = &[
        &["keys", "add", key],
        &["keys", "rotate", key],
        &["keys", "add", "--from-env", key],
        &["keys", "add", "--from-file", key],
        &["keys", "add", "--from-file", missing.to_str().unwrap()],
        &["keys", "add", "--stdin", key],
    ];
    for arguments in cases {
        let ran = home.told(arguments, "").fails(2);
        assert_no_echo(&ran, key.as_bytes());
        assert!(ran.stderr.contains("try: "), "{}", ran.stderr);
    }
    assert!(home.files().is_empty(), "{:?}", home.files());
}

#[test]
fn a_remedy_repeats_where_the_key_comes_from() {
    let home = Home::new();
    fn add<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["keys", "add", "-p", "asistry", "--no-verify", "--name", "k2"], more].concat()
    }
    home.told(&add(&["--stdin"]), SERVICES[0].1).succeeds();
    home.told(&add(&["--stdin", "--store", "file", "--force"]), SERVICES[0].1).fails(2).says(&[
        "replace it: asistry keys rotate -p asistry --name k2 --stdin --force --store file --no-verify\n",
        "or at once: asistry keys add -p asistry --name k2 --stdin --force --store file --no-verify --replace\n",
        "or keep both: asistry keys add -p asistry --name OTHER --stdin --force --store file --no-verify\n",
    ]);
    let path = home.write("a key", SERVICES[0].1);
    home.run(&add(&["--from-file", &path]))
        .fails(2)
        .says(&[&format!("--name k2 --from-file '{path}' --no-verify --replace")]);
    home.run(&add(&["--from-env", "HOME"]))
        .fails(2)
        .says(&["--name k2 --from-env HOME --no-verify --replace"]);
    // It may be a key that was typed there.
    let typed = home.run(&add(&["--from-env", SERVICES[0].1])).fails(2);
    assert!(!typed.stderr.contains(SERVICES[0].1), "{typed:?}");
    home.run(&["keys", "show", "k2", "-p", "asistry", "--reveal", "--json"])
        .fails(2)
        .says(&["asistry keys show -p asistry --name k2 --json --reveal --yes"]);
}

#[test]
fn a_remedy_repeats_the_url_for_which_a_key_was_given() {
    let home = Home::new();
    let url = "https://other.example/mcp";
    let add = ["keys", "add", "-p", "asistry", "--url", url, "--stdin", "--no-verify"];
    home.told(&add, SERVICES[0].1).succeeds();
    home.told(&add, SERVICES[0].1).fails(2).says(&[
        &format!(
            "replace it: asistry keys rotate -p asistry --url {url} --name default --stdin --no-verify\n"
        ),
        &format!("or at once: asistry keys add -p asistry --url {url} --name default --stdin"),
        &format!("or keep both: asistry keys add -p asistry --url {url} --name OTHER --stdin"),
    ]);
}

#[test]
fn only_one_place_can_be_named() {
    let home = Home::new();
    let ran = home.run(&["keys", "add", "--stdin", "--from-env", "HOME"]).fails(2);
    assert!(ran.stderr.contains("--from-env") && ran.stderr.contains("cannot be used"), "{}", ran.stderr);
    home.run(&["keys", "add", "--from-env", "NO_SUCH"]).fails(2).says(&["not set"]);
    home.run(&["keys", "add", "--from-file", "/no/such/file"])
        .fails(2)
        .says(&["the file /no/such/file does not exist"]);
    home.run(&["keys", "add"]).fails(2).says(&["--stdin", "--from-env", "--from-file"]);
    assert!(home.files().is_empty(), "{:?}", home.files());
}

#[test]
fn a_profile_has_several_named_keys_and_the_first_is_in_use() {
    let home = Home::new();
    let keys = [("first", "ask_1aaaaaaaaaaaaaaaaaaaaaaa"), ("second", "ask_2bbbbbbbbbbbbbbbbbbbbbbb")];
    for (name, key) in keys {
        let add =
            ["keys", "add", "--name", name, "--url", NOWHERE, "-p", "asistry", "--no-verify", "--stdin"];
        home.told(&add, key).succeeds();
    }
    let list = home.json(&["keys", "list", "--json"]);
    let told: Vec<_> =
        list.as_array().unwrap().iter().map(|k| (k["name"].as_str(), k["current"].as_bool())).collect();
    assert_eq!(told, [(Some("first"), Some(true)), (Some("second"), Some(false))]);
    for name in ["", "a/b", "a b", ".a", "a~b", "ü", &"a".repeat(65)] {
        let add = ["keys", "add", "--name", name, "--no-verify", "--stdin"];
        home.told(&add, keys[0].1).fails(2).says(&["cannot be named"]);
    }
    assert_eq!(home.json(&["keys", "list", "--json"]).as_array().unwrap().len(), 2);
}

#[test]
fn a_key_of_a_model_provider_is_refused_for_every_service_before_anything_is_sent() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    for (key, owner) in
        [("sk-ant-api03-Vq8sTz31LmXw07Kd", "Anthropic"), ("sk-proj-Vq8sTz31LmXw07Kd", "OpenAI")]
    {
        let home = Home::new();
        let add = ["keys", "add", "--url", &url, "--stdin"];
        let ran = home.told(&add, key).fails(2).says(&[owner, "--force", "nothing was stored"]);
        assert_no_echo(&ran, key.as_bytes());
        assert!(listener.accept().is_err(), "nothing was sent");
        home.told(&[&add[..], &["--force", "--no-verify"]].concat(), key).succeeds();
    }
}
