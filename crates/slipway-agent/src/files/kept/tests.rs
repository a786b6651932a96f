use std::fs::File;

use slipway_shim::keep::FILES;

use super::*;

#[test]
fn me_18_sandboxes_go_sooner_when_the_disk_fills() {
    let days = |used| kept_for(used).as_secs_f64() / 86_400.0;
    assert!((days(0.0) - 6.3).abs() < 0.01);
    assert!((days(0.5) - 2.8).abs() < 0.01);
    assert_eq!(days(0.9), 0.0);
    assert_eq!(days(1.0), 0.0);
}

#[test]
fn me_18_so_many_are_kept_and_none_of_the_living_goes() {
    let directory = tempfile::tempdir().unwrap();
    let paths = Paths::at(directory.path());
    let id = |n: u8| InstanceId::from_random([n; 10]);
    let about = |environment: &str| About {
        environment: environment.parse().unwrap(),
        role: InstanceRole::ReleaseCommand,
        tenant_index: 1,
    };
    let add = |n: u8, environment: &str, age: Duration| {
        let place = paths.sandbox(&id(n));
        fs::create_dir_all(place.join(FILES)).unwrap();
        fs::write(place.join(ABOUT), serde_json::to_vec(&about(environment)).unwrap()).unwrap();
        File::open(&place).unwrap().set_modified(SystemTime::now() - age).unwrap();
    };
    for n in 0..30 {
        add(n, "acme/shop/dev", Duration::from_secs(u64::from(n)));
    }
    add(100, "acme/shop/prod", Duration::from_secs(60));
    add(101, "acme/shop/prod", Duration::from_secs(30 * 86_400));
    add(102, "acme/shop/prod", Duration::from_secs(31 * 86_400));
    collect(&paths, &BTreeSet::from([id(29), id(102)]));
    let mut left = ids_in(&paths.sandboxes());
    left.sort();
    let mut expected: Vec<InstanceId> = (0..20).chain([29, 100, 102]).map(id).collect();
    if kept_for(used(directory.path())).is_zero() {
        // This machine's own disk is nearly full.
        expected = vec![id(29), id(102)];
    }
    expected.sort();
    assert_eq!(left, expected);
}

#[test]
fn me_18_one_tenant_does_not_push_out_what_is_kept_of_another() {
    let directory = tempfile::tempdir().unwrap();
    let paths = Paths::at(directory.path());
    if kept_for(used(directory.path())).is_zero() {
        // This machine's own disk is nearly full.
        return;
    }
    let add = |n: u16, environment: &str, age: u64| {
        let mut bytes = [0; 10];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        let about = About {
            environment: environment.parse().unwrap(),
            role: InstanceRole::ReleaseCommand,
            tenant_index: 1,
        };
        let place = paths.sandbox(&InstanceId::from_random(bytes));
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join(ABOUT), serde_json::to_vec(&about).unwrap()).unwrap();
        File::open(&place).unwrap().set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    };
    for n in 0..15 {
        add(n, "quiet/shop/dev", 600);
    }
    for n in 15..315 {
        add(n, &format!("loud/shop/e{}", n % 15), 1);
    }
    collect(&paths, &BTreeSet::new());
    let of = |tenant: &str| {
        let about = |id: &InstanceId| fs::read_to_string(paths.sandbox(id).join(ABOUT)).unwrap();
        ids_in(&paths.sandboxes()).iter().filter(|id| about(id).contains(tenant)).count()
    };
    assert_eq!((of("quiet/"), of("loud/")), (15, ENDED_MAX / 2));
}
