//! `asistry call --batch`: many calls in one conversation, a line of JSON for each, in the order of their lines.
//!
//! Refuses to call anything twice: a call is on record before it is sent, and what an earlier output answers, or
//! leaves in doubt, is not sent again.

mod entry;
mod input;
mod order;
mod record;
mod stdout;
mod tally;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use tokio::task::JoinHandle;

use self::entry::{Earlier, Fate, fate_of, says_no};
use self::input::{Line, Lines, Wanted};
use self::order::Order;
use self::record::Record;
use self::tally::Tally;
use super::given::Reader;
use super::result::{Outcome, check_save};
use super::schema::{Schema, Work};
use super::{Arguments, INVALID_PARAMS, waits_for};
use crate::commands::arguments::Common;
use crate::commands::conversation::{Conversation, Filters, Runs, Tool, parsed_json};
use crate::commands::environment::Environment;
use crate::error::{Error, Executed, Kind, Remedy, Result, shell_quoted};
use crate::protocol::message::Id;
use crate::state::started::Run;
use crate::ui::{self, json::Json};

/// Maximum lines for each job ahead of the oldest call under way, and so of calls that a kill leaves in doubt.
const AHEAD: usize = 4;
/// Time limit for writing the outcomes known at the end; the others stay in doubt.
const LAST_WORDS: Duration = Duration::from_secs(2);
const CANCELLED: &str = "interrupted; the call is cancelled at the service, and may have run";
const KILLED: &str = "an earlier run was killed while this call was under way, and it may have run";

/// Calls what the lines of `path` say.
///
/// # Errors
/// The kind that all failures share, or the error that ended the batch early.
pub async fn run(
    common: &Common,
    arguments: &Arguments,
    path: &Path,
    environment: &Environment,
) -> anyhow::Result<u8> {
    arguments.output.check_for_lines()?;
    check_save(arguments.save.as_deref())?;
    let (lines, total) = Lines::open(path)?;
    let conversation = Conversation::begin_unasked(common, environment, arguments.new_keys()).await?;
    conversation.check_new_keys(None, arguments.new_keys()).await?;
    let conversation = conversation.revealing(arguments.reveals(environment));
    let run = if arguments.resume.is_some() { Run::Resumed } else { Run::New };
    let record = Record::begin(environment.state(), &conversation.service(), run)?;
    // Read only now: while another batch could still run, its last lines might come later.
    let earlier = match arguments.resume.as_deref().map(Earlier::read) {
        None => Earlier::default(),
        Some(Ok(earlier)) => earlier,
        Some(Err(error)) => {
            record.forget(&Earlier::default());
            return Err(error.into());
        }
    };
    let bar = conversation.progress("calls");
    let mut batch = Batch {
        arguments,
        conversation,
        tools: Tools::Unknown,
        earlier,
        record,
        under_way: HashMap::new(),
        order: Order::default(),
        writing: None,
        tally: Tally::new(total),
        bar,
        stop: None,
    };
    batch.begin()?;
    let worked = batch.work(lines).await;
    let remote = batch.conversation.remote();
    let ended = batch.end(worked).await;
    let said = super::say_stored(remote.take_stored());
    let tally = ended?;
    said?;
    if !common.quiet {
        ui::say(&tally.said());
    }
    Ok(0)
}

struct Batch<'a> {
    arguments: &'a Arguments,
    conversation: Conversation,
    tools: Tools,
    earlier: Earlier,
    record: Record,
    under_way: HashMap<Id, Place>,
    order: Order,
    /// Lines that are being written: a full pipe must not block the conversation.
    writing: Option<JoinHandle<Result<bool>>>,
    tally: Tally,
    bar: ui::Progress,
    /// Why no further call is begun.
    stop: Option<Error>,
}

/// A line whose result is to be written.
struct Place {
    /// Among those that are written.
    turn: usize,
    line: usize,
    wanted: Option<Wanted>,
}

/// The tools, as far as they are known.
enum Tools {
    Unknown,
    /// Listed by an earlier run.
    Remembered(Vec<Tool>),
    /// A call was refused for its arguments: an older list knows too little.
    Doubtful,
    /// Listed by this run.
    Listed(Vec<Tool>),
}

impl Tools {
    /// Returns the service's name of a tool, and how it runs.
    fn meant<'a>(&'a self, name: &'a str) -> (&'a str, Runs) {
        let unknown = (name, Runs::default());
        let (Self::Remembered(known) | Self::Listed(known)) = self else { return unknown };
        known.iter().find(|tool| tool.is_named(name)).map_or(unknown, |tool| (&tool.name, tool.runs))
    }
}

enum Event {
    Answered(Id, Result<String>),
    Line(Option<Line>),
}

impl Arguments {
    /// Returns how to make the calls that have not run.
    fn resume_remedy(&self) -> Remedy {
        let shown = |path: &Path| path.display().to_string();
        let earlier = self.resume.as_deref();
        let is_output =
            |path: &&Path| std::fs::File::open(path).is_ok_and(|file| stdout::is(&file).is_some());
        let flags = [
            (self.full, " --full"),
            (self.no_check, " --no-check"),
            (self.reveal, " --reveal"),
            (self.save_key, " --save-key"),
        ];
        let save = self.save.as_deref().map(|path| format!(" --save {}", shell_quoted(&shown(path))));
        let jobs = self.jobs.map(|jobs| format!(" --jobs {jobs}"));
        Remedy::ResumeBatch {
            calls: self.batch.as_deref().filter(|path| path.as_os_str() != "-").map(shown),
            output: earlier.filter(is_output).map(shown).or_else(stdout::path),
            options: flags
                .iter()
                .filter(|(given, _)| *given)
                .map(|(_, flag)| *flag)
                .chain(save.as_deref())
                .chain(jobs.as_deref())
                .collect(),
        }
    }
}

impl Batch<'_> {
    fn begin(&mut self) -> Result<()> {
        if self.arguments.resume.is_none() {
            return Ok(());
        }
        if !self.record.is_kept() {
            ui::warn(
                "nothing remembers which calls a killed run had begun; \
                 ASISTRY_STATE_DIR names a directory for it",
            );
        }
        if self.earlier.is_empty() {
            ui::warn("the earlier output answers nothing yet; every line is called");
        }
        if self.earlier.is_torn_at_stdout() {
            ui::print_exactly("")?;
        }
        Ok(())
    }

    /// Makes the calls; what is under way at the end was interrupted.
    async fn work(&mut self, mut lines: Lines) -> Result<()> {
        let (mut more, jobs) = (true, usize::from(self.arguments.jobs.unwrap_or(1)));
        loop {
            let ahead = self.order.ahead() < AHEAD * jobs;
            let room = more && self.stop.is_none() && ahead && self.under_way.len() < jobs;
            if !room && self.under_way.is_empty() {
                return Ok(());
            }
            let (conversation, bar) = (&mut self.conversation, &mut self.bar);
            let event = tokio::select! {
                biased;
                answered = conversation.answer(|said| {
                    if let Some((wait, why)) = waits_for(said) {
                        bar.count_down(wait, why);
                    }
                }) => answered.map(|(id, answer)| Event::Answered(id, answer))?,
                line = lines.next(), if room => match line {
                    Ok(line) => Event::Line(line),
                    Err(error) => {
                        self.stop = Some(error);
                        Event::Line(None)
                    }
                },
            };
            match event {
                Event::Line(None) => more = false,
                Event::Line(Some(line)) => self.start(line).await?,
                Event::Answered(id, answer) => {
                    let Some(place) = self.under_way.remove(&id) else { continue };
                    let became = answer.and_then(|text| self.read(&text, place.line));
                    self.settle(place, became).await?;
                }
            }
        }
    }

    /// Sends the call of a line, unless there is a reason not to.
    async fn start(&mut self, line: Line) -> Result<()> {
        let wanted = match line.wanted {
            Ok(wanted) => wanted,
            Err(error) => return self.refuse(line.number, None, error).await,
        };
        match self.earlier.fate(&wanted.call) {
            Fate::Open => {}
            known => {
                self.tally.earlier(known, line.number);
                self.show();
                return Ok(());
            }
        }
        let refused = match self.reason_against(&wanted).await {
            Ok(refused) => refused,
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(error) => {
                self.stop = Some(error);
                return Ok(());
            }
        };
        if let Some(why) = refused {
            return self.refuse(line.number, Some(wanted), why).await;
        }
        let turn = self.order.turn();
        self.send(Place { turn, line: line.number, wanted: Some(wanted) });
        Ok(())
    }

    /// Takes a line that is not sent; a usage error that the earlier output has is not written again.
    async fn refuse(&mut self, line: usize, wanted: Option<Wanted>, why: Error) -> Result<()> {
        let call = wanted.as_ref().map(|wanted| wanted.call.as_str());
        if self.earlier.has_usage_error(line, call, &why) {
            self.failed(line, wanted.as_ref(), &why);
            self.tally.settled(line, Some(why.kind()));
            self.show();
            return Ok(());
        }
        let turn = self.order.turn();
        self.settle(Place { turn, line, wanted }, Err(why)).await
    }

    /// Returns why a call is not to be sent, else records that it is; of what keeps all calls back, it fails.
    async fn reason_against(&mut self, wanted: &Wanted) -> Result<Option<Error>> {
        if self.record.had_begun(&wanted.call) {
            return Ok(Some(in_doubt(KILLED)));
        }
        if let Err(misfit) = self.tools_for(wanted).await? {
            return Ok(Some(misfit));
        }
        self.record.add(&wanted.call)?;
        Ok(None)
    }

    fn send(&mut self, place: Place) {
        let Some(wanted) = &place.wanted else { return };
        let token = self.bar.is_shown().then(|| place.turn.to_string());
        let tool = self.tools.meant(&wanted.tool);
        let id = self.conversation.say_call(tool, &wanted.arguments, token.as_deref());
        self.under_way.insert(id, place);
    }

    /// Checks a call by the tools; lists them where an older list does not know better. The inner result is the
    /// call's own, the outer one the list's.
    async fn tools_for(&mut self, wanted: &Wanted) -> Result<Result<()>> {
        let checks = !self.arguments.no_check;
        let filters = self.conversation.filters();
        let fits = |known: &[Tool]| fits(known, &filters, wanted, checks);
        if let Tools::Unknown = self.tools {
            let known = self.conversation.remembered_tools().await?;
            self.tools = known.map_or(Tools::Doubtful, Tools::Remembered);
        }
        match &self.tools {
            Tools::Listed(known) => return Ok(fits(known)),
            Tools::Remembered(known) if fits(known).is_ok() => return Ok(Ok(())),
            _ => {}
        }
        let known = self.conversation.tools().await?;
        let checked = fits(&known);
        self.tools = Tools::Listed(known);
        Ok(checked)
    }

    /// Reads the result of a tool.
    fn read(&self, text: &str, line: usize) -> Result<Json> {
        let outcome = parsed_json("tools/call", text)
            .and_then(|result| Outcome::read(result, self.arguments.save.as_deref()))
            .map_err(|error| error.executed(Executed::Maybe))?;
        if self.arguments.full {
            return Ok(outcome.whole);
        }
        if outcome.is_error {
            return Err(Error::new(Kind::ServiceError, outcome.text));
        }
        outcome
            .unseen
            .iter()
            .for_each(|unseen| self.bar.aside(|| ui::say(&format!("line {line}: {unseen}"))));
        Ok(outcome.value)
    }

    /// Takes what became of a line and writes it, as soon as all lines before it are written.
    async fn settle(&mut self, place: Place, became: Result<Json>) -> Result<()> {
        if let Err(error) = &became {
            self.failed(place.line, place.wanted.as_ref(), error);
        }
        self.keep(&place, &became);
        while let Some(entry) = self.order.next() {
            self.write(entry).await?;
        }
        if let (Some(wanted), Err(error)) = (&place.wanted, &became)
            && fate_of(error) == Fate::Open
        {
            self.record.mark_not_run(&wanted.call);
        }
        self.show();
        Ok(())
    }

    fn keep(&mut self, place: &Place, became: &Result<Json>) {
        let failed = match became {
            Ok(result) if self.arguments.full && says_no(result) => Some(Kind::ServiceError),
            Ok(_) => None,
            Err(error) => Some(error.kind()),
        };
        self.tally.settled(place.line, failed);
        self.order.put(place.turn, entry::written(place.line, place.wanted.as_ref(), became));
    }

    fn failed(&mut self, line: usize, wanted: Option<&Wanted>, error: &Error) {
        let tool = wanted.map_or(String::new(), |wanted| format!("{}: ", wanted.tool));
        self.bar.say(&format!("line {line}: {tool}{}", error.message()));
        if error.details().code == Some(INVALID_PARAMS) && matches!(self.tools, Tools::Remembered(_)) {
            self.tools = Tools::Doubtful;
        }
        if error.kind().is_lasting() && self.stop.is_none() {
            self.stop = Some(error.clone());
        }
    }

    async fn write(&mut self, entry: String) -> Result<()> {
        let bar = self.bar.clone();
        let writing = self.writing.insert(tokio::task::spawn_blocking(move || bar.print(&entry)));
        let written = self.conversation.unless_interrupted(writing).await?;
        self.writing = None;
        match written {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(Error::new(Kind::Output, "the output is no longer read")
                .hint("keep the output; what was under way may have run")),
            Ok(Err(error)) => Err(error),
            Err(e) => Err(Error::new(Kind::Bug, format!("the output cannot be written: {e}")).caused_by(e)),
        }
    }

    fn show(&mut self) {
        let (done, total, what) = self.tally.shown();
        self.bar.count(done, total, &what);
    }

    /// Writes the last lines, leaves the service, and says how it went.
    async fn end(mut self, worked: Result<()>) -> Result<Tally> {
        if worked.as_ref().is_err_and(|error| error.kind() == Kind::Interrupted) {
            self.conversation.hang_up().await;
        }
        let (mut open, mut doubtful) = (Vec::new(), false);
        while let Some((id, answer)) = self.conversation.answer_at_hand().await {
            if let Some(place) = self.under_way.remove(&id) {
                let became = answer
                    .and_then(|text| self.read(&text, place.line))
                    .map_err(|error| if is_doubtful(&error) { in_doubt(CANCELLED) } else { error });
                match became.as_ref().map_err(fate_of) {
                    Err(Fate::Open) => open.extend(place.wanted.as_ref().map(|wanted| wanted.call.clone())),
                    Err(Fate::InDoubt) => doubtful = true,
                    _ => {}
                }
                self.keep(&place, &became);
            }
        }
        let mut cut_off: Vec<Place> = self.under_way.drain().map(|(_, place)| place).collect();
        cut_off.sort_by_key(|place| place.turn);
        doubtful |= !cut_off.is_empty();
        for place in cut_off {
            self.keep(&place, &Err(in_doubt(CANCELLED)));
        }
        let reader_is_gone = worked.as_ref().is_err_and(|error| error.kind() == Kind::Output);
        let whole = !reader_is_gone && self.write_the_rest().await;
        if worked.is_ok() && matches!(self.tools, Tools::Doubtful) && self.stop.is_none() {
            // The next call finds the present list.
            let _ = self.conversation.tools().await;
        }
        self.conversation.end().await;
        self.bar.finish();
        open.iter().for_each(|call| self.record.mark_not_run(call));
        if whole {
            self.record.forget(&self.earlier);
        }
        let stopped = worked.err().or(self.stop).map(|error| match error.kind() {
            Kind::Interrupted if !doubtful => {
                Error::new(Kind::Interrupted, "interrupted; no call was under way").executed(Executed::No)
            }
            _ => error,
        });
        self.tally.verdict(stopped, self.arguments.resume_remedy())
    }

    /// Says whether the output has everything at the end.
    async fn write_the_rest(&mut self) -> bool {
        let rest: Vec<String> = std::iter::from_fn(|| self.order.next()).collect();
        let (cut_off, bar) = (self.writing.take(), self.bar.clone());
        let written = async {
            if let Some(writing) = cut_off
                && !matches!(writing.await, Ok(Ok(true)))
            {
                return false;
            }
            if rest.is_empty() {
                return true;
            }
            let writing = tokio::task::spawn_blocking(move || bar.print(&rest.join("\n")));
            matches!(writing.await, Ok(Ok(true)))
        };
        tokio::time::timeout(LAST_WORDS, written).await.unwrap_or(false)
    }
}

fn fits(tools: &[Tool], filters: &Filters, wanted: &Wanted, checked: bool) -> Result<()> {
    let tool = filters.find(tools, &wanted.tool)?;
    let work = Work::default();
    let schema = Schema::new(tool.input_schema(), &work);
    Reader { tool: &tool.name, schema, checked, options: Vec::new }.check(wanted.given.clone())
}

fn is_doubtful(error: &Error) -> bool {
    error.kind() == Kind::Interrupted && fate_of(error) == Fate::InDoubt
}

fn in_doubt(why: &str) -> Error {
    Error::new(Kind::Interrupted, why)
        .hint("look whether it has; to make it again take this line out of the earlier output")
        .executed(Executed::Maybe)
}
