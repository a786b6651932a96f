//! Figures: samples of rounds taken in turn, their median and range, ratios within one run, and the
//! table of goals at the end.
//!
//! Times on one machine say little about another, and on a busy machine little about the next minute.
//! So a figure is, wherever the goal allows, a ratio: each round measures both sides one after the
//! other, and the median of the rounds' ratios is what counts.

use std::fmt;
use std::fs;

/// What one thing measured, round by round, in one unit.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            count if count % 2 == 1 => sorted[count / 2],
            count => (sorted[count / 2 - 1] + sorted[count / 2]) / 2.0,
        }
    }

    pub fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }

    fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    /// Round by round, this over that: the neighbours in time, which saw the same machine.
    pub fn over(&self, other: &Self) -> Self {
        self.0.iter().zip(&other.0).map(|(this, that)| this / that).collect()
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<T: IntoIterator<Item = f64>>(values: T) -> Self {
        Self(values.into_iter().collect())
    }
}

/// `12.3 (11.9–15.0)`: the median, the least and the most.
impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("nothing measured"),
            [only] => f.write_str(&short(*only)),
            _ => write!(f, "{} ({}–{})", short(self.median()), short(self.min()), short(self.max())),
        }
    }
}

/// Three digits that mean something.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 99.5 => format!("{value:.0}"),
        size if size >= 9.95 => format!("{value:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "≤ {most}"),
            Self::AtLeast(least) => write!(f, "≥ {least}"),
        }
    }
}

/// All findings of a run.
#[derive(Debug, Default)]
pub struct Report(Vec<Row>);

#[derive(Debug)]
struct Row {
    what: String,
    goal: String,
    figure: String,
    met: &'static str,
}

impl Report {
    /// A figure that is not a goal itself, but from which one follows.
    pub fn note(&self, what: &str, unit: &str, samples: &Samples) {
        println!("    {what}: {samples} {unit}");
    }

    /// A figure with a goal; the median counts.
    pub fn found(&mut self, what: &str, goal: Goal, unit: &str, samples: &Samples) {
        let met = if goal.is_met_by(samples.median()) { "yes" } else { "NO" };
        let (goal, figure) = (format!("{goal}{unit}"), format!("{samples}{unit}"));
        println!("    {what}: {figure}, goal {goal}: {}", if met == "yes" { "met" } else { "not met" });
        self.0.push(Row { what: what.to_owned(), goal, figure, met });
    }

    /// A figure that could not be had, and why.
    pub fn missing(&mut self, what: &str, goal: Goal, unit: &str, why: &str) {
        println!("    {what}: not measured, because {why}");
        let figure = format!("not measured: {}", why.lines().next().unwrap_or_default());
        self.0.push(Row { what: what.to_owned(), goal: format!("{goal}{unit}"), figure, met: "?" });
    }

    /// A subject that broke off.
    pub fn failed(&mut self, subject: &str, error: &anyhow::Error) {
        println!("    {subject} broke off: {error:#}");
        let figure = format!("broke off: {error}");
        self.0.push(Row { what: subject.to_owned(), goal: String::new(), figure, met: "?" });
    }

    pub fn print_table(&self) {
        println!("\n| figure | goal | measured | met |\n| --- | --- | --- | --- |");
        for Row { what, goal, figure, met } in &self.0 {
            println!("| {what} | {goal} | {figure} | {met} |");
        }
    }
}

/// The load averages, to be printed beside what was measured under them.
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
