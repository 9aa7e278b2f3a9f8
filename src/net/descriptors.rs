//! How many files and connections this process may hold open, and how many of them are free.
//!
//! Refuses to hold any itself.

/// Raises the limit as far as that is allowed.
#[cfg(unix)]
pub fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let current = Some(limit.maximum.unwrap_or(MOST).min(MOST));
    let _ = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
}

/// Returns how many more can be opened: those from the lowest free one to the limit.
#[cfg(unix)]
pub fn free() -> usize {
    use rustix::process::{Resource, getrlimit};
    use std::os::fd::AsRawFd;
    let Ok(lowest) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 0) else { return 0 };
    let lowest = u64::try_from(lowest.as_raw_fd()).unwrap_or_default();
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(MOST);
    usize::try_from(limit.saturating_sub(lowest)).unwrap_or_default()
}

/// No limit is raised further than this.
#[cfg(unix)]
const MOST: u64 = 65_536;

/// There is no limit worth raising.
#[cfg(not(unix))]
pub fn raise_limit() {}

/// Returns how many more can be opened, as far as it matters.
#[cfg(not(unix))]
pub fn free() -> usize {
    4096
}

/// Returns the error of the system where none is left.
#[cfg(unix)]
pub fn none_left() -> std::io::Error {
    rustix::io::Errno::MFILE.into()
}

/// Returns the error of the system where none is left.
#[cfg(not(unix))]
pub fn none_left() -> std::io::Error {
    std::io::Error::other("too many open files")
}

/// Says whether something failed because none was left, here or in the whole system.
#[cfg(unix)]
pub fn are_used_up(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let code = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| code == Some(errno.raw_os_error()))
}

/// Says whether something failed because none was left, here or in the whole system.
#[cfg(not(unix))]
pub fn are_used_up(_error: &std::io::Error) -> bool {
    false
}
