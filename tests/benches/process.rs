//! Processes of the benches: ended with their owner, and what `/proc` tells of them.

use std::process::Child;
use std::time::Duration;

/// A child that is killed when nobody needs it any more.
pub struct Owned(pub Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ends this process, and with it every child (their stdin ends), if it takes longer than this.
pub fn end_after(longest: Duration) {
    let (alive, gone) = std::sync::mpsc::channel::<()>();
    // The sender lives as long as the process.
    std::mem::forget(alive);
    std::thread::spawn(move || {
        let _ = gone.recv_timeout(longest);
        eprintln!("cargo bench: not done after {} s", longest.as_secs());
        std::process::exit(1);
    });
}

/// What memory a process holds, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    pub rss: u64,
    pub private_dirty: u64,
    /// The most that was resident at once.
    pub peak: u64,
}

impl Memory {
    pub fn of(pid: u32) -> Self {
        let rollup = read(pid, "smaps_rollup");
        Self {
            rss: field(&rollup, "Rss:"),
            private_dirty: field(&rollup, "Private_Dirty:"),
            peak: field(&read(pid, "status"), "VmHWM:"),
        }
    }
}

/// Returns the processor seconds that a process has used (`utime` and `stime`, in ticks of 10 ms).
pub fn processor_seconds(pid: u32) -> f64 {
    let stat = read(pid, "stat");
    // The name, in parentheses, may hold spaces.
    let fields: Vec<&str> = stat[stat.rfind(')').map_or(0, |at| at + 1)..].split_whitespace().collect();
    let ticks =
        |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

fn read(pid: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).expect("the process is alive")
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).expect("the kernel tells it")
}
