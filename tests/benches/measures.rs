//! What is measured, part by part; in each round the bridge and what stands beside it take turns, so that
//! the noise of the machine hits both.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::bridge::{Bridge, PROGRAM};
use crate::direct::Direct;
use crate::figures::{Row, Table, Unit, percentile};
use crate::messages::{Client, EVENTS, Tool};
use crate::oneshot;
use crate::process::{Memory, processor_seconds};
use crate::service::Service;
use crate::way::Way;

/// The whole run takes no longer than this, whatever happens.
pub const LONGEST: Duration = Duration::from_secs(290);

/// A client that makes this many HTTP requests until it has its tools makes none in vain.
const REQUESTS_TO_TOOLS: usize = 3;

/// How to measure.
#[derive(Debug, Default)]
pub struct Options {
    /// The short form.
    pub quick: bool,
    /// Another build of the program, to be measured beside this one.
    pub against: Option<PathBuf>,
    /// The parts that are wanted; all of them where none is named.
    pub parts: Vec<String>,
}

struct Bench {
    service: Service,
    table: Table,
    options: Options,
}

type Part = fn(&mut Bench);

const PARTS: &[(&str, Part)] = &[
    ("latency", Bench::latency),
    ("throughput", Bench::throughput),
    ("start", Bench::start),
    ("idle", Bench::idle),
    ("large", Bench::large),
    ("processor", Bench::processor),
    ("events", Bench::events),
    ("oneshot", Bench::oneshot),
    ("eras", Bench::eras),
    #[cfg(feature = "sandbox")]
    ("sandbox", Bench::sandbox),
];

/// Measures the parts that are wanted.
pub fn run(options: Options) {
    let known: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = options.parts.iter().find(|part| !known.contains(&part.as_str())) {
        eprintln!("cargo bench: no part named {unknown}; known are {}", known.join(", "));
        std::process::exit(2);
    }
    let beside = if options.against.is_some() { "other build" } else { "direct" };
    let mut bench = Bench { service: Service::start(), table: Table::new(beside), options };
    for (name, part) in PARTS {
        if bench.options.parts.is_empty() || bench.options.parts.iter().any(|wanted| wanted == name) {
            part(&mut bench);
        }
    }
}

impl Bench {
    fn rounds(&self, quick: usize, full: usize) -> usize {
        if self.options.quick { quick } else { full }
    }

    fn bridge(&self) -> Bridge {
        Bridge::ready(Path::new(PROGRAM), self.service.port)
    }

    /// The other build, where there is one.
    fn other(&self) -> Option<Bridge> {
        self.options.against.as_deref().map(|program| Bridge::ready(program, self.service.port))
    }

    fn beside(&self) -> Box<dyn Way> {
        match self.other() {
            Some(other) => Box::new(other),
            None => Box::new(Direct::new(self.service.port)),
        }
    }

    /// One call at a time, in blocks of 500 either way.
    fn latency(&mut self) {
        const BLOCK: usize = 500;
        for (tool, name, reached) in [
            (Tool::Json, "JSON", "added 13–48 where a direct call takes 13–37"),
            (Tool::Sse, "SSE", "added 13–48 where a direct call takes 13–37"),
        ] {
            let (mut bridge, mut beside) = (self.bridge(), self.beside());
            bridge.one_at_a_time(tool, BLOCK);
            beside.one_at_a_time(tool, BLOCK);
            let mut taken = Vec::new();
            for _ in 0..self.rounds(10, 40) {
                taken.push((bridge.one_at_a_time(tool, BLOCK), beside.one_at_a_time(tool, BLOCK)));
            }
            for (part, percent, reached) in [(0.5, "p50", reached), (0.99, "p99", "")] {
                self.table.print(&Row {
                    what: format!("one call, {name}, {percent}"),
                    unit: Unit::Microseconds,
                    bridge: taken.iter().map(|(bridge, _)| percentile(bridge, part)).collect(),
                    beside: taken.iter().map(|(_, beside)| percentile(beside, part)).collect(),
                    reached,
                });
            }
        }
    }

    /// What the translation between eras adds to a call of a kilobyte, beside a pair of the client's own era, and one of
    /// the service's.
    fn eras(&mut self) {
        const BLOCK: usize = 500;
        let (handshake, stateless) = ((Client::Handshake, "legacy"), (Client::Stateless, "modern"));
        for (client, service, name) in [
            (handshake, stateless, "a client with a handshake at a stateless service"),
            (stateless, handshake, "a stateless client at a service with sessions"),
        ] {
            let port = self.service.port;
            let mut pairs = [(client.0, service.1), client, service]
                .map(|(client, era)| (client, Bridge::between(client, era, port)));
            let mut calls = || pairs.each_mut().map(|(client, bridge)| bridge.kilobytes(*client, BLOCK));
            calls();
            let taken: Vec<_> = (0..self.rounds(10, 40)).map(|_| calls()).collect();
            let column = |of: usize| taken.iter().map(|taken| percentile(&taken[of], 0.5)).collect();
            for (of, whose) in [(1, "the client's"), (2, "the service's")] {
                self.table.print(&Row {
                    what: format!("one call of 1 KB, p50, {name}, beside a pair of {whose} era"),
                    unit: Unit::Microseconds,
                    bridge: column(0),
                    beside: column(of),
                    reached: "",
                });
            }
        }
    }

    fn throughput(&mut self) {
        let calls = if self.options.quick { 6_400 } else { 19_200 };
        for (in_flight, reached) in [(1, ""), (8, "70,000"), (64, "100,000")] {
            let (mut bridge, mut beside) = (self.bridge(), self.beside());
            bridge.in_flight(1_024, in_flight);
            beside.in_flight(1_024, in_flight);
            let mut rates = (Vec::new(), Vec::new());
            for _ in 0..self.rounds(5, 9) {
                let rate = |took: Duration| calls as f64 / took.as_secs_f64();
                rates.0.push(rate(bridge.in_flight(calls, in_flight)));
                rates.1.push(rate(beside.in_flight(calls, in_flight)));
            }
            self.table.print(&Row {
                what: format!("calls a second, {in_flight} in flight"),
                unit: Unit::PerSecond,
                bridge: rates.0,
                beside: rates.1,
                reached,
            });
        }
    }

    fn start(&mut self) {
        let port = self.service.port;
        let mut counter = Direct::new(port);
        let (mut took, mut requests) = ((Vec::new(), Vec::new()), Vec::new());
        counter.requests();
        for _ in 0..50 {
            let (mut bridge, answered) = Bridge::start(Path::new(PROGRAM), port);
            took.0.push(milliseconds(answered));
            bridge.confirm_and_list();
            drop(bridge);
            requests.push(counter.requests());
            took.1.push(milliseconds(match &self.options.against {
                Some(program) => Bridge::start(program, port).1,
                None => shortest_start(),
            }));
            counter.requests();
        }
        assert_eq!(requests, vec![REQUESTS_TO_TOOLS; 50], "no request is made in vain");
        let beside =
            if self.options.against.is_some() { "" } else { " (beside it: `/bin/true`, to its end)" };
        self.table.print(&Row {
            what: format!("start to `initialize` answered{beside}"),
            unit: Unit::Milliseconds,
            bridge: took.0,
            beside: took.1,
            reached: "1.2",
        });
        self.table.print(&Row {
            what: "HTTP requests until `tools/list` is answered".into(),
            unit: Unit::Count,
            bridge: requests.into_iter().map(|count| count as f64).collect(),
            beside: Vec::new(),
            reached: "3",
        });
    }

    fn oneshot(&mut self) {
        oneshot::measure(self.service.port, self.rounds(20, 100), self.options.against.as_deref());
    }

    /// Lists and searches of the sandbox; `--against` puts another build's sandbox beside it.
    #[cfg(feature = "sandbox")]
    fn sandbox(&mut self) {
        use crate::sandbox::{QUERIES, ROUNDS, Sandbox};
        let mut ours = Sandbox::filled(Path::new(PROGRAM));
        let mut other = self.options.against.as_deref().map(Sandbox::filled);
        for query in QUERIES {
            let (mut bridge, mut beside) = (Vec::new(), Vec::new());
            for _ in 0..self.rounds(ROUNDS / 2, ROUNDS) {
                bridge.push(milliseconds(ours.call(query)));
                beside.extend(other.as_mut().map(|other| milliseconds(other.call(query))));
            }
            let (tool, arguments, _) = query;
            let what = format!("the sandbox with 10,000 tasks: {tool} `{arguments}`");
            self.table.print(&Row { what, unit: Unit::Milliseconds, bridge, beside, reached: "" });
        }
    }

    fn idle(&mut self) {
        let (mut bridges, mut others) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds(3, 9) {
            bridges.push(memory_before_and_after(self.bridge()));
            others.extend(self.other().map(memory_before_and_after));
        }
        let mut print = |what: &str, of: fn(&(Memory, Memory)) -> u64, reached| {
            let megabytes = |samples: &[(Memory, Memory)]| -> Vec<f64> {
                samples.iter().map(|sample| megabytes(of(sample))).collect()
            };
            self.table.print(&Row {
                what: what.into(),
                unit: Unit::Megabytes,
                bridge: megabytes(&bridges),
                beside: megabytes(&others),
                reached,
            });
        };
        print("idle after the handshake, private dirty", |(fresh, _)| fresh.private_dirty, "2.4");
        print("idle after the handshake, resident", |(fresh, _)| fresh.rss, "");
        print("idle after 10,000 calls, private dirty", |(_, used)| used.private_dirty, "");
        print("idle after 10,000 calls, resident", |(_, used)| used.rss, "");
    }

    fn large(&mut self) {
        for (tool, name) in [(Tool::LargeJson, "JSON"), (Tool::LargeSse, "SSE")] {
            self.beside().large(tool);
            let (mut peaks, mut took) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
            for _ in 0..self.rounds(3, 9) {
                let mut bridge = self.bridge();
                took.0.push(milliseconds(bridge.large(tool)));
                peaks.0.push(megabytes(Memory::of(bridge.pid()).peak));
                drop(bridge);
                match self.other() {
                    Some(mut other) => {
                        took.1.push(milliseconds(other.large(tool)));
                        peaks.1.push(megabytes(Memory::of(other.pid()).peak));
                    }
                    None => took.1.push(milliseconds(self.beside().large(tool))),
                }
            }
            self.table.print(&Row {
                what: format!("peak while 64 MB pass, {name}"),
                unit: Unit::Megabytes,
                bridge: peaks.0,
                beside: peaks.1,
                reached: "",
            });
            self.table.print(&Row {
                what: format!("64 MB answer, {name}"),
                unit: Unit::Milliseconds,
                bridge: took.0,
                beside: took.1,
                reached: "",
            });
        }
    }

    fn processor(&mut self) {
        let mut bridges: Vec<Bridge> = [Some(self.bridge()), self.other()].into_iter().flatten().collect();
        let mut spent = [Vec::new(), Vec::new()];
        for _ in 0..self.rounds(5, 15) {
            for (bridge, spent) in bridges.iter_mut().zip(&mut spent) {
                let before = processor_seconds(bridge.pid());
                bridge.in_flight(10_000, 8);
                spent.push(processor_seconds(bridge.pid()) - before);
            }
        }
        let [bridge, beside] = spent;
        self.table.print(&Row {
            what: "processor time of 10,000 calls, 8 in flight".into(),
            unit: Unit::ProcessorSeconds,
            bridge,
            beside,
            reached: "0.09",
        });
    }

    fn events(&mut self) {
        for (tool, name) in [
            (Tool::Progress, "each a chunk"),
            (Tool::PackedProgress, "16 KiB chunks"),
            (Tool::CrlfProgress, "16 KiB chunks, CRLF"),
        ] {
            let (mut bridge, mut beside) = (self.bridge(), self.beside());
            beside.progress(tool);
            let mut rates = (Vec::new(), Vec::new());
            for _ in 0..self.rounds(3, 9) {
                let rate = |took: Duration| EVENTS as f64 / took.as_secs_f64();
                rates.0.push(rate(bridge.progress(tool)));
                rates.1.push(rate(beside.progress(tool)));
            }
            self.table.print(&Row {
                what: format!("progress events a second, {name}"),
                unit: Unit::PerSecond,
                bridge: rates.0,
                beside: rates.1,
                reached: "190,000",
            });
        }
    }
}

/// What a bridge holds after the handshake, and after many calls.
fn memory_before_and_after(mut bridge: Bridge) -> (Memory, Memory) {
    let fresh = Memory::of(bridge.pid());
    bridge.in_flight(10_000, 8);
    (fresh, Memory::of(bridge.pid()))
}

/// What the machine takes to start and end the smallest of programs.
fn shortest_start() -> Duration {
    let start = Instant::now();
    let ended = Command::new("/bin/true").env_clear().status();
    assert!(ended.is_ok_and(|status| status.success()));
    start.elapsed()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn megabytes(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}
