//! stdin and stdout as a [`Port`]: one JSON-RPC message per line, nothing else on stdout (STD-1).
//!
//! On Unix, a pipe or socket is read when it is ready, and output that cannot block is written at once. Everything
//! else (files, Windows, a client that does not read) uses a thread. Never sets `O_NONBLOCK`, which would affect
//! other processes that share the descriptor.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use super::lines::{Lines, More};
use super::{Incoming, Intake, Port};
use crate::protocol::effect::Delivery;

/// Maximum size of one read, in bytes.
const CHUNK: usize = 64 * 1024;
/// Queued bytes at which the port is full.
const FULL: usize = 4 * 1024 * 1024;

/// The process's standard streams.
#[derive(Debug)]
pub struct Stdio {
    lines: Lines,
    input: Input,
    ended: bool,
    told_closed: bool,
    told_hung_up: bool,
    out: Vec<u8>,
    large: VecDeque<Bytes>,
    writer: Arc<Writer>,
    #[cfg(unix)]
    stdout: ready::Stdout,
}

#[derive(Debug)]
enum Input {
    #[cfg(unix)]
    Ready(ready::Stdin, Vec<u8>),
    /// Chunks, and a notification when the thread has read the last one.
    Thread(mpsc::Receiver<Bytes>, Arc<Notify>),
}

impl Stdio {
    /// Takes over stdin and stdout; must be called once, inside a tokio runtime.
    pub fn take() -> Self {
        Self {
            lines: Lines::default(),
            input: Input::open(),
            ended: false,
            told_closed: false,
            told_hung_up: false,
            out: Vec::with_capacity(CHUNK),
            large: VecDeque::new(),
            writer: Arc::default(),
            #[cfg(unix)]
            stdout: ready::Stdout::take(),
        }
    }

    /// Returns the next complete line that was already read.
    fn buffered(&mut self) -> Option<Incoming> {
        if let Some(line) = self.lines.next_line(if self.ended { More::Ended } else { More::ToCome }) {
            return Some(line);
        }
        (self.ended && !std::mem::replace(&mut self.told_closed, self.ended)).then_some(Incoming::Closed)
    }
}

impl Port for Stdio {
    async fn next(&mut self, intake: Intake) -> Incoming {
        if intake == Intake::Open
            && let Some(incoming) = self.buffered()
        {
            return incoming;
        }
        loop {
            let waits = !self.ended && (intake == Intake::Open || !self.told_hung_up);
            tokio::select! {
                biased;
                () = self.writer.changed.notified() => {
                    return if self.writer.is_broken() { Incoming::Broken } else { Incoming::Drained };
                }
                ended = self.input.read_or_hang_up(&mut self.lines, intake), if waits => {
                    if intake == Intake::Paused {
                        self.told_hung_up = true;
                        return Incoming::HungUp;
                    }
                    self.ended = ended;
                }
            }
            if let Some(incoming) = self.buffered() {
                return incoming;
            }
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        let line = delivery.text;
        if line.len() < CHUNK {
            self.out.extend_from_slice(&line);
            self.out.push(b'\n');
            return;
        }
        self.hand_over();
        self.large.push_back(line);
        self.large.push_back(Bytes::from_static(b"\n"));
    }

    fn flush(&mut self) {
        if self.large.is_empty() && !self.out.is_empty() && self.writer.is_idle() {
            #[cfg(unix)]
            match self.stdout.write(&self.out) {
                Ok(written) => drop(self.out.drain(..written)),
                Err(_) => self.writer.break_off(),
            }
        }
        self.hand_over();
        if !self.large.is_empty() {
            self.writer.clone().push(&mut self.large);
        }
    }

    fn is_full(&self) -> bool {
        self.writer.waiting() > FULL
    }

    fn undelivered(&self) -> usize {
        let waiting = self.large.iter().map(Bytes::len).sum::<usize>();
        self.out.len() + waiting + self.writer.waiting()
    }
}

impl Stdio {
    fn hand_over(&mut self) {
        if !self.out.is_empty() {
            self.large.push_back(Bytes::copy_from_slice(&self.out));
            self.out.clear();
        }
    }
}

impl Input {
    fn open() -> Self {
        #[cfg(unix)]
        if let Some(stdin) = ready::Stdin::take() {
            return Self::Ready(stdin, Vec::with_capacity(CHUNK));
        }
        let (chunks, input) = mpsc::channel(4);
        let ended = Arc::new(Notify::new());
        let at_end = ended.clone();
        // The thread blocks in a read until the process ends; files and Windows pipes can be read in no other way.
        let _ = std::thread::Builder::new().name("stdin".into()).spawn(move || {
            read_all(&chunks);
            at_end.notify_one();
        });
        Self::Thread(input, ended)
    }

    /// Reads more, or waits until the other end is closed; returns whether the input has ended.
    async fn read_or_hang_up(&mut self, lines: &mut Lines, intake: Intake) -> bool {
        if intake == Intake::Open {
            return self.read(lines).await;
        }
        self.hung_up().await;
        true
    }

    /// Waits until the other end is closed, without reading. Cancel-safe.
    async fn hung_up(&mut self) {
        match self {
            #[cfg(unix)]
            Self::Ready(stdin, _) => stdin.hung_up().await,
            Self::Thread(_, ended) => ended.notified().await,
        }
    }

    /// Reads more; returns whether the input has ended. Cancel-safe.
    async fn read(&mut self, lines: &mut Lines) -> bool {
        match self {
            #[cfg(unix)]
            Self::Ready(stdin, scratch) => match stdin.read(scratch).await {
                Ok(0) | Err(_) => true,
                Ok(_) => {
                    lines.push(scratch);
                    false
                }
            },
            Self::Thread(chunks, _) => match chunks.recv().await {
                Some(chunk) => {
                    lines.push(&chunk);
                    false
                }
                None => true,
            },
        }
    }
}

fn read_all(chunks: &mpsc::Sender<Bytes>) {
    use std::io::Read;
    let mut stdin = std::io::stdin().lock();
    let mut scratch = vec![0; CHUNK];
    loop {
        match stdin.read(&mut scratch) {
            Ok(0) => return,
            Ok(n) if chunks.blocking_send(Bytes::copy_from_slice(&scratch[..n])).is_err() => return,
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Performs writes that could block, on a thread that starts on first use.
#[derive(Debug, Default)]
struct Writer {
    state: Mutex<Waiting>,
    work: Condvar,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<Bytes>,
    bytes: usize,
    was_full: bool,
    running: bool,
    broken: bool,
}

impl Writer {
    fn state(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> usize {
        self.state().bytes
    }

    fn is_idle(&self) -> bool {
        let state = self.state();
        state.bytes == 0 && !state.broken
    }

    fn is_broken(&self) -> bool {
        self.state().broken
    }

    fn break_off(&self) {
        self.state().broken = true;
        self.changed.notify_one();
    }

    fn push(self: Arc<Self>, lines: &mut VecDeque<Bytes>) {
        let mut state = self.state();
        if state.broken {
            lines.clear();
            return;
        }
        state.bytes += lines.iter().map(Bytes::len).sum::<usize>();
        state.was_full |= state.bytes > FULL;
        state.queue.append(lines);
        if !std::mem::replace(&mut state.running, true) {
            let writer = self.clone();
            drop(state);
            let started = std::thread::Builder::new().name("stdout".into()).spawn(move || writer.run());
            if started.is_err() {
                self.break_off();
            }
            return;
        }
        drop(state);
        self.work.notify_one();
    }

    fn run(&self) {
        let mut stdout = unbuffered();
        loop {
            let mut state = self.state();
            while state.queue.is_empty() {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let Some(part) = state.queue.pop_front() else { continue };
            let last = state.queue.is_empty();
            drop(state);
            let written = stdout.write_all(&part).and_then(|()| if last { stdout.flush() } else { Ok(()) });
            if written.is_err() {
                return self.break_off();
            }
            let length = part.len();
            drop(part);
            let mut state = self.state();
            state.bytes -= length;
            if state.bytes == 0 || (state.was_full && state.bytes <= FULL) {
                state.was_full = state.bytes > FULL;
                drop(state);
                self.changed.notify_one();
            }
        }
    }
}

/// stdout without std's line buffering, which would scan every byte of a large response.
fn unbuffered() -> Box<dyn Write> {
    #[cfg(unix)]
    if let Ok(copy) = std::os::fd::AsFd::as_fd(&std::io::stdout()).try_clone_to_owned() {
        return Box::new(std::fs::File::from(copy));
    }
    Box::new(std::io::stdout().lock())
}

/// Reading and writing when the descriptor is ready, without blocking and without `O_NONBLOCK`.
#[cfg(unix)]
mod ready {
    use std::io;
    use std::os::fd::AsFd;

    use rustix::buffer::spare_capacity;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::{FileType, fstat};
    use rustix::net::{SendFlags, send};
    use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

    /// POSIX: a pipe that is ready accepts this many bytes without blocking.
    const PIPE_BUF: usize = 4096;
    /// Larger writes go to the thread, so that the loop is not delayed.
    const MOST: usize = 256 * 1024;
    const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

    fn file_type(fd: impl AsFd) -> Option<FileType> {
        fstat(fd).ok().map(|stat| FileType::from_raw_mode(stat.st_mode))
    }

    /// stdin as a pipe or socket that reports readiness.
    #[derive(Debug)]
    pub struct Stdin {
        fd: AsyncFd<io::Stdin>,
        /// Whether [`Self::hung_up`] consumed a readiness event of input that is still unread.
        unsure: bool,
    }

    impl Stdin {
        pub fn take() -> Option<Self> {
            let kind = file_type(io::stdin())?;
            if !matches!(kind, FileType::Fifo | FileType::Socket) {
                return None;
            }
            // SAFETY: descriptor 0 is never closed in this process.
            #[allow(unsafe_code)]
            let fd = unsafe { AsyncFd::register_with_interest(io::stdin(), tokio::io::Interest::READABLE) };
            Some(Self { fd: fd.ok()?, unsure: false })
        }

        /// Reads available bytes, as many as fit into the scratch buffer. Cancel-safe.
        pub async fn read(&mut self, scratch: &mut Vec<u8>) -> io::Result<usize> {
            loop {
                let mut guard = None;
                if !std::mem::take(&mut self.unsure) {
                    guard = Some(self.fd.readable().await?);
                }
                let mut clear = || guard.as_mut().map(AsyncFdReadyGuard::clear_ready);
                if !is_ready(io::stdin(), PollFlags::IN)? {
                    clear();
                    continue;
                }
                scratch.clear();
                match rustix::io::read(io::stdin(), spare_capacity(scratch)) {
                    Ok(n) => {
                        // A short read took everything (epoll and kqueue): the next input
                        // triggers readiness again, and the end of input stays visible.
                        if n < scratch.capacity() {
                            clear();
                        } else {
                            self.unsure = true;
                        }
                        return Ok(n);
                    }
                    Err(rustix::io::Errno::AGAIN) => drop(clear()),
                    Err(rustix::io::Errno::INTR) => self.unsure = true,
                    Err(e) => return Err(e.into()),
                }
            }
        }

        /// Waits until the other end is closed, leaving its output unread. Cancel-safe.
        pub async fn hung_up(&mut self) {
            while let Ok(mut guard) = self.fd.readable().await {
                if guard.ready().is_read_closed() {
                    return;
                }
                guard.clear_ready();
                self.unsure = true;
            }
            // The descriptor cannot be polled; the next read reports the error.
            std::future::pending().await
        }
    }

    fn is_ready(fd: impl AsFd, flags: PollFlags) -> io::Result<bool> {
        let mut fds = [PollFd::new(&fd, flags)];
        match poll(&mut fds, Some(&AT_ONCE)) {
            Ok(_) => Ok(!fds[0].revents().is_empty()),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// The file type of stdout, determined once.
    #[derive(Debug)]
    pub struct Stdout(Option<FileType>);

    impl Stdout {
        pub fn take() -> Self {
            Self(file_type(io::stdout()))
        }

        /// Writes as much as possible without blocking; returns how much.
        pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
            if bytes.len() > MOST {
                return Ok(0);
            }
            let stdout = io::stdout();
            let result = match self.0 {
                Some(FileType::Socket) => send(&stdout, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
                Some(FileType::Fifo) => return write_pipe(&stdout, bytes),
                _ => return Ok(0),
            };
            match result {
                Ok(written) => Ok(written),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(0),
                Err(e) => Err(e.into()),
            }
        }
    }

    fn write_pipe(stdout: &io::Stdout, bytes: &[u8]) -> io::Result<usize> {
        let mut written = 0;
        while written < bytes.len() && is_ready(stdout, PollFlags::OUT)? {
            let end = bytes.len().min(written + PIPE_BUF);
            match rustix::io::write(stdout, &bytes[written..end]) {
                Ok(n) => written += n,
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => break,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(written)
    }
}
