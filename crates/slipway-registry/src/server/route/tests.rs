use super::*;

fn check(method: Method, uri: &str, wanted: Result<&str, u16>) {
    let uri: Uri = uri.parse().expect("the test's URL is one");
    let got = parse(&method, &uri).map(|operation| format!("{operation:?}"));
    match (got, wanted) {
        (Ok(got), Ok(wanted)) => assert!(got.starts_with(wanted), "{uri}: {got}"),
        (Err(got), Err(wanted)) => assert_eq!(got.into_response().status().as_u16(), wanted, "{uri}"),
        (got, wanted) => panic!("{method} {uri}: got {got:?}, wanted {wanted:?}"),
    }
}

#[test]
fn paths_are_read_from_their_end() {
    let digest = format!("sha256:{}", "a".repeat(64));
    check(Method::GET, "/v2/", Ok("Version"));
    check(Method::GET, "/v2", Ok("Version"));
    check(Method::GET, "/v2/a/b/c/manifests/v1", Ok("GetManifest { repository: a/b/c"));
    check(Method::HEAD, &format!("/v2/a/blobs/{digest}"), Ok("GetBlob { repository: a"));
    check(Method::GET, &format!("/v2/a/blobs/{}", digest.replace(':', "%3A")), Ok("GetBlob"));
    check(Method::POST, "/v2/a/blobs/blobs/uploads/", Ok("StartUpload { repository: a/blobs"));
    check(
        Method::GET,
        "/v2/tags/list/tags/list?n=5&last=x",
        Ok("ListTags { repository: tags/list, last: \"x\", count: 5"),
    );
    check(
        Method::GET,
        "/v2/a/tags/list?n=99999999999999999999999",
        Ok("ListTags { repository: a, last: \"\", count: 1000"),
    );
    check(Method::PUT, &format!("/v2/a/manifests/{digest}?tag=x&tag=y"), Ok("PutManifest"));
}

#[test]
fn what_is_malformed_is_refused_before_anything_is_looked_up() {
    check(Method::GET, "/v2/A/manifests/v1", Err(400));
    check(Method::GET, "/v2/a/../b/manifests/v1", Err(400));
    check(Method::GET, "/v2/a%2f..%2fb/blobs/sha256:00", Err(400));
    check(Method::GET, "/v2/a/blobs/sha256:00", Err(400));
    check(Method::GET, "/v2/a/blobs/md5:00", Err(400));
    check(Method::GET, "/v2/a/manifests/sha256:xyz", Err(400));
    check(Method::GET, "/v2/a/referrers/x", Err(400));
    check(Method::PUT, "/v2/a/blobs/uploads/1", Err(400));
    check(Method::GET, "/v2/a/tags/list?n=-1", Err(400));
    check(Method::GET, "/v2/a", Err(404));
    check(Method::GET, "/", Err(404));
    check(Method::POST, "/v2/a/manifests/v1", Err(405));
}
