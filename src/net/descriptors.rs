//! The process's limit of open file descriptors, and how many are free.
//!
//! Holds none open.

/// Raises the soft limit to the hard limit, at most to [`MOST`].
#[cfg(unix)]
pub fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let current = Some(limit.maximum.unwrap_or(MOST).min(MOST));
    let _ = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
}

/// Returns how many more descriptors can be opened: from the lowest free one to the limit.
#[cfg(unix)]
pub fn free() -> usize {
    use rustix::process::{Resource, getrlimit};
    use std::os::fd::AsRawFd;
    let Ok(lowest) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 0) else { return 0 };
    let lowest = u64::try_from(lowest.as_raw_fd()).unwrap_or_default();
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(MOST);
    usize::try_from(limit.saturating_sub(lowest)).unwrap_or_default()
}

/// Highest limit to set.
#[cfg(unix)]
const MOST: u64 = 65_536;

/// Does nothing: there is no such limit.
#[cfg(not(unix))]
pub fn raise_limit() {}

/// Returns a number larger than any use.
#[cfg(not(unix))]
pub fn free() -> usize {
    4096
}

/// Returns the system's error for too many open files.
#[cfg(unix)]
pub fn none_left() -> std::io::Error {
    rustix::io::Errno::MFILE.into()
}

/// Returns the system's error for too many open files.
#[cfg(not(unix))]
pub fn none_left() -> std::io::Error {
    std::io::Error::other("too many open files")
}

/// Returns whether an error means too many open files, in this process or in the system.
#[cfg(unix)]
pub fn are_used_up(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let code = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| code == Some(errno.raw_os_error()))
}

/// Returns whether an error means too many open files, in this process or in the system.
#[cfg(not(unix))]
pub fn are_used_up(_error: &std::io::Error) -> bool {
    false
}
