//! Memory at rest: the server and its router with ten projects that run, and what supervises them.

use std::fs;
use std::time::Duration;

use anyhow::Context;

use super::Bench;
use super::measure::{Goal, Report, Samples};
use super::process::{cpu_seconds, pss_mb};

const PROJECTS: usize = 10;
const LOOKS: usize = 3;
/// What a push leaves to be done, such as giving back memory, is done by then.
const REST: Duration = Duration::from_secs(8);
const BETWEEN_LOOKS: Duration = Duration::from_secs(3);

pub fn memory(bench: &mut Bench, report: &mut Report) -> anyhow::Result<()> {
    let slipway = bench.slipway()?;
    let names: Vec<String> = (0..PROJECTS).map(|number| format!("rest-{number}")).collect();
    for name in &names {
        crate::interrupt::check()?;
        let work = slipway.project(name)?;
        fs::write(work.join("index.html"), "<h1>At rest</h1>\n")?;
        slipway.git(&work, &["add", "--all"])?;
        slipway.git(&work, &["commit", "--quiet", "--message=A page"])?;
        slipway.git(&work, &["push", "--quiet", "paas-dev", "main"])?;
    }
    std::thread::sleep(REST);
    let router = slipway.router_pid().context("there is no router")?;
    let (mut server, mut routers, mut both, mut shims) = Default::default();
    let cpu_before = cpu_seconds(slipway.pid());
    for _ in 0..LOOKS {
        let (up, front) = (pss_mb(slipway.pid()), pss_mb(router));
        let (up, front) = (up.context("slipwayd is gone")?, front.context("the router is gone")?);
        Samples::push(&mut server, up);
        Samples::push(&mut routers, front);
        Samples::push(&mut both, up + front);
        Samples::push(&mut shims, slipway.shims_pss_mb().into_iter().collect::<Samples>().median());
        std::thread::sleep(BETWEEN_LOOKS);
    }
    let watched = (BETWEEN_LOOKS * LOOKS as u32).as_secs_f64();
    let cpu = (cpu_seconds(slipway.pid()) - cpu_before) / watched * 100.0;
    report.note("slipwayd up, PSS", "MB", &server);
    report.note("slipwayd router, PSS", "MB", &routers);
    report.note("processor of slipwayd up at rest", "% of one", &Samples::from_iter([cpu]));
    report.found("slipwayd with router at rest, 10 projects, PSS", Goal::AtMost(45.0), " MB", &both);
    report.found("supervision of a running instance, PSS", Goal::AtMost(1.0), " MB", &shims);
    names.iter().try_for_each(|name| slipway.delete(name))
}
