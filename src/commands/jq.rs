//! `--jq`: filters the JSON of a result with jaq, in a process of its own.
//!
//! Refuses to lose a result: an expression that recurses without an end, or takes all memory, ends that process
//! and no other. What jaq lacks of jq is defined in `prelude.jq`; the rest is named, with the way round.

mod json;

use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::{Command, Output as Ended, Stdio};

use jaq_core::load::{Arena, File, Loader};
use jaq_core::native::{Fun, bome, run as native, v};
use jaq_core::{Ctx, DataT, Filter, Vars, data};
use jaq_json::Val;

use self::json::{json, told};
use crate::error::{Error, Kind, Result};
use crate::profile::nearest;

/// The word behind which we start ourselves; no command that a person types.
const WORD: &str = "__jq";
/// Bytes of stack, where the system grants them: what is nested deeply is read, written and freed recursively.
const STACKS: [usize; 3] = [1 << 30, 1 << 26, 1 << 22];
/// Seconds of CPU that an expression may take.
const LONGEST: u64 = 10;
/// Bytes of memory that it may take.
const LARGEST: u64 = 8 << 30;
/// Keeps secrets out of another process's environment.
const SECRETS: [&str; 2] = ["ASISTRY_API_KEY", "ASISTRY_KEY_PASSPHRASE"];
const LANGUAGE: &str = "the language is jq's: --jq '.[].title'";
const CORRECT: &str = "correct the expression; jq itself can try it on the whole JSON";
const BOUND: &str = "bound the expression, as limit(10; …) and first(…) do";
const WAY_ROUND: &str = "print all of it with --json, and pipe that into jq itself";

/// Checks an expression, and runs nothing.
///
/// # Errors
/// [`Kind::Usage`] for one that is no jq expression, or that uses what asistry does not know.
pub fn check(expression: &str) -> Result<()> {
    compiled(expression).map(drop).map_err(|(why, hint)| wrong(&why, hint))
}

/// Returns what an expression makes of a JSON text, each output as JSON.
///
/// # Errors
/// [`Kind::Usage`] with what the expression failed on.
pub fn filtered(expression: &str, input: &str) -> Result<Vec<String>> {
    let ended =
        in_a_process(expression, input).map_err(|e| wrong(&format!("it cannot be run: {e}"), WAY_ROUND))?;
    let said = String::from_utf8_lossy(&ended.stderr);
    match (ended.status.code(), ended.status.success()) {
        (_, true) => Ok(String::from_utf8_lossy(&ended.stdout).lines().map(str::to_owned).collect()),
        (Some(1), _) => Err(wrong(said.trim_end(), CORRECT)),
        _ if took_too_long(&ended) => {
            Err(wrong(&format!("it does not end within {LONGEST} s of CPU time"), BOUND))
        }
        _ => Err(wrong("it recurses too deeply, or needs too much memory", BOUND)),
    }
}

fn wrong(why: &str, hint: impl Into<String>) -> Error {
    Error::new(Kind::Usage, format!("--jq: {why}")).hint(hint.into())
}

fn in_a_process(expression: &str, input: &str) -> std::io::Result<Ended> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([WORD, expression]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for name in SECRETS {
        command.env_remove(name);
    }
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // It reads everything before it writes. One that has died says why at its end.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output()
}

#[cfg(unix)]
fn took_too_long(ended: &Ended) -> bool {
    use std::os::unix::process::ExitStatusExt;
    ended.status.signal() == Some(rustix::process::Signal::XCPU.as_raw())
}

#[cfg(not(unix))]
fn took_too_long(_: &Ended) -> bool {
    false
}

/// Runs the expression, where this process was started for that; returns its exit code.
pub fn answer(words: &[OsString]) -> Option<u8> {
    let [_, word, expression] = words else { return None };
    if word != WORD {
        return None;
    }
    limit();
    let expression = expression.to_string_lossy().into_owned();
    let started = STACKS.iter().find_map(|stack| {
        let expression = expression.clone();
        std::thread::Builder::new().stack_size(*stack).spawn(move || run(&expression)).ok()
    });
    Some(match started.map(std::thread::JoinHandle::join) {
        Some(Ok(Ok(()))) => 0,
        Some(Ok(Err(why))) => {
            let _ = std::io::stderr().write_all(why.as_bytes());
            1
        }
        _ => Kind::Bug.exit_code(),
    })
}

/// Takes what bounds its work, and leaves no core behind.
#[cfg(unix)]
fn limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    for (resource, most) in [(Resource::Cpu, LONGEST), (Resource::As, LARGEST), (Resource::Core, 0)] {
        let there = getrlimit(resource);
        let current = Some(there.current.map_or(most, |there| there.min(most)));
        let _ = setrlimit(resource, Rlimit { current, maximum: there.maximum });
    }
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
}

#[cfg(not(unix))]
fn limit() {
    std::thread::spawn(|| {
        std::thread::sleep(std::time::Duration::from_secs(6 * LONGEST));
        std::process::exit(Kind::Bug.exit_code().into());
    });
}

fn run(expression: &str) -> std::result::Result<(), String> {
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input).map_err(|e| e.to_string())?;
    let filter = compiled(expression).map_err(|(why, _)| why)?;
    let input = jaq_json::read::parse_single(&input).map_err(|e| e.to_string())?;
    let context = Ctx::<data::JustLut<Val>>::new(&filter.lut, Vars::new([environment()]));
    let mut stdout = std::io::BufWriter::new(std::io::stdout().lock());
    for output in filter.id.run((context, input)) {
        match output.map_err(jaq_core::Exn::get_err) {
            Ok(output) => writeln!(stdout, "{}", json(&output)?).map_err(|e| e.to_string())?,
            Err(Ok(error)) => return Err(told(error)),
            // `halt` ends it; `prelude.jq` makes every other end an error.
            Err(Err(_)) => break,
        }
    }
    stdout.flush().map_err(|e| e.to_string())
}

/// Returns what `$ENV` is.
fn environment() -> Val {
    let text = |text: OsString| text.to_string_lossy().into_owned();
    let all: serde_json::Map<String, serde_json::Value> =
        std::env::vars_os().map(|(name, value)| (text(name), text(value).into())).collect();
    jaq_json::read::parse_single(serde_json::Value::Object(all).to_string().as_bytes()).unwrap_or_default()
}

type Compiled = Filter<data::JustLut<Val>>;

/// Compiles an expression; otherwise says what is wrong with it, and what to do.
fn compiled(expression: &str) -> std::result::Result<Compiled, (String, String)> {
    let ours = jaq_core::load::parse(include_str!("prelude.jq"), |parser| parser.defs());
    let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let definitions: Vec<_> = definitions.chain(ours.unwrap_or_default()).collect();
    let functions: Vec<Fun<data::JustLut<Val>>> = functions().collect();
    let known = definitions.iter().map(|definition| definition.name);
    let known: Vec<&str> = known.chain(functions.iter().map(|(name, ..)| *name)).collect();
    let arena = Arena::default();
    let program = File { code: expression, path: () };
    let modules = Loader::new(definitions)
        .load(&arena, program)
        .map_err(|_| (format!("“{expression}” is not a jq expression"), LANGUAGE.to_owned()))?;
    jaq_core::Compiler::default().with_funs(functions).with_global_vars(["$ENV"]).compile(modules).map_err(
        |errors| {
            let unknown: Vec<&str> =
                errors.iter().flat_map(|(_, names)| names.iter().map(|(name, _)| *name)).collect();
            lacking(&unknown, &known)
        },
    )
}

/// Returns the native functions; `tojson` writes JSON and nothing else.
fn functions<D: for<'a> DataT<V<'a> = Val>>() -> impl Iterator<Item = Fun<D>> {
    let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let to_json = native(("tojson", v(0), |(_, value)| {
        bome(json(&value).map(Val::from).map_err(jaq_json::Error::str))
    }));
    functions.filter(|(name, ..)| *name != "tojson").chain([to_json])
}

/// Says which names of an expression are unknown.
fn lacking(unknown: &[&str], known: &[&str]) -> (String, String) {
    let first = unknown.first().copied().unwrap_or_default();
    let (with, hint) = match nearest(first, known.iter().copied()) {
        Some(same) if same == first => (" with these arguments", format!("check what {first} takes")),
        Some(near) => ("", format!("did you mean {near}? If not, {WAY_ROUND}")),
        None => ("", format!("check the spelling; if jq has it, {WAY_ROUND}")),
    };
    (format!("asistry does not know {}{with}", unknown.join(", ")), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_expression_and_what_is_lacking_is_named() {
        let told = |expression: &str| {
            let error = check(expression).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            format!("{error:?}")
        };
        assert!(told(".[").contains("not a jq expression"));
        assert!(told(".a | @base32").contains("does not know @base32"), "{}", told(".a | @base32"));
        assert!(told("$nothing").contains("$nothing"));
        for fine in [".[].a", "@tsv", "$ENV.HOME", "tostream", "ltrimstr(\"a\")", "def f: f; f"] {
            assert!(check(fine).is_ok(), "{fine}");
        }
    }
}
