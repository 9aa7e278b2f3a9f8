//! stderr: written directly by a command, and by a thread of its own while a bridge runs.
//!
//! A text of several lines is one remark: its further lines are indented. The caller of a [`Queue`] never waits for
//! the reader of stderr: past [`MOST`] waiting bytes, lines are dropped and counted. Refuses to fail: stderr may be
//! closed (STD-3). The thread starts with the first line: most bridges never write one, and start sooner without it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that may wait to be written.
const MOST: usize = 256 * 1024;
/// Lines of one kind that are written within [`WINDOW`]; further ones are counted.
const MOST_ALIKE: usize = 20;
const WINDOW: Duration = Duration::from_secs(60);
/// Maximum kinds of lines that are counted separately.
const MOST_KINDS: usize = 64;

/// The queue of this process's stderr, where one was started.
static DETACHED: OnceLock<Queue> = OnceLock::new();

/// Writes stderr on a thread of its own from now on; panics are reported through it too.
pub fn detach(note: fn(&str) -> String) {
    if DETACHED.set(Queue::new(std::io::stderr(), note)).is_ok() {
        std::panic::set_hook(Box::new(|panic| drop(writeln!(stderr(), "asistry: {panic}"))));
    }
}

/// Waits until all is written, at most this long.
pub fn finish(within: Duration) {
    if let Some(queue) = DETACHED.get() {
        queue.finish(within);
    }
}

/// Returns a writer for stderr; what it was given is written when it is dropped.
pub fn stderr() -> Line<'static> {
    Line::to(DETACHED.get())
}

/// Text that leaves in one piece when this is dropped.
#[derive(Debug)]
pub struct Line<'a> {
    bytes: Vec<u8>,
    queue: Option<&'a Queue>,
    limited: bool,
    exact: bool,
}

impl<'a> Line<'a> {
    fn to(queue: Option<&'a Queue>) -> Self {
        Self { bytes: Vec::new(), queue, limited: false, exact: false }
    }

    /// Takes the text as it is: no stranger has a say in where its lines end.
    #[must_use]
    pub fn exactly(mut self) -> Self {
        self.exact = true;
        self
    }

    /// Counts lines that resemble this one, instead of writing too many of them.
    #[must_use]
    pub fn limited(mut self) -> Self {
        self.limited = true;
        self
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        if !self.exact {
            let text = String::from_utf8_lossy(&bytes);
            let remark = super::foreign::remark(text.strip_suffix('\n').unwrap_or(&text));
            bytes = format!("{remark}\n").into_bytes();
        }
        match self.queue {
            Some(queue) if self.limited => queue.push_limited(&bytes),
            Some(queue) => queue.push(&bytes),
            None => drop(super::progress::aside(|| std::io::stderr().write_all(&bytes))),
        }
    }
}

/// Lines on their way to a sink that may block.
#[derive(Clone)]
pub struct Queue {
    shared: Arc<Shared>,
    /// Draws a remark about the lines themselves as a line.
    note: fn(&str) -> String,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    more: Condvar,
    idle: Condvar,
}

#[derive(Default)]
struct State {
    /// Where lines go; taken by the thread that writes.
    sink: Option<Box<dyn Write + Send>>,
    waiting: Vec<u8>,
    dropped: usize,
    writing: bool,
    /// The sink takes nothing any more.
    broken: bool,
    kinds: HashMap<u64, Alike>,
}

/// Lines of one kind within the window.
#[derive(Debug)]
struct Alike {
    since: Instant,
    count: usize,
    last: String,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl Queue {
    /// Creates a queue whose thread starts with the first line.
    pub fn new(sink: impl Write + Send + 'static, note: fn(&str) -> String) -> Self {
        let state = State { sink: Some(Box::new(sink)), ..State::default() };
        let shared = Shared { state: Mutex::new(state), ..Shared::default() };
        Self { shared: Arc::new(shared), note }
    }

    /// Returns a writer whose text is queued when it is dropped.
    pub fn line(&self) -> Line<'_> {
        Line::to(Some(self))
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.shared.state();
        state.push(line);
        self.wake(state);
    }

    /// Lets the thread write; starts it where it does not run yet. Without a thread the lines are lost.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let Some(mut sink) = state.sink.take() else { return self.shared.more.notify_one() };
        let (shared, note) = (self.shared.clone(), self.note);
        let writer = std::thread::Builder::new().name("log".into());
        state.broken = writer.spawn(move || shared.write(&mut *sink, note)).is_err();
    }

    fn push_limited(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let mut state = self.shared.state();
        let left_out = state.count(&text, Instant::now());
        match left_out {
            None => return,
            Some(before) => before.iter().for_each(|alike| state.push((self.note)(&alike.told()).as_bytes())),
        }
        state.push(line);
        self.wake(state);
    }

    /// Reports what was left out, and waits until all is written, at most this long.
    pub fn finish(&self, within: Duration) {
        let mut state = self.shared.state();
        let left_out: Vec<Alike> = state.kinds.drain().map(|(_, alike)| alike).collect();
        for alike in left_out.iter().filter(|alike| alike.count > MOST_ALIKE) {
            state.push((self.note)(&alike.told()).as_bytes());
        }
        self.shared.more.notify_one();
        let busy = |state: &mut State| !state.broken && (state.writing || !state.waiting.is_empty());
        drop(self.shared.idle.wait_timeout_while(state, within, busy));
    }
}

impl Alike {
    fn told(&self) -> String {
        format!(
            "{} more lines like this one were left out: {}",
            self.count - MOST_ALIKE,
            self.last.trim_end()
        )
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, sink: &mut dyn Write, note: fn(&str) -> String) {
        loop {
            let mut state = self.state();
            while state.waiting.is_empty() && state.dropped == 0 {
                state.writing = false;
                self.idle.notify_all();
                state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.writing = true;
            let mut text = std::mem::take(&mut state.waiting);
            let dropped = std::mem::take(&mut state.dropped);
            drop(state);
            if dropped > 0 {
                text.extend_from_slice(
                    note(&format!("{dropped} lines were dropped here, unread")).as_bytes(),
                );
            }
            if sink.write_all(&text).and_then(|()| sink.flush()).is_err() {
                let mut state = self.state();
                (state.broken, state.waiting) = (true, Vec::new());
                return self.idle.notify_all();
            }
        }
    }
}

impl State {
    fn push(&mut self, line: &[u8]) {
        if self.broken {
            return;
        }
        if self.waiting.len() + line.len() > MOST {
            self.dropped += 1;
            return;
        }
        self.waiting.extend_from_slice(line);
    }

    /// Counts a line; returns `None` where it is left out, else what was left out in an earlier window.
    fn count(&mut self, line: &str, now: Instant) -> Option<Option<Alike>> {
        let mut kind = kind_of(line);
        if !self.kinds.contains_key(&kind) && self.kinds.len() >= MOST_KINDS {
            self.kinds
                .retain(|_, alike| alike.count > MOST_ALIKE || now.duration_since(alike.since) < WINDOW);
            kind = if self.kinds.len() >= MOST_KINDS { 0 } else { kind };
        }
        let new = || Alike { since: now, count: 0, last: line.to_owned() };
        let alike = self.kinds.entry(kind).or_insert_with(new);
        let over = now.duration_since(alike.since) >= WINDOW;
        let before = over.then(|| std::mem::replace(alike, new()));
        alike.count += 1;
        (alike.count <= MOST_ALIKE).then(|| before.filter(|before| before.count > MOST_ALIKE))
    }
}

/// Lines that differ in numbers only are of one kind.
fn kind_of(line: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    line.bytes().filter(|byte| !byte.is_ascii_digit()).for_each(|byte| byte.hash(&mut hasher));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// A sink that takes nothing before it is asked.
    struct Slow(Receiver<()>, Arc<Mutex<String>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().unwrap().push_str(std::str::from_utf8(bytes).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn slow() -> (Queue, SyncSender<()>, Arc<Mutex<String>>) {
        let (go, wait) = sync_channel(0);
        let text = Arc::<Mutex<String>>::default();
        let queue = Queue::new(Slow(wait, text.clone()), |note| format!("{note}\n"));
        (queue, go, text)
    }

    #[test]
    fn a_sink_that_takes_nothing_blocks_nobody_and_the_dropped_lines_are_counted() {
        let (queue, go, text) = slow();
        let line = "x".repeat(MOST / 8);
        for _ in 0..100 {
            drop(writeln!(queue.line(), "{line}"));
        }
        queue.finish(Duration::from_millis(10));
        drop(go);
        queue.finish(Duration::from_secs(30));
        let text = text.lock().unwrap();
        let came = text.lines().filter(|l| l.starts_with('x')).count();
        assert!(came < 20, "{came}");
        let told: usize = text
            .lines()
            .filter_map(|l| l.strip_suffix(" lines were dropped here, unread")?.parse::<usize>().ok())
            .sum();
        assert_eq!(came + told, 100);
    }

    #[test]
    fn repeated_notes_are_limited_and_counted() {
        let (queue, go, text) = slow();
        drop(go);
        for n in 0..1000 {
            drop(writeln!(queue.line().limited(), "call {n} was answered twice"));
        }
        drop(writeln!(queue.line().limited(), "something else"));
        queue.finish(Duration::from_secs(30));
        let text = text.lock().unwrap();
        assert_eq!(text.lines().filter(|l| l.starts_with("call ")).count(), MOST_ALIKE, "{text}");
        assert!(
            text.contains("\n980 more lines like this one were left out: call 0 was answered twice\n"),
            "{text}"
        );
        assert!(text.contains("something else\n"));
    }
}
