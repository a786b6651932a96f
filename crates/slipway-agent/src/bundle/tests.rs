use super::*;

fn image(entrypoint: &[&str], cmd: &[&str]) -> Config {
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
    Config { entrypoint: words(entrypoint), cmd: words(cmd), ..Config::default() }
}

#[test]
fn what_is_started_follows_the_rule_of_the_model() {
    #[track_caller]
    fn check(program: Program, image: &Config, expected: &[&str]) {
        assert_eq!(argv(&program, image).unwrap(), expected);
    }
    let line = || Program::CommandLine { line: "gunicorn app:app; rm -rf $HOME".into() };
    check(line(), &image(&[LAUNCHER], &[]), &[LAUNCHER, "gunicorn app:app; rm -rf $HOME"]);
    check(line(), &image(&["/entry"], &["x"]), &["/bin/sh", "-c", "gunicorn app:app; rm -rf $HOME"]);
    check(Program::Image, &image(&["/entry"], &["x"]), &["/entry", "x"]);
    check(Program::Argv { argv: vec!["a".into()] }, &image(&["/entry"], &["x"]), &["/entry", "a"]);
    check(Program::Argv { argv: vec!["a".into()] }, &image(&[], &["x"]), &["a"]);
    assert!(argv(&Program::Image, &Config::default()).is_err());
    assert!(argv(&Program::Argv { argv: vec!["a\0b".into()] }, &Config::default()).is_err());
}

#[test]
fn the_environment_has_layers() {
    let image =
        Config { env: Some(vec!["PATH=/image".into(), "A=image".into(), "odd".into()]), ..Config::default() };
    let given = BTreeMap::from([
        ("A".into(), "given".into()),
        ("PORT".into(), "1".into()),
        ("N".into(), "x\0y".into()),
    ]);
    assert_eq!(environment(&image, &given, Some(8080)), ["A=given", "HOME=/app", "PATH=/image", "PORT=8080"]);
    assert_eq!(environment(&image, &BTreeMap::new(), None), ["A=image", "HOME=/app", "PATH=/image"]);
}

#[test]
fn the_kernels_directories_are_no_working_directory() {
    let directory =
        |text: &str| working_directory(&Config { working_dir: Some(text.into()), ..Config::default() });
    for bad in ["/proc/self/fd/8", "/sys", "/dev/shm", "app", "/app/../proc"] {
        assert!(directory(bad).is_err(), "{bad}");
    }
    assert_eq!(directory("/app").unwrap(), "/app");
    assert_eq!(directory("").unwrap(), "/");
}

#[test]
fn users_are_those_of_the_image() {
    let root = tempfile::tempdir().unwrap();
    let etc = root.path().join("etc");
    std::fs::create_dir(&etc).unwrap();
    std::fs::write(etc.join("passwd"), "root:x:0:0::/:\nweb:x:33:44::/:\nbig:x:70000:1::/:\n").unwrap();
    std::fs::write(etc.join("group"), "staff:x:50:\n").unwrap();
    let layers = [root.path().to_owned()];
    let of = |text: &str, entrypoint: &[&str]| {
        let config = Config { user: Some(text.into()), ..image(entrypoint, &[]) };
        user(&config, &layers).map(|user| (user.uid, user.gid))
    };
    assert_eq!(of("web", &[]), Ok((33, 44)));
    assert_eq!(of("web:staff", &[]), Ok((33, 50)));
    assert_eq!(of("33", &[]), Ok((33, 44)));
    assert_eq!(of("0:0", &[]), Ok((0, 0)));
    assert_eq!(of("", &[LAUNCHER]), Ok((APP_UID, APP_UID)));
    assert_eq!(of("", &["/bin/other"]), Ok((0, 0)));
    for bad in ["nobody-here", "web:nogroup", "70000", "big"] {
        assert!(of(bad, &[]).is_err(), "{bad}");
    }
    // A passwd that is a link to the host's is not followed.
    std::fs::remove_file(etc.join("passwd")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", etc.join("passwd")).unwrap();
    assert!(of("daemon", &[]).is_err());
}

#[test]
fn the_list_of_system_calls_refuses_by_default() {
    let list = seccomp();
    assert_eq!(list["defaultAction"], "SCMP_ACT_ERRNO");
    let allowed = list["syscalls"][0]["names"].as_array().unwrap();
    let has = |name: &str| allowed.iter().any(|entry| entry == name);
    for name in ["read", "execve", "futex", "epoll_wait", "statx", "getrandom", "rseq", "memfd_create"] {
        assert!(has(name), "{name}");
    }
    // N75, and what newer kernels have of the kind.
    for name in [
        "mount",
        "unshare",
        "setns",
        "pivot_root",
        "chroot",
        "ptrace",
        "bpf",
        "keyctl",
        "add_key",
        "io_uring_setup",
        "userfaultfd",
        "perf_event_open",
        "kexec_load",
        "open_by_handle_at",
        "reboot",
        "init_module",
        "fsopen",
        "open_tree",
        "move_mount",
        "mount_setattr",
        "clone",
        "clone3",
        "socket",
        "socketpair",
        "personality",
        "process_vm_readv",
    ] {
        assert!(!has(name), "{name}");
    }
    // Of sockets: local, IPv4, IPv6, and of netlink what says which addresses there are.
    let rules = list["syscalls"].as_array().unwrap().iter();
    let sockets = rules.filter(|rule| rule["names"][0] == "socket" && rule["action"] == "SCMP_ACT_ALLOW");
    let families: Vec<_> = sockets.map(|rule| rule["args"][0]["value"].as_i64().unwrap() as i32).collect();
    assert_eq!(families, [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK]);
}
