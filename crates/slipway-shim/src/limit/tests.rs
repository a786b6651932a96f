use super::*;

#[test]
fn the_process_is_read_from_the_runtimes_state() {
    let of = |text: &str| read_pid(text.as_bytes());
    assert_eq!(of(r#"{"ociVersion":"1.0.2","id":"i","status":"creating","pid":4711}"#), Ok(4711));
    for bad in ["", "{}", r#"{"pid":0}"#, r#"{"pid":1}"#, r#"{"pid":-5}"#, r#"{"pid":99999999999}"#] {
        assert!(of(bad).is_err(), "{bad}");
    }
}

/// A hook that is run for a process outside of any sandbox must not bound the host.
#[test]
fn the_hosts_own_namespace_is_refused() {
    let before = fs::read_to_string("/proc/sys/user/max_inotify_instances").unwrap();
    assert!(bound(std::process::id() as i32).is_err());
    assert_eq!(fs::read_to_string("/proc/sys/user/max_inotify_instances").unwrap(), before);
}
