//! Reads `--faults SPEC`: `KIND[=VALUE][@TOOL][:RATE],…[,seed=N]`.
//!
//! Refuses rules that concern no request of any service, such as one with a misspelled tool.

use super::{FAULT_KINDS, Faults, Kind, Known, MILLION, Rate, Rule, What, matches};
use crate::error::{self, Error, Result};
use crate::sandbox::service::Manner;
use std::time::Duration;

const FORM: &str = "KIND[=VALUE][@TOOL][:RATE]";
const EXAMPLE: &str = "asistry sandbox --faults '429=2s@create_task:10%,lost:1/20,seed=7'";
/// The methods that a rule can name beside tools.
const METHODS: [&str; 3] = ["initialize", "ping", "tools/list"];
const LONGEST: Duration = Duration::from_secs(60 * 60);

impl Faults {
    /// Reads SPEC, for these services.
    ///
    /// # Errors
    /// `Usage`, with the form and an example.
    pub(in crate::sandbox) fn read(spec: &str, known: &[Known]) -> Result<Self> {
        let (mut rules, mut seed) = (Vec::new(), None);
        for item in spec.split(',').map(str::trim) {
            let read = match item.strip_prefix("seed=").map(str::parse) {
                Some(_) if seed.is_some() => Err("there are two seeds".to_owned()),
                Some(Ok(number)) => {
                    seed = Some(number);
                    Ok(())
                }
                Some(Err(_)) => Err(format!("a seed is a number from 0 to {}", u64::MAX)),
                None => rule(item, known).map(|rule| rules.push(rule)),
            };
            read.map_err(|why| refused(&format!("{item:?}: {why}")))?;
        }
        match rules.is_empty() {
            true => Err(refused("a seed alone has no effect")),
            false => Ok(Self { seed: seed.unwrap_or_default(), rules }),
        }
    }
}

fn refused(why: &str) -> Error {
    let said = format!("--faults: {why} (the form is {FORM}; asistry help faults has more)");
    Error::new(error::Kind::Usage, said).hint(EXAMPLE)
}

fn rule(item: &str, known: &[Known]) -> Result<Rule, String> {
    let (rest, rate) = item.rsplit_once(':').map_or((item, None), |(rest, rate)| (rest, Some(rate)));
    let (fault, target) = rest.split_once('@').map_or((rest, None), |(fault, target)| (fault, Some(target)));
    let kind = kind(fault)?;
    let (service, what) = target.map_or(Ok((None, What::Calls)), |target| self::target(target, known))?;
    let rate = rate.map_or(Ok(Rate::Every(1)), self::rate)?;
    let rule = Rule { kind, service, what, rate };
    match known.iter().any(|known| rule.is_about(known.service) && can_have(&rule, known.manner)) {
        true => Ok(rule),
        false => Err("requests like these cannot have this fault".to_owned()),
    }
}

fn kind(text: &str) -> Result<Kind, String> {
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    let kind = match (name, value) {
        ("429", value) => return Ok(Kind::TooMany(value.map(seconds).transpose()?)),
        ("503", value) => return Ok(Kind::Unavailable(value.map(seconds).transpose()?)),
        ("slow", Some(value)) => return Ok(Kind::Slow(duration(value)?)),
        ("slow", None) => return Err("slow needs a time, such as slow=2s".to_owned()),
        ("500", _) => Kind::Internal,
        ("502", _) => Kind::BadGateway,
        ("reset", _) => Kind::Reset,
        ("lost", _) => Kind::Lost,
        ("session", _) => Kind::Session,
        ("drop", _) => Kind::Drop,
        ("expired", _) => Kind::Expired,
        _ => {
            let forms: Vec<_> = FAULT_KINDS.iter().map(|kind| kind.form).collect();
            return Err(format!("there is no such kind; there are {}", forms.join(", ")));
        }
    };
    value.map_or(Ok(kind), |_| Err(format!("{name} takes no value")))
}

/// Reads `[SERVICE/]TOOL` or `[SERVICE/]METHOD`; both may have `*` and `?`, a method may not.
fn target(text: &str, known: &[Known]) -> Result<(Option<String>, What), String> {
    let method = |text: &str| METHODS.into_iter().find(|method| *method == text).map(What::Method);
    if let Some(what) = method(text) {
        return Ok((None, what));
    }
    let (service, tool) = text.split_once('/').map_or((None, text), |(service, tool)| (Some(service), tool));
    let is_here = |known: &&Known| service.is_none_or(|glob| matches(glob, known.service));
    let mut here = known.iter().filter(is_here).peekable();
    if here.peek().is_none() {
        let services: Vec<_> = known.iter().map(|known| known.service).collect();
        return Err(format!("there is no such service; there are {}", services.join(", ")));
    }
    let service = service.map(str::to_owned);
    if let Some(what) = method(tool) {
        return Ok((service, what));
    }
    match here.any(|known| known.tools.iter().any(|name| matches(tool, name))) {
        true => Ok((service, What::Tools(tool.to_owned()))),
        false => Err(format!("there is no tool or method {tool:?}")),
    }
}

/// Says whether a service of this manner can have the fault.
fn can_have(rule: &Rule, manner: Manner) -> bool {
    let has_method = !matches!(rule.what, What::Method(_)) || manner != Manner::Rest;
    let has_kind = match rule.kind {
        Kind::Session => manner == Manner::Sessions && rule.what != What::Method("initialize"),
        Kind::Drop => manner != Manner::Stateless,
        _ => true,
    };
    has_method && has_kind
}

fn rate(text: &str) -> Result<Rate, String> {
    let wrong = || "a rate is 10%, 0.1 or 1/20, more than 0 and at most all".to_owned();
    if let Some(step) = text.strip_prefix("1/") {
        return step.parse().ok().filter(|step| *step > 0).map(Rate::Every).ok_or_else(wrong);
    }
    // Shifts the point of a decimal fraction: 4 places make millionths of a percentage, 6 of a share.
    let (text, places) = text.strip_suffix('%').map_or((text, 6), |percent| (percent, 4));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) || fraction.len() > places {
        return Err(wrong());
    }
    let millionths = format!("{whole}{fraction:0<places$}").parse().map_err(|_| wrong())?;
    if (1..=MILLION).contains(&millionths) { Ok(Rate::Share(millionths)) } else { Err(wrong()) }
}

/// Reads a time for `Retry-After`, which has whole seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let duration = duration(text)?;
    match duration.subsec_nanos() {
        0 => Ok(duration.as_secs()),
        _ => Err("Retry-After has whole seconds, such as 2s".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000)];
    let read = |(unit, millis)| text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(millis);
    let duration = units.into_iter().find_map(read).map(Duration::from_millis);
    let duration = duration.filter(|duration| *duration <= LONGEST);
    duration.ok_or_else(|| "a time is 500ms, 2s or 1m, at most 60m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<Known> {
        let known = |service, manner, tools: &[&str]| Known {
            service,
            manner,
            tools: tools.iter().map(|tool| (*tool).to_owned()).collect(),
        };
        vec![
            known("asistry", Manner::Sessions, &["create_task", "list_tasks"]),
            known("zuko", Manner::Stateless, &["create_task"]),
            known("agentstack", Manner::Rest, &["projects.get_projects"]),
        ]
    }

    fn read(spec: &str) -> Result<Faults> {
        Faults::read(spec, &known())
    }

    fn only(spec: &str) -> Rule {
        let mut faults = read(spec).unwrap_or_else(|error| panic!("{spec}: {error}"));
        assert_eq!(faults.rules.len(), 1, "{spec}");
        faults.rules.remove(0)
    }

    #[test]
    fn each_kind_is_read_with_its_value() {
        for (spec, kind) in [
            ("429", Kind::TooMany(None)),
            ("429=2s", Kind::TooMany(Some(2))),
            ("500", Kind::Internal),
            ("502", Kind::BadGateway),
            ("503", Kind::Unavailable(None)),
            ("503=1m", Kind::Unavailable(Some(60))),
            ("reset", Kind::Reset),
            ("lost", Kind::Lost),
            ("slow=250ms", Kind::Slow(Duration::from_millis(250))),
            ("session", Kind::Session),
            ("drop", Kind::Drop),
            ("expired", Kind::Expired),
        ] {
            assert_eq!(only(spec), Rule { kind, service: None, what: What::Calls, rate: Rate::Every(1) });
        }
        for kind in FAULT_KINDS {
            let name = kind.form.split(['=', '[']).next().unwrap();
            only(if name == "slow" { "slow=1s" } else { name });
        }
    }

    #[test]
    fn a_target_is_a_tool_or_a_method_of_all_services_or_of_one() {
        let tools = |glob: &str| What::Tools(glob.to_owned());
        for (target, service, what) in [
            ("create_task", None, tools("create_task")),
            ("*", None, tools("*")),
            ("zuko/create_*", Some("zuko"), tools("create_*")),
            ("a*/*", Some("a*"), tools("*")),
            ("agentstack/projects.*", Some("agentstack"), tools("projects.*")),
            ("tools/list", None, What::Method("tools/list")),
            ("asistry/initialize", Some("asistry"), What::Method("initialize")),
        ] {
            let rule = only(&format!("lost@{target}:1/2"));
            assert_eq!((rule.service.as_deref(), rule.what, rule.rate), (service, what, Rate::Every(2)));
        }
    }

    #[test]
    fn a_rate_is_a_share_or_a_step() {
        for (rate, expected) in [
            ("10%", Rate::Share(100_000)),
            ("0.1", Rate::Share(100_000)),
            ("12.5%", Rate::Share(125_000)),
            ("0.000001", Rate::Share(1)),
            ("0.0001%", Rate::Share(1)),
            ("100%", Rate::Share(MILLION)),
            ("1", Rate::Share(MILLION)),
            ("1/20", Rate::Every(20)),
        ] {
            assert_eq!(only(&format!("lost:{rate}")).rate, expected, "{rate}");
        }
    }

    #[test]
    fn several_faults_have_one_seed_anywhere() {
        let faults = read("429=1s:20%, seed=7 ,lost").unwrap();
        assert_eq!((faults.seed, faults.rules.len()), (7, 2));
        assert_eq!(read("lost").unwrap().seed, 0);
    }

    #[test]
    fn a_wrong_spec_is_refused_with_the_form_and_an_example() {
        for (spec, why) in [
            ("", "there is no such kind; there are 429[=DUR], 500, 502"),
            ("lost,", "there is no such kind"),
            ("404", "there is no such kind"),
            ("500=1s", "500 takes no value"),
            ("slow", "slow needs a time"),
            ("slow=2", "a time is 500ms"),
            ("slow=61m", "at most 60m"),
            ("slow=-1s", "a time is"),
            ("slow=99999999999999999999m", "a time is"),
            ("429=1500ms", "whole seconds"),
            ("lost:0%", "a rate is 10%"),
            ("lost:101%", "a rate is"),
            ("lost:0.0000001", "a rate is"),
            ("lost:1/0", "a rate is"),
            ("lost:2/3", "a rate is"),
            ("lost:-1", "a rate is"),
            ("lost:", "a rate is"),
            ("lost@creat_task", "there is no tool or method \"creat_task\""),
            ("lost@zuko/list_tasks", "there is no tool"),
            ("lost@", "there is no tool"),
            ("lost@zukko/*", "there is no such service; there are asistry, zuko, agentstack"),
            ("session@zuko/*", "cannot have this fault"),
            ("drop@zuko/*", "cannot have this fault"),
            ("session@initialize", "cannot have this fault"),
            ("lost@agentstack/ping", "cannot have this fault"),
            ("seed=7", "a seed alone"),
            ("lost,seed=x", "a seed is a number"),
            ("lost,seed=1,seed=1", "two seeds"),
        ] {
            let error = read(spec).expect_err(spec);
            assert!(error.message().contains(why), "{spec}: {error}");
            assert!(error.message().contains(FORM), "{spec}: {error}");
            assert_eq!(error.kind(), error::Kind::Usage);
        }
        let example = EXAMPLE.split('\'').nth(1).unwrap();
        assert_eq!(read(example).unwrap().rules.len(), 2);
    }
}
