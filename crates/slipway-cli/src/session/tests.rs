use std::os::unix::net::UnixListener;

use super::*;

/// Root may name a device, whose mode everybody else depends on.
#[test]
fn what_is_no_file_is_left_as_it_is() {
    let path = std::env::temp_dir().join(format!("slipway-logins-{}", std::process::id()));
    let _socket = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let refused = read_logins(&path).err().map(|error| error.to_string());
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    fs::remove_file(&path).unwrap();
    assert!(refused.is_some_and(|why| why.ends_with("is not a file")));
    assert_eq!(mode, 0o666);
}
