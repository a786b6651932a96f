//! Builds that cannot succeed, or try to take the machine with them.

use std::time::{Duration, Instant};

use crate::app::{files, web};
use crate::person::{Person, Work};
use crate::server::Server;
use crate::{Case, cases};

pub fn cases() -> Vec<Case> {
    cases![
        nothing_fits,
        a_dependency_that_does_not_exist,
        a_build_that_fails_says_what_it_printed,
        a_build_that_takes_all_memory,
        a_build_that_fills_its_disk,
        a_build_that_forks_without_end,
        a_build_cannot_reach_the_platform,
    ]
}

/// A running program whose next push has this classic buildpack.
fn running_then<'p, 's>(person: &'p Person<'s>, compile: &str) -> Work<'p, 's> {
    let work = person.project("shop", &files(&web("one")));
    work.push().ok();
    work.write(".buildpacks", "./pack\n");
    work.write("pack/bin/detect", "#!/bin/sh\necho Hostile\n");
    work.write("pack/bin/compile", &format!("#!/bin/bash\n{compile}\n"));
    std::process::Command::new("chmod").args(["-R", "755"]).arg(work.path.join("pack")).status().unwrap();
    work.commit(&[], "Next");
    work
}

#[track_caller]
fn fails_and_the_old_serves(work: &Work, words: &str) {
    let before = work.remote_head("dev");
    work.push().refused(words);
    assert!(work.page("dev").starts_with("one"));
    assert_eq!(work.remote_head("dev"), before);
    work.slipway(&["builds", "list", "-e", "dev"]).ok().says("failed");
    // No lock is left: the next good push goes through.
    work.git(&["rm", "-r", "--quiet", "pack", ".buildpacks"]).ok();
    work.commit(&files(&web("mended")), "Mended");
    work.push().ok();
    assert!(work.page("dev").starts_with("mended"));
}

fn nothing_fits(server: &Server) {
    let person = Person::with_tenant(server, "no-fit");
    let work = person.project("shop", &[("README", "nothing to run here\n")]);
    work.push().refused("Procfile");
    assert_eq!(work.remote_head("dev"), None);
}

fn a_dependency_that_does_not_exist(server: &Server) {
    let person = Person::with_tenant(server, "no-dep");
    let work = person.project("shop", &files(&web("one")));
    work.commit(&[("requirements.txt", "surely-no-such-package-as-this-4711\n")], "Needs it");
    work.push().refused("surely-no-such-package-as-this-4711");
    assert_eq!(work.remote_head("dev"), None);
}

fn a_build_that_fails_says_what_it_printed(server: &Server) {
    let person = Person::with_tenant(server, "build-fail");
    let work = running_then(&person, "echo 'this is what went wrong'; exit 3");
    let said = work.push().refused("this is what went wrong");
    said.says("3");
    fails_and_the_old_serves(&work, "this is what went wrong");
}

fn a_build_that_takes_all_memory(server: &Server) {
    let person = Person::with_tenant(server, "build-mem");
    let work = running_then(&person, "exec python3 -c \"x = bytearray(6 << 30); print(len(x))\"");
    fails_and_the_old_serves(&work, "memory");
}

fn a_build_that_fills_its_disk(server: &Server) {
    let person = Person::with_tenant(server, "build-disk");
    let work = running_then(&person, "exec dd if=/dev/zero of=$1/fill bs=1M count=100000");
    fails_and_the_old_serves(&work, "disk");
}

fn a_build_that_forks_without_end(server: &Server) {
    let person = Person::with_tenant(server, "build-fork");
    let work = running_then(&person, "bomb() { bomb | bomb & }; bomb; sleep 5; exit 1");
    let since = Instant::now();
    fails_and_the_old_serves(&work, "fail");
    assert!(since.elapsed() < Duration::from_secs(120));
}

fn a_build_cannot_reach_the_platform(server: &Server) {
    let person = Person::with_tenant(server, "build-net");
    let ports =
        [server.ports.api, server.ports.registry, server.ports.ssh].map(|port| port.to_string()).join(" ");
    // An address of this host that others can reach.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let own = match socket.connect("192.0.2.1:9") {
        Ok(()) => socket.local_addr().unwrap().ip().to_string(),
        Err(_) => "127.0.0.1".to_owned(),
    };
    let work = running_then(
        &person,
        &format!(
            "gateway=$(python3 -c 'import socket,struct;print([socket.inet_ntoa(struct.pack(\"<L\",int(l.split()[2],16))) for l in open(\"/proc/net/route\") if l.split()[1]==\"00000000\"][0])')\n\
             for host in $gateway {own} 127.0.0.1 169.254.169.254; do for port in {ports}; do\n\
             timeout 1 bash -c \"echo > /dev/tcp/$host/$port\" 2>/dev/null && echo REACHED $host $port; done; done; echo looked; exit 3"
        ),
    );
    let said = work.push().refused("looked");
    assert!(!said.text.contains("REACHED"), "{}", said.text);
}
