use std::path::Path;

use slipway_model::unit::Bytes;

use super::cgroups::{Kind, Layout};
use super::programs::Found;
use super::version::Version;
use super::*;

#[test]
fn versions_are_found_in_what_programs_print() {
    let check = |text: &str, wanted: &str| {
        assert_eq!(Version::find(text).map(|version| version.to_string()).as_deref(), Some(wanted), "{text}");
    };
    check("runc version 1.1.5+ds1", "1.1.5");
    check("crun version 1.8.1", "1.8.1");
    check("git version 2.39.5 (Apple Git-154)", "2.39.5");
    check("nftables v1.0.6 (Lester Gooch #5)", "1.0.6");
    check("6.1.0-28-amd64", "6.1.0");
    check("1.3.0-rc.2", "1.3.0");
    assert_eq!(Version::find("commit: 1a2b3c, no version"), None);
    assert!(Version::new(&[2, 9]) < Version::new(&[2, 39]));
    assert!(Version::new(&[2, 39]) < Version::new(&[2, 39, 1]));
}

#[test]
fn kernels_are_told_apart() {
    assert_eq!(kernel::version("6.1.0-28-amd64").status, Status::Ok);
    assert_eq!(kernel::version("5.10.0-33-amd64").status, Status::Fail);
    assert_eq!(kernel::version("?").status, Status::Fail);
}

const V1: &str = "
30 24 0:26 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,xattr,name=systemd
31 24 0:27 / /sys/fs/cgroup/cpu rw shared:12 - cgroup cgroup rw,cpu,cpuacct
32 24 0:28 / /sys/fs/cgroup/memory rw shared:13 - cgroup cgroup rw,memory
33 24 0:29 / /sys/fs/cgroup/pids rw shared:14 - cgroup cgroup rw,pids
";
const V2: &str = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

#[test]
fn cgroup_layouts_are_told_apart() {
    let check = |mounts: &str, controllers: &str, kind: Kind, status: Status| {
        let layout = Layout::read(mounts, controllers);
        assert_eq!((layout.kind, layout.finding().status), (kind, status), "{mounts}");
    };
    check(V1, "", Kind::V1, Status::Ok);
    check(V2, "cpuset cpu io memory hugetlb pids", Kind::V2, Status::Ok);
    check(&format!("{V1}{V2}"), "hugetlb", Kind::Hybrid, Status::Ok);
    // A Raspberry Pi as it is delivered.
    check(V2, "cpuset cpu io pids", Kind::V2, Status::Fail);
    check(&V1.replace("rw,pids", "rw"), "", Kind::V1, Status::Fail);
    check("22 1 8:1 / / rw - ext4 /dev/vda1 rw\n", "", Kind::None, Status::Fail);
}

#[test]
fn the_runtime_must_fit_the_cgroups_and_have_its_fixes() {
    let found = |line: &str| Some(Found { first_line: line.into(), version: Version::find(line) });
    let check = |mounts: &str, crun: Option<&str>, runc: Option<&str>, status: Status| {
        let layout = Layout::read(mounts, "cpu memory pids");
        let finding = programs::runtime(&layout, crun.and_then(found), runc.and_then(found));
        assert_eq!(finding.status, status, "{finding:?}");
        assert_eq!(finding.advice.is_empty(), status == Status::Ok);
    };
    let hybrid = format!("{V1}{V2}");
    check(V2, Some("crun version 1.8.1"), None, Status::Ok);
    check(V2, None, Some("runc version 1.1.5+ds1"), Status::Warn);
    check(V2, None, Some("runc version 1.2.8"), Status::Ok);
    check(V2, None, Some("runc version 1.3.1"), Status::Warn);
    check(V2, None, Some("runc version 1.4.0"), Status::Ok);
    check(&hybrid, Some("crun version 1.8.1"), None, Status::Fail);
    check(&hybrid, Some("crun version 1.8.1"), Some("runc version 1.3.3"), Status::Ok);
    check(V2, None, None, Status::Fail);
}

#[test]
fn the_holder_of_a_port_is_found() {
    let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:1F91 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0
";
    assert_eq!(ports::listening_inode(table, 8080), Some(4711));
    assert_eq!(ports::listening_inode(table, 8081), None, "it is connected, not listening");

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let finding = &ports::all(&[("router", listener.local_addr().unwrap())])[0];
    assert_eq!(finding.status, Status::Fail);
    assert!(finding.what.contains(&format!("(process {})", std::process::id())), "{finding:?}");
    let elsewhere = &ports::all(&[("router", "198.51.100.7:80".parse().unwrap())])[0];
    assert!(elsewhere.what.contains("not an address of this host"), "{elsewhere:?}");
}

#[test]
fn resources_are_weighed() {
    let dir = Path::new("/var/lib/slipway");
    assert_eq!(resources::space(dir, Bytes::gibi(50)).status, Status::Ok);
    assert_eq!(resources::space(dir, Bytes::gibi(5)).status, Status::Warn);
    assert_eq!(resources::space(dir, Bytes::gibi(1)).status, Status::Fail);
    assert_eq!(resources::inodes(dir, 0, 0).status, Status::Ok);
    assert_eq!(resources::inodes(dir, 1_000_000, 100).status, Status::Fail);
    let meminfo = |available: &str| {
        format!("MemTotal:       8000000 kB\nMemFree: 1 kB\nMemAvailable:   {available} kB\n")
    };
    assert_eq!(resources::memory(&meminfo("4000000")).status, Status::Ok);
    assert_eq!(resources::memory(&meminfo("1000000")).status, Status::Warn);
    assert_eq!(resources::memory(&meminfo("1000")).status, Status::Fail);
    assert_eq!(resources::memory("").status, Status::Warn);
    assert_eq!(resources::open_files(1024).status, Status::Warn);
    assert_eq!(resources::open_files(u64::MAX).status, Status::Ok);
    assert_eq!(resources::watchers(128, 192_536).status, Status::Warn);
    assert_eq!(resources::watchers(8192, 8192).status, Status::Warn);
    assert_eq!(resources::watchers(8192, 1_048_576).status, Status::Ok);
    assert!(resources::watchers(128, 1 << 20).advice.contains("sysctl -w fs.inotify.max_user_instances="));
    assert_eq!(resources::existing(Path::new("/proc/self/not/there/yet")), Path::new("/proc/self"));
}

#[test]
fn a_subnet_that_somebody_else_uses_is_refused() {
    let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
slw-ab12\t00006F0A\t01006F0A\t0007\t0\t0\t0\t0000FFFF\t0\t0\t0
*\t00005A0A\t00000000\t0201\t0\t0\t1371078656\t0000FFFF\t0\t0\t0
";
    let check = |own: Option<&str>, subnet: &str, status: Status| {
        let own = own.map(|tag| tag.parse().unwrap());
        let finding = network::overlap(table, subnet.parse().unwrap(), own.as_ref());
        assert_eq!(finding.status, status, "{finding:?}");
    };
    for own in [None, Some("ab12")] {
        check(own, "10.112.0.0/16", Status::Ok);
        check(own, "172.17.5.0/24", Status::Fail);
        check(own, "172.16.0.0/12", Status::Fail);
        // What only refuses, as long as a Slipway is down.
        check(own, "10.90.0.0/16", Status::Ok);
    }
    // Our own, from a Slipway that runs already, or another's.
    check(Some("ab12"), "10.111.0.0/16", Status::Ok);
    check(Some("ab13"), "10.111.0.0/16", Status::Fail);
    check(None, "10.111.0.0/16", Status::Warn);
    check(None, "10.111.7.0/24", Status::Fail);
    assert!(network::overlap(table, "172.17.0.0/16".parse().unwrap(), None).what.contains("over docker0"));
}

#[test]
fn filters_that_drop_what_is_forwarded_are_named() {
    let chain = |family: &str, table: &str, name: &str, rest: &str| {
        format!(r#"{{"chain":{{"family":"{family}","table":"{table}","name":"{name}","handle":1{rest}}}}}"#)
    };
    let check = |chains: &[String], status: Status, word: &str| {
        let text = format!(r#"{{"nftables":[{{"metainfo":{{"version":"1.0.6"}}}},{}]}}"#, chains.join(","));
        let finding = network::forward_policy(text.as_bytes());
        assert_eq!(finding.status, status, "{finding:?}");
        assert!(finding.what.contains(word), "{finding:?}");
    };
    let hook = |policy: &str| format!(r#","type":"filter","hook":"forward","prio":0,"policy":"{policy}""#);
    let docker = chain("ip", "filter", "FORWARD", &hook("drop"));
    check(&[chain("inet", "x", "forward", &hook("accept"))], Status::Ok, "no filter");
    check(&[docker.clone(), chain("ip", "filter", "DOCKER-USER", "")], Status::Ok, "DOCKER-USER");
    check(&[docker], Status::Warn, "FORWARD of table ip filter");
    check(&[chain("inet", "firewall", "forward", &hook("drop"))], Status::Warn, "inet firewall");
    check(&[chain("ip6", "filter", "FORWARD", &hook("drop"))], Status::Ok, "no filter");
    assert_eq!(network::forward_policy(b"what?").status, Status::Warn);
}

#[test]
fn forwarding_is_explained() {
    assert_eq!(network::forwarding(true).status, Status::Ok);
    assert!(network::forwarding(false).advice.contains("/etc/sysctl.d/"));
}

/// On whatever machine the tests run: nothing is left behind, and every finding makes sense.
#[test]
fn this_host_is_checked() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("not/yet");
    let options = HostOptions {
        data_dir,
        listens: vec![("router", "127.0.0.1:0".parse().unwrap())],
        subnet: "10.111.0.0/16".parse().unwrap(),
        dns: vec![],
    };
    let findings = run(&options);
    for finding in &findings {
        println!("{:?} {}: {} {}", finding.status, finding.name, finding.what, finding.advice);
        assert_eq!(finding.advice.is_empty(), finding.status == Status::Ok, "{finding:?}");
    }
    let tried =
        ["user", "seccomp", "user namespaces", "idmapped mounts", "overlay mounts", "nftables", "git"];
    for name in tried {
        let finding = findings.iter().find(|finding| finding.name == name).expect(name);
        assert_eq!(finding.status, Status::Ok, "{finding:?}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    let mut names: Vec<_> = findings.iter().map(|finding| &finding.name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), findings.len(), "names are unique");
}
