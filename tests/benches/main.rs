//! `cargo bench`: what the bridge costs, end to end: the real binary over pipes, beside the same calls
//! made straight over HTTP in the same run.
//!
//! `-- --quick` is the short form; `-- latency start` measures those parts only; `-- --against PATH` puts
//! another build of the program beside this one, where the direct calls would be.
//! Refuses to leave anything behind: the service and every bridge end with this process.

#[cfg(target_os = "linux")]
mod bridge;
#[cfg(target_os = "linux")]
mod direct;
#[cfg(target_os = "linux")]
mod figures;
#[cfg(target_os = "linux")]
mod measures;
#[cfg(target_os = "linux")]
mod messages;
#[cfg(target_os = "linux")]
mod node;
#[cfg(target_os = "linux")]
mod oneshot;
#[cfg(target_os = "linux")]
mod process;
#[cfg(all(target_os = "linux", feature = "sandbox"))]
mod sandbox;
#[cfg(target_os = "linux")]
mod service;
#[cfg(target_os = "linux")]
mod way;

/// Memory and processor time are read from `/proc`.
#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("cargo bench: measured on Linux only");
}

#[cfg(target_os = "linux")]
fn main() {
    // What cargo itself adds (`--bench`) says nothing here.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().map(String::as_str) == Some(service::ARGUMENT) {
        return service::run();
    }
    let mut options = measures::Options::default();
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--quick" => options.quick = true,
            "--against" => options.against = rest.next().map(Into::into),
            _ => options.parts.push(argument),
        }
    }
    process::end_after(measures::LONGEST);
    measures::run(options);
}
