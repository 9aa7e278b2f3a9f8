//! A terminal with somebody at it: the real binary asks, the test reads the screen and types.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::DEADLINE;

/// A command that runs on its own terminal.
pub struct Terminal {
    leader: File,
    /// Keeps the terminal open when the command has ended, so that its modes can be looked at.
    terminal: File,
    child: Child,
    screen: Arc<Screen>,
    /// How far the screen was read.
    read: usize,
}

/// What became of a command at a terminal.
pub struct Left {
    pub code: i32,
    /// Everything that stood on the screen.
    pub said: String,
    /// What it printed into a pipe.
    pub printed: String,
}

#[derive(Default)]
struct Screen {
    text: Mutex<Vec<u8>>,
    more: Condvar,
}

impl Terminal {
    /// Starts a command with the terminal as stdin, stdout, stderr, and as the one that controls it.
    pub fn start(command: Command) -> Self {
        Self::on(pseudo_terminal(), command, None)
    }

    /// As [`Self::start`], on a terminal of this width, in columns.
    pub fn start_at(columns: u16, command: Command) -> Self {
        let terminal = pseudo_terminal();
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal.1, size).unwrap();
        Self::on(terminal, command, None)
    }

    /// Starts a command with the terminal as stdin and stderr; stdout is a pipe, see [`Self::leaves`].
    pub fn start_piped(command: Command) -> Self {
        Self::on(pseudo_terminal(), command, Some(Stdio::piped()))
    }

    #[allow(unsafe_code)]
    fn on((leader, terminal): (File, File), mut command: Command, output: Option<Stdio>) -> Self {
        let end = || terminal.try_clone().unwrap();
        command.stdin(end()).stdout(output.unwrap_or_else(|| end().into())).stderr(end());
        // SAFETY: both are system calls and nothing else, which may be made between fork and exec.
        unsafe {
            command.pre_exec(|| {
                rustix::process::setsid()?;
                Ok(rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?)
            });
        }
        let child = command.spawn().unwrap();
        let screen = Arc::<Screen>::default();
        let (shared, mut output) = (screen.clone(), leader.try_clone().unwrap());
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut chunk) {
                shared.text.lock().unwrap().extend_from_slice(&chunk[..n]);
                shared.more.notify_all();
            }
        });
        Self { leader, terminal, child, screen, read: 0 }
    }

    /// Waits until this text is on the screen, after the text awaited before.
    #[track_caller]
    pub fn awaits(&mut self, words: &str) {
        let until = Instant::now() + DEADLINE;
        let mut text = self.screen.text.lock().unwrap();
        loop {
            if let Some(at) = memchr::memmem::find(&text[self.read..], words.as_bytes()) {
                self.read += at + words.len();
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no “{words}” on the screen: {}", String::from_utf8_lossy(&text));
            text = self.screen.more.wait_timeout(text, left).unwrap().0;
        }
    }

    pub fn types(&mut self, keys: &str) {
        self.leader.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the question, then types an answer and Enter.
    #[track_caller]
    pub fn answers(&mut self, question: &str, answer: &str) {
        self.awaits(question);
        self.types(&format!("{answer}\n"));
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end, however it comes.
    #[track_caller]
    pub fn leaves(mut self) -> Left {
        let mut printed = String::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_string(&mut printed).unwrap();
        }
        let code = self.ended().code().unwrap_or(-1);
        self.types("(end)");
        self.awaits("(end)");
        Left { code, said: self.screen(), printed }
    }

    /// Everything on the screen.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.text.lock().unwrap()).into_owned()
    }

    /// Says whether the terminal shows what is typed, line by line, and Ctrl-C interrupts.
    pub fn is_as_usual(&self) -> bool {
        let usual = LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        tcgetattr(&self.terminal).unwrap().local_modes.contains(usual)
    }

    /// Says whether Ctrl-C is a signal.
    pub fn is_interruptible(&self) -> bool {
        tcgetattr(&self.terminal).unwrap().local_modes.contains(LocalModes::ISIG)
    }

    /// Waits for the end, which must leave the terminal as it was; returns all that stood on the screen.
    #[track_caller]
    pub fn ends(mut self, code: i32) -> String {
        let status = self.ended();
        assert_eq!(status.code(), Some(code), "{status:?} {}", self.screen());
        assert!(self.is_as_usual(), "the terminal was left in another mode");
        // Whatever is typed now is shown: behind it there is nothing more of the command.
        self.types("(end)");
        self.awaits("(end)");
        self.screen()
    }

    /// Waits for the end.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "it does not end: {}", self.screen());
            std::thread::yield_now();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both ends of a new terminal, without a C library's help (ioctl_tty(2)).
#[allow(unsafe_code)]
pub fn pseudo_terminal() -> (File, File) {
    use rustix::ioctl::{Getter, Setter, ioctl};
    const TIOCSPTLCK: u32 = 0x4004_5431;
    const TIOCGPTN: u32 = 0x8004_5430;
    /// Neither end becomes the terminal of the tests themselves.
    const O_NOCTTY: i32 = 0o400;
    let mut options = File::options();
    std::os::unix::fs::OpenOptionsExt::custom_flags(options.read(true).write(true), O_NOCTTY);
    let leader = options.open("/dev/ptmx").unwrap();
    // SAFETY: both take or fill one int, as the manual page says.
    let number: u32 = unsafe {
        ioctl(&leader, Setter::<{ TIOCSPTLCK }, i32>::new(0)).unwrap();
        ioctl(&leader, Getter::<{ TIOCGPTN }, u32>::new()).unwrap()
    };
    let terminal = options.open(format!("/dev/pts/{number}")).unwrap();
    (leader, terminal)
}
