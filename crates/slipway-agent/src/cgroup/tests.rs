use super::*;

/// A host as distributions make it now: one tree for everything, made of plain files here.
fn of_version_2(root: &Path, controllers: &str) -> Result<Cgroups, Error> {
    fs::write(root.join("cgroup.controllers"), controllers).unwrap();
    let mounts = format!(
        "22 1 8:1 / / rw - ext4 /dev/vda1 rw\n\
         30 24 0:26 / {} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
        root.display()
    );
    Cgroups::of_mounts("slipway-ab12", &mounts)
}

#[test]
fn me_13_version_2_alone_is_enough() {
    let root = tempfile::tempdir().unwrap();
    let cgroups = of_version_2(root.path(), "cpuset cpu io memory hugetlb pids rdma misc\n").unwrap();
    assert_eq!(cgroups.path_of("i1"), "/slipway-ab12/i1");
    assert!(cgroups.limits_swap(), "version 2 always counts swap");

    // One directory is one instance, with all of its processes.
    let one = root.path().join("slipway-ab12/i1");
    assert_eq!(cgroups.directories_of("i1"), [one.clone()]);
    assert!(cgroups.existing().is_empty() && cgroups.processes("i1").is_empty());
    fs::create_dir_all(&one).unwrap();
    fs::write(one.join("cgroup.procs"), "4711\n4712\n").unwrap();
    fs::write(root.path().join("slipway-ab12/cgroup.procs"), "1\n").unwrap();
    assert_eq!(cgroups.existing(), ["i1".to_owned()].into());
    assert_eq!(cgroups.processes("i1"), [4711, 4712].into());
}

#[test]
fn me_13_a_controller_that_is_not_there_is_named() {
    let root = tempfile::tempdir().unwrap();
    for needed in ["cpu", "memory", "pids"] {
        let others = ["cpu", "memory", "pids", "io"].into_iter().filter(|one| *one != needed);
        let refused = of_version_2(root.path(), &others.collect::<Vec<_>>().join(" ")).unwrap_err();
        assert!(refused.to_string().contains(needed), "{refused}");
    }
}

/// Where systemd keeps the tree, what is below the unit must be left to whoever makes instances there.
#[test]
fn me_13_the_units_have_their_tree_delegated() {
    for unit in [
        include_str!("../../../../packaging/slipwayd.service"),
        include_str!("../../../../packaging/slipwayd-agent.service"),
    ] {
        assert!(unit.lines().any(|line| line == "Delegate=yes"));
    }
}
