//! What is measured, part by part; in each round the bridge and the direct way take turns, so that the
//! noise of the machine hits both.

use std::time::Duration;

use crate::bridge::Bridge;
use crate::direct::Direct;
use crate::figures::{Row, Table, Unit, percentile};
use crate::messages::{EVENTS, Tool};
use crate::process::{Memory, processor_seconds};
use crate::service::Service;

/// The whole run takes no longer than this, whatever happens.
pub const LONGEST: Duration = Duration::from_secs(290);

/// A client that makes this many HTTP requests until it has its tools makes none in vain.
const REQUESTS_TO_TOOLS: usize = 3;

struct Bench {
    service: Service,
    direct: Direct,
    table: Table,
    quick: bool,
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
];

/// Measures the parts that are wanted: all of them where none is named.
pub fn run(quick: bool, wanted: &[&str]) {
    if let Some(unknown) = wanted.iter().find(|name| !PARTS.iter().any(|(part, _)| part == *name)) {
        let known: Vec<&str> = PARTS.iter().map(|(part, _)| *part).collect();
        eprintln!("cargo bench: no part named {unknown}; known are {}", known.join(", "));
        std::process::exit(2);
    }
    let service = Service::start();
    let direct = Direct::new(service.port);
    let mut bench = Bench { service, direct, table: Table::new(), quick };
    for (name, part) in PARTS {
        if wanted.is_empty() || wanted.contains(name) {
            part(&mut bench);
        }
    }
}

impl Bench {
    fn rounds(&self, quick: usize, full: usize) -> usize {
        if self.quick { quick } else { full }
    }

    fn bridge(&self) -> Bridge {
        Bridge::ready(self.service.port)
    }

    /// One call at a time, in blocks of 500 either way.
    fn latency(&mut self) {
        const BLOCK: usize = 500;
        let blocks = self.rounds(10, 40);
        for (tool, name, reached) in [
            (Tool::Json, "JSON", "added 13–48 where a direct call takes 13–37"),
            (Tool::Sse, "SSE", "added 13–48 where a direct call takes 13–37"),
        ] {
            let mut bridge = self.bridge();
            bridge.one_at_a_time(tool, BLOCK);
            self.direct.one_at_a_time(tool, BLOCK);
            let mut taken = Vec::new();
            for _ in 0..blocks {
                taken.push((bridge.one_at_a_time(tool, BLOCK), self.direct.one_at_a_time(tool, BLOCK)));
            }
            for (part, percent, reached) in [(0.5, "p50", reached), (0.99, "p99", "")] {
                self.table.print(&Row {
                    what: format!("one call, {name}, {percent}"),
                    unit: Unit::Microseconds,
                    bridge: taken.iter().map(|(bridge, _)| percentile(bridge, part)).collect(),
                    direct: taken.iter().map(|(_, direct)| percentile(direct, part)).collect(),
                    reached,
                });
            }
        }
    }

    fn throughput(&mut self) {
        let calls = if self.quick { 6_400 } else { 19_200 };
        for (in_flight, reached) in [(1, ""), (8, "70,000"), (64, "100,000")] {
            let mut bridge = self.bridge();
            bridge.in_flight(1_000, in_flight);
            self.direct.in_flight(1_024, in_flight);
            let (mut through, mut direct) = (Vec::new(), Vec::new());
            for _ in 0..self.rounds(5, 9) {
                let rate = |took: Duration| calls as f64 / took.as_secs_f64();
                through.push(rate(bridge.in_flight(calls, in_flight)));
                direct.push(rate(self.direct.in_flight(calls, in_flight)));
            }
            let what = format!("calls a second, {in_flight} in flight");
            self.table.print(&Row { what, unit: Unit::PerSecond, bridge: through, direct, reached });
        }
    }

    fn start(&mut self) {
        let (mut took, mut requests) = (Vec::new(), Vec::new());
        self.direct.requests();
        for _ in 0..50 {
            let (mut bridge, answered) = Bridge::start(self.service.port);
            took.push(answered.as_secs_f64() * 1e3);
            bridge.confirm_and_list();
            drop(bridge);
            requests.push(self.direct.requests());
        }
        assert_eq!(requests, vec![REQUESTS_TO_TOOLS; 50], "no request is made in vain");
        self.table.print(&Row {
            what: "start to `initialize` answered".into(),
            unit: Unit::Milliseconds,
            bridge: took,
            direct: Vec::new(),
            reached: "1.2",
        });
        self.table.print(&Row {
            what: "HTTP requests until `tools/list` is answered".into(),
            unit: Unit::Count,
            bridge: requests.into_iter().map(|count| count as f64).collect(),
            direct: Vec::new(),
            reached: "3",
        });
    }

    fn idle(&mut self) {
        let mut memory = Vec::new();
        for _ in 0..self.rounds(3, 9) {
            let mut bridge = self.bridge();
            let fresh = Memory::of(bridge.pid());
            bridge.in_flight(10_000, 8);
            memory.push((fresh, Memory::of(bridge.pid())));
        }
        let print = |what: &str, of: fn(&(Memory, Memory)) -> u64, reached| {
            let bridge = memory.iter().map(|sample| megabytes(of(sample))).collect();
            let row = Row { what: what.into(), unit: Unit::Megabytes, bridge, direct: Vec::new(), reached };
            self.table.print(&row);
        };
        print("idle after the handshake, private dirty", |(fresh, _)| fresh.private_dirty, "2.4");
        print("idle after the handshake, resident", |(fresh, _)| fresh.rss, "");
        print("idle after 10,000 calls, private dirty", |(_, used)| used.private_dirty, "");
        print("idle after 10,000 calls, resident", |(_, used)| used.rss, "");
    }

    fn large(&mut self) {
        for (tool, name) in [(Tool::LargeJson, "JSON"), (Tool::LargeSse, "SSE")] {
            self.direct.large(tool);
            let (mut peaks, mut through, mut direct) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..self.rounds(3, 7) {
                let mut bridge = self.bridge();
                through.push(bridge.large(tool).as_secs_f64() * 1e3);
                peaks.push(megabytes(Memory::of(bridge.pid()).peak));
                drop(bridge);
                direct.push(self.direct.large(tool).as_secs_f64() * 1e3);
            }
            self.table.print(&Row {
                what: format!("peak while 64 MB pass, {name}"),
                unit: Unit::Megabytes,
                bridge: peaks,
                direct: Vec::new(),
                reached: "",
            });
            self.table.print(&Row {
                what: format!("64 MB answer, {name}"),
                unit: Unit::Milliseconds,
                bridge: through,
                direct,
                reached: "",
            });
        }
    }

    fn processor(&mut self) {
        let mut bridge = self.bridge();
        bridge.in_flight(1_000, 8);
        let mut spent = Vec::new();
        for _ in 0..self.rounds(5, 15) {
            let before = processor_seconds(bridge.pid());
            bridge.in_flight(10_000, 8);
            spent.push(processor_seconds(bridge.pid()) - before);
        }
        self.table.print(&Row {
            what: "processor time of 10,000 calls, 8 in flight".into(),
            unit: Unit::ProcessorSeconds,
            bridge: spent,
            direct: Vec::new(),
            reached: "0.09",
        });
    }

    fn events(&mut self) {
        for (tool, name) in [(Tool::Progress, "each a chunk"), (Tool::PackedProgress, "16 KiB chunks")] {
            let mut bridge = self.bridge();
            self.direct.progress(tool);
            let (mut through, mut direct) = (Vec::new(), Vec::new());
            for _ in 0..self.rounds(3, 7) {
                let rate = |took: Duration| EVENTS as f64 / took.as_secs_f64();
                through.push(rate(bridge.progress(tool)));
                direct.push(rate(self.direct.progress(tool)));
            }
            self.table.print(&Row {
                what: format!("progress events a second, {name}"),
                unit: Unit::PerSecond,
                bridge: through,
                direct,
                reached: "190,000",
            });
        }
    }
}

fn megabytes(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}
