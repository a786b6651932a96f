//! `cargo xtask faults`: breaks a cluster in one way after the other, and watches whether it keeps what it
//! promises.
//!
//! While each fault lasts, and until everything is whole again, three watchers run: requests through both
//! routers ([`traffic`]), writes through the API of all servers ([`ledger`]), and questions that only a leader
//! answers ([`leader`]). Before and after it every container is looked at, and when it was started, in the
//! kernel's own words and not in ours ([`containers`]). What each fault may cost is said beside it ([`list`]).

use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::cluster::{self, Lab};
use crate::interrupt;
use crate::run::heading;

mod containers;
mod leader;
mod ledger;
mod list;
mod report;
mod setting;
mod traffic;

use containers::Containers;
use leader::Leader;
use ledger::Ledger;
use list::Fault;
use report::{Report, Row};
use setting::Setting;
use traffic::Traffic;

/// After a fault, everything is as it was within this time.
const WHOLE_AGAIN_WITHIN: Duration = Duration::from_secs(120);

/// The short form as a part of the project's tests: what was promised, but for the times, which are not
/// tested on a machine that does other things as well. How many faults there were.
pub fn test() -> anyhow::Result<u32> {
    let lab = Lab::named("faults", 1, true);
    let short: Vec<_> = list::ALL.iter().filter(|fault| fault.is_short).collect();
    let told = cluster::up(&lab).and_then(|()| run(&lab, &short, None));
    if told.is_err() {
        cluster::print_logs(&lab);
    }
    cluster::down(&lab)?;
    told?.verdict(false)
}

/// Runs the short form once. `--hours N` runs the long form, once as a whole (some twenty minutes) and then
/// on until the time is over; names run only those. With `--keep` the cluster stays, until `down`.
pub fn faults(words: &[&str]) -> anyhow::Result<()> {
    if words == ["down"] {
        return cluster::down(&Lab::named("faults", 1, true));
    }
    let (mut hours, mut names, mut keep, mut as_built) = (None, Vec::new(), false, false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--hours" => hours = Some(words.next().context("--hours wants a number")?.parse::<f64>()?),
            "--keep" => keep = true,
            "--as-built" => as_built = true,
            name => names.push(name),
        }
    }
    let chosen: Vec<&Fault> = list::ALL
        .iter()
        .filter(|fault| {
            if names.is_empty() { hours.is_some() || fault.is_short } else { names.contains(&fault.name) }
        })
        .collect();
    if chosen.len() < names.len() {
        let known: Vec<_> = list::ALL.iter().map(|fault| fault.name).collect();
        bail!("there are the faults {}", known.join(", "));
    }
    interrupt::catch()?;
    if !as_built {
        cluster::build()?;
    }
    let lab = Lab::named("faults", 1, true);
    let passed =
        cluster::up(&lab).and_then(|()| run(&lab, &chosen, hours)).and_then(|report| report.verdict(true));
    let wants_logs = passed.is_err() && !interrupt::seen();
    interrupt::forget();
    if !keep {
        if wants_logs {
            cluster::save_logs(&lab)?;
        }
        cluster::down(&lab)?;
    }
    println!("\n{} passed, 0 failed", passed?);
    Ok(())
}

fn run(lab: &Lab, faults: &[&Fault], hours: Option<f64>) -> anyhow::Result<Report> {
    let setting = Setting::make(lab)?;
    let mut report = Report::default();
    let done = go_round(lab, &setting, faults, hours, &mut report);
    // Of a run that was broken off, too.
    report.print();
    done.map(|()| report)
}

/// Each fault once, and then on from the first until the time is over.
fn go_round(
    lab: &Lab,
    setting: &Setting,
    faults: &[&Fault],
    hours: Option<f64>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (began, time) = (Instant::now(), hours.map(|hours| Duration::from_secs_f64(hours * 3600.0)));
    for (at, fault) in faults.iter().cycle().enumerate() {
        interrupt::check()?;
        let is_over = time.is_none_or(|time| began.elapsed() >= time);
        if at >= faults.len() && is_over {
            break;
        }
        match hours {
            None => heading(fault.what),
            Some(_) => heading(&format!(
                "{} (round {}, {} min)",
                fault.what,
                1 + at / faults.len(),
                began.elapsed().as_secs() / 60
            )),
        }
        let row = inflict(lab, setting, fault).with_context(|| format!("under the fault {}", fault.name))?;
        println!("    {row}");
        report.add(fault, row);
    }
    Ok(())
}

/// One fault: inflicted, healed, and what it cost.
fn inflict(lab: &Lab, setting: &Setting, fault: &Fault) -> anyhow::Result<Row> {
    let before = Containers::look(lab);
    let (traffic, ledger) = (Traffic::start(lab, setting), Ledger::start(lab, setting));
    let leader = Leader::watch(lab, setting);
    // All must have seen good times first.
    std::thread::sleep(Duration::from_secs(1));
    let began = Instant::now();
    let inflicted = (fault.inflict)(lab, setting);
    // Whatever went wrong, what was broken is mended.
    let healed = (fault.heal)(lab);
    let whole = inflicted.and(healed).and_then(|()| setting.wait_until_whole(lab, WHOLE_AGAIN_WITHIN));
    let whole_after = began.elapsed();
    let (traffic, ledger, leaderless) = (traffic.stop(), ledger.stop(), leader.stop());
    whole?;
    let after = Containers::look(lab);
    let write_gap = ledger.longest_gap;
    setting.check_ledger(lab, ledger)?;
    Ok(Row {
        requests: traffic.requests,
        failed: traffic.failed,
        first_failure: traffic.first_failure,
        write_gap,
        leaderless,
        restarted: before.gone_in(&after),
        whole_after,
    })
}
