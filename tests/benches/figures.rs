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
pub struct Table;

impl Table {
    pub fn new(beside: &str) -> Self {
        println!(
            "| | unit | best | median | {beside}: best | median | added, median | ratio | seen elsewhere |"
        );
        println!("|---|---|--:|--:|--:|--:|--:|--:|---|");
        Self
    }

    pub fn print(&self, row: &Row) {
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
