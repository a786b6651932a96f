use super::*;

#[test]
fn ranges_are_read_as_http_says() {
    use Wanted::*;
    let part = |start, end| Part { start, end };
    for (range, wanted) in [
        ("bytes=0-0", part(0, 1)),
        ("bytes=5-", part(5, 10)),
        ("bytes=5-100", part(5, 10)),
        ("bytes=-3", part(7, 10)),
        ("bytes=-100", part(0, 10)),
        ("bytes=10-", Beyond),
        ("bytes=10-20", Beyond),
        ("bytes=-0", Beyond),
        ("bytes=9-5", Everything),
        ("bytes=0-1,3-4", Everything),
        ("bytes=a-b", Everything),
        ("bytes=-", Everything),
        ("lines=1-2", Everything),
    ] {
        assert_eq!(parse_range(range, 10), wanted, "{range}");
    }
}
