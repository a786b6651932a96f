//! What the faults cost, against what they may.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::bail;

use super::list::Fault;

/// One fault's cost.
pub struct Row {
    pub requests: u32,
    pub failed: u32,
    pub first_failure: Option<String>,
    /// The longest time without an acknowledged write.
    pub write_gap: Duration,
    /// The longest time without a server that leads and answers: what is written waits until one decides.
    pub leaderless: Duration,
    /// Containers that ended or were started again.
    pub restarted: usize,
    /// From the fault's beginning until everything was as it should be.
    pub whole_after: Duration,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "writes stood still {:.2} s; nobody led for {:.2} s; {} of {} requests failed; {} containers restarted; whole after {:.1} s",
            self.write_gap.as_secs_f64(),
            self.leaderless.as_secs_f64(),
            self.failed,
            self.requests,
            self.restarted,
            self.whole_after.as_secs_f64()
        )?;
        self.first_failure.iter().try_for_each(|why| write!(f, " (a request: {why})"))
    }
}

/// All of them.
#[derive(Default)]
pub struct Report {
    rows: BTreeMap<&'static str, Vec<Row>>,
    /// Promises that were not kept.
    broken: Vec<String>,
    /// What took longer than it should.
    late: Vec<String>,
}

impl Report {
    /// Takes a row in, and notes what it has broken.
    pub fn add(&mut self, fault: &Fault, row: Row) {
        if let Some(most) = fault.write_gap_max
            && row.write_gap > most
        {
            let (gap, most) = (row.write_gap.as_secs_f64(), most.as_secs_f64());
            self.late.push(format!("{}: writes stood still {gap:.1} s, not {most:.0}", fault.name));
        }
        if !fault.hurts_nodes && row.failed > 0 {
            self.broken.push(format!("{}: {} requests failed", fault.name, row.failed));
        }
        if !fault.hurts_nodes && row.restarted > 0 {
            self.broken.push(format!("{}: {} containers were restarted", fault.name, row.restarted));
        }
        self.rows.entry(fault.name).or_default().push(row);
    }

    /// Medians and worst, a line for each fault.
    pub fn print(&self) {
        if self.rows.is_empty() {
            return;
        }
        println!(
            "\n{:16} {:>6} {:>16} {:>16} {:>16} {:>9} {:>10}",
            "fault", "rounds", "write gap s", "no leader s", "whole after s", "failed", "restarted"
        );
        for (name, rows) in &self.rows {
            let (gap, gap_worst) = spread(rows, |row| row.write_gap.as_secs_f64());
            let (alone, alone_worst) = spread(rows, |row| row.leaderless.as_secs_f64());
            let (whole, whole_worst) = spread(rows, |row| row.whole_after.as_secs_f64());
            let failed: u32 = rows.iter().map(|row| row.failed).sum();
            let restarted: usize = rows.iter().map(|row| row.restarted).sum();
            println!(
                "{name:16} {:>6} {gap:>7.2} ({gap_worst:>6.2}) {alone:>7.2} ({alone_worst:>6.2}) {whole:>7.1} ({whole_worst:>6.1}) {failed:>9} {restarted:>10}",
                rows.len()
            );
        }
    }

    /// How many rounds there were; an error when a promise was broken. What took too long counts if
    /// `with_times`.
    pub fn verdict(&self, with_times: bool) -> anyhow::Result<u32> {
        let late: &[String] = if with_times { &self.late } else { &[] };
        let broken: Vec<&str> = self.broken.iter().chain(late).map(String::as_str).collect();
        if !broken.is_empty() {
            bail!("promises were broken:\n  {}", broken.join("\n  "));
        }
        Ok(self.rows.values().map(|rows| u32::try_from(rows.len()).unwrap_or(u32::MAX)).sum())
    }
}

/// Median and worst.
fn spread(rows: &[Row], figure: impl Fn(&Row) -> f64) -> (f64, f64) {
    let mut figures: Vec<f64> = rows.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    (figures[figures.len() / 2], figures[figures.len() - 1])
}
