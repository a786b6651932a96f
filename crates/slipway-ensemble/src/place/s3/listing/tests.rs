use super::*;

#[test]
fn ex_08_a_listing_is_read_page_by_page() {
    let body = br#"<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>true</IsTruncated>
<NextContinuationToken>a&amp;b=&#x41;</NextContinuationToken>
<Contents><Key>p/1</Key><Size>1</Size></Contents><Contents><Key>p/&quot;2&quot;</Key></Contents>
</ListBucketResult>"#;
    let page = read(body).unwrap();
    assert_eq!(page.keys, ["p/1", "p/\"2\""]);
    assert_eq!(page.next.as_deref(), Some("a&b=A"));
}

#[test]
fn ex_08_what_is_no_listing_is_not_taken_for_an_empty_one() {
    for bad in [
        "",
        "<html><body>welcome to the network</body></html>",
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        "<ListBucketResult><Key>&bad;</Key></ListBucketResult>",
    ] {
        assert_eq!(read(bad.as_bytes()), None, "{bad}");
    }
    assert_eq!(read(b"<ListBucketResult></ListBucketResult>"), Some(Page { keys: vec![], next: None }));
    assert_eq!(code(b"<Error><Code>NoSuchKey</Code></Error>").as_deref(), Some("NoSuchKey"));
}
