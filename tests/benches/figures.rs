//! Samples, and the table that they are printed as.

use std::time::Duration;

/// What a row is measured in; a rate is better the higher it is, everything else the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Microseconds,
    Milliseconds,
    ProcessorSeconds,
    Megabytes,
    PerSecond,
    Count,
}

/// One row: what was measured, and its samples on either way.
pub struct Row {
    pub what: String,
    pub unit: Unit,
    pub bridge: Vec<f64>,
    /// The same beside it, sample for sample in the same round; empty where there is no such thing.
    pub beside: Vec<f64>,
    /// What the same stack has been seen to reach through the bridge.
    pub reached: &'static str,
}

/// Prints rows as a Markdown table, as they come.
pub struct Table {
    beside: &'static str,
    begun: bool,
}

impl Table {
    pub fn new(beside: &'static str) -> Self {
        Self { beside, begun: false }
    }

    pub fn print(&mut self, row: &Row) {
        if !std::mem::replace(&mut self.begun, true) {
            let beside = self.beside;
            println!(
                "| | unit | best | median | {beside}: best | median | added, median | ratio | seen elsewhere |"
            );
            println!("|---|---|--:|--:|--:|--:|--:|--:|---|");
        }
        let Row { what, unit, bridge, beside, reached } = row;
        let (name, digits) = unit.shown();
        let show = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.digits$}"));
        let pairs = || bridge.iter().zip(beside);
        let added: Vec<f64> = pairs().map(|(bridge, beside)| bridge - beside).collect();
        let ratio: Vec<f64> = pairs().map(|(bridge, beside)| bridge / beside).collect();
        let added = if *unit == Unit::PerSecond { None } else { median(&added) };
        println!(
            "| {what} | {name} | {} | {} | {} | {} | {} | {} | {reached} |",
            show(best(bridge, *unit)),
            show(median(bridge)),
            show(best(beside, *unit)),
            show(median(beside)),
            show(added),
            median(&ratio).map_or(String::new(), |ratio| format!("{ratio:.2}")),
        );
    }
}

/// Prints who took how many milliseconds as a Markdown table, with medians of the quotients within a round: how
/// many times as long as these.
pub struct Ranking {
    beside: [(&'static str, Vec<f64>); 2],
}

impl Ranking {
    pub fn new(beside: [(&'static str, Vec<f64>); 2]) -> Self {
        let [(first, _), (second, _)] = &beside;
        println!("\n| | HTTP requests | rounds | best, ms | median, ms | times {first} | times {second} |");
        println!("|---|--:|--:|--:|--:|--:|--:|");
        Self { beside }
    }

    pub fn print(&self, who: &str, requests: usize, took: &[f64]) {
        let [first, second] = [0, 1].map(|column| {
            let quotients = took.iter().zip(&self.beside[column].1).map(|(took, beside)| took / beside);
            median(&quotients.collect::<Vec<_>>()).unwrap_or_default()
        });
        let (best, middle) = (best(took, Unit::Milliseconds), median(took));
        println!(
            "| {who} | {requests} | {} | {:.2} | {:.2} | {first:.2} | {second:.2} |",
            took.len(),
            best.unwrap_or_default(),
            middle.unwrap_or_default(),
        );
    }
}

impl Unit {
    fn shown(self) -> (&'static str, usize) {
        match self {
            Self::Microseconds => ("µs", 1),
            Self::Milliseconds => ("ms", 2),
            Self::ProcessorSeconds => ("CPU s", 2),
            Self::Megabytes => ("MB", 2),
            Self::PerSecond => ("1/s", 0),
            Self::Count => ("", 0),
        }
    }
}

/// Returns the value below which this part (0..1) of the durations lies, in microseconds.
pub fn percentile(durations: &[Duration], part: f64) -> f64 {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    let index = ((sorted.len() - 1) as f64 * part).round() as usize;
    sorted[index].as_secs_f64() * 1e6
}

fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

fn best(samples: &[f64], unit: Unit) -> Option<f64> {
    let samples = samples.iter().copied();
    if unit == Unit::PerSecond { samples.reduce(f64::max) } else { samples.reduce(f64::min) }
}
