use std::time::Duration;

use super::*;

#[test]
fn me_15_what_is_kept_is_a_tenants_own_and_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let work = directory.path().join("work");
    fs::create_dir(&work).unwrap();
    let mut cache = Cache::open(&directory.path().join("cache")).unwrap();
    cache.bytes_max = 1000;
    let (acme, evil): (TenantName, TenantName) = ("acme".parse().unwrap(), "evil".parse().unwrap());
    let put = |uri: &str, bytes: usize| {
        fs::write(work.join("0"), vec![7; bytes]).unwrap();
        cache.put(&acme, uri, &work, "0");
        std::thread::sleep(Duration::from_millis(10));
    };
    let has = |tenant: &TenantName, uri: &str| {
        let target = work.join("out");
        let there = cache.take(tenant, uri, &target);
        assert_eq!(target.exists(), there);
        let _ = fs::remove_file(target);
        std::thread::sleep(Duration::from_millis(10));
        there
    };
    put("http://h/a", 400);
    put("http://h/b", 400);
    assert!(has(&acme, "http://h/a") && !has(&evil, "http://h/a") && !has(&acme, "http://h/c"));
    // The one that was used longest ago goes.
    put("http://h/c", 400);
    assert!(has(&acme, "http://h/a") && !has(&acme, "http://h/b") && has(&acme, "http://h/c"));
    put("http://h/large", 600);
    assert!(!has(&acme, "http://h/large"));
    // What is not a file of that directory is not kept.
    fs::write(directory.path().join("secret"), "x").unwrap();
    fs::remove_file(work.join("0")).unwrap();
    std::os::unix::fs::symlink("../secret", work.join("0")).unwrap();
    cache.put(&acme, "http://h/secret", &work, "0");
    cache.put(&acme, "http://h/secret", &work, "../secret");
    assert!(!has(&acme, "http://h/secret"));
}
