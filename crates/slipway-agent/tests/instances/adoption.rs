//! Agents die, instances do not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use slipway_agent::Agent;
use slipway_model::id::InstanceId;
use slipway_model::instance::{Desired, ExitReason, InstanceState};

use crate::world::{World, options, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("a_killed_agents_instances_are_adopted", adopted),
        trial("an_end_without_an_agent_is_remembered", ended_alone),
        trial("everything_killed_and_the_run_directory_wiped", wiped),
        trial("an_agent_killed_at_any_moment_of_a_start_leaves_nothing_unknown", killed_while_starting),
        trial("a_killed_shim_is_an_end", killed_shim),
    ]
}

/// An agent as a process: `agent <directory> <number>`; obeys the list in `<directory>/list.json`.
pub fn agent_process(words: &[String]) -> ExitCode {
    let directory = PathBuf::from(&words[0]);
    let number = words[1].parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let agent = Agent::start(options(&directory, number)).await.unwrap();
        let list: Desired = serde_json::from_slice(&fs::read(directory.join("list.json")).unwrap()).unwrap();
        agent.apply(list).unwrap();
        loop {
            let states = serde_json::to_vec(&agent.snapshot()).unwrap();
            fs::write(directory.join("states.new"), states).unwrap();
            fs::rename(directory.join("states.new"), directory.join("states.json")).unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
}

/// Exchanges the world's own agent for one that can be killed.
pub async fn agent_elsewhere(world: &mut World, list: Desired) -> Child {
    world.leave().await;
    fs::write(world.directory.path().join("list.json"), serde_json::to_vec(&list).unwrap()).unwrap();
    Command::new(std::env::current_exe().unwrap())
        .arg("agent")
        .arg(world.directory.path())
        .arg(world.number.to_string())
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

async fn until_healthy_elsewhere(directory: &Path, count: usize) {
    loop {
        let text = fs::read(directory.join("states.json")).unwrap_or_default();
        let reports: Vec<slipway_model::instance::InstanceReport> =
            serde_json::from_slice(&text).unwrap_or_default();
        if reports.iter().filter(|report| report.state == InstanceState::Healthy).count() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// When a process that still runs was started, in the kernel's ticks.
fn start_time(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    // A zombie waits only for whoever shall hear of its end.
    (fields[0] != "Z").then(|| fields[19].to_owned())
}

const COUNTER: &str = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done";

fn assert_no_gap(log: &[String]) {
    // The shell says something about its own end too.
    let numbers: Vec<u32> = log.iter().filter_map(|line| line.parse().ok()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
}

async fn adopted(mut world: World) {
    let spec = world.spec(COUNTER);
    let id = world.run(spec);
    let list = world.desired();
    let started_at = world.until_healthy(&id).await.started_at;
    assert!(started_at.is_some());
    let before = start_time(world.init_pid(&id)).unwrap();
    for _ in 0..3 {
        let child = agent_elsewhere(&mut world, list.clone()).await;
        until_healthy_elsewhere(world.directory.path(), 1).await;
        kill(child);
        let _ = fs::remove_file(world.directory.path().join("states.json"));
    }
    world.start_agent().await;
    // Healthy from the first moment, so that no route blinks (F32).
    let report = world.report(&id).unwrap();
    assert_eq!(report.state, InstanceState::Healthy);
    assert_eq!(start_time(world.init_pid(&id)).unwrap(), before);
    assert!(report.address.is_some());
    assert_eq!(report.started_at, started_at, "when it was started, not when it was adopted");
    let so_far = world.log(&id).len();
    while world.log(&id).len() < so_far + 20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.stop(&id);
    assert_eq!(world.until_ended(&id).await.reason, ExitReason::Stopped);
    assert_no_gap(&world.log(&id));
    world.finish().await;
}

async fn ended_alone(mut world: World) {
    let id = world.run(world.spec("while [ ! -e /app/go ]; do sleep 0.01; done; echo last words; exit 9"));
    world.until_healthy(&id).await;
    let pid = world.init_pid(&id);
    world.leave().await;
    fs::write(format!("/proc/{pid}/root/app/go"), "").unwrap();
    while start_time(pid).is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.start_agent().await;
    let exit = world.until_ended(&id).await;
    assert_eq!((exit.reason, exit.tail), (ExitReason::Status { code: 9 }, vec!["last words".to_owned()]));
    // And remembered once more.
    world.leave().await;
    world.start_agent().await;
    assert_eq!(world.until_ended(&id).await.reason, ExitReason::Status { code: 9 });
    world.forget(&id);
    assert!(world.agent().snapshot().is_empty());
    world.finish().await;
}

async fn wiped(mut world: World) {
    let alive = world.run(world.spec(COUNTER));
    let killed = world.run(world.spec(COUNTER));
    for id in [&alive, &killed] {
        world.until_healthy(id).await;
    }
    let pids = [&alive, &killed].map(|id| world.init_pid(id));
    world.leave().await;
    // Its shim sees the end of one; of the other, only the program is left.
    kill_pid(shim_of(&world, &killed));
    kill_pid(pids[1]);
    kill_pid(shim_of(&world, &alive));
    // As a reboot does, but for the mounts that dangle.
    let run = world.directory.path().join("run");
    for entry in fs::read_dir(&run).unwrap().flatten() {
        if entry.file_name() != "netns" {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    world.start_agent().await;
    for (id, pid) in [(&alive, pids[0]), (&killed, pids[1])] {
        assert_eq!(world.until_ended(id).await.reason, ExitReason::Lost);
        while start_time(pid).is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let id = world.run(world.spec(COUNTER));
    world.until_healthy(&id).await;
    world.finish().await;
}

async fn killed_while_starting(mut world: World) {
    let instances = world.directory.path().join("state/instances");
    for pause in [0, 3, 8, 15, 25, 40, 60, 90, 130] {
        let ids = [(); 2].map(|()| world.wish(world.spec("sleep 1000")));
        let list = world.desired();
        let child = agent_elsewhere(&mut world, list).await;
        while fs::read_dir(&instances).unwrap().next().is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
        kill(child);
        world.start_agent().await;
        // Each is known, or was never begun; and asked for again, each runs once.
        world.apply();
        for id in &ids {
            world.until_healthy(id).await;
            let cgroup = format!(
                "/sys/fs/cgroup/pids/{}/{id}/cgroup.procs",
                options(world.directory.path(), 0).cgroup_parent
            );
            let processes = fs::read_to_string(cgroup).unwrap();
            assert_eq!(processes.lines().count(), 1, "after {pause} ms: {processes}");
        }
        for id in &ids {
            world.forget(id);
        }
        while !world.agent().snapshot().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    world.finish().await;
}

async fn killed_shim(mut world: World) {
    let id = world.run(world.spec(COUNTER));
    world.until_healthy(&id).await;
    let pid = world.init_pid(&id);
    kill_pid(shim_of(&world, &id));
    assert_eq!(world.until_ended(&id).await.reason, ExitReason::Lost);
    assert_eq!(start_time(pid), None);
    world.finish().await;
}

fn shim_of(world: &World, id: &InstanceId) -> i32 {
    let path = world.directory.path().join("state/instances").join(id.as_str()).join("shim.json");
    let process: slipway_shim::spec::ShimProcess = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    process.pid
}

fn kill_pid(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
}
