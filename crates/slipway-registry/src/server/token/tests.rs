use super::*;

fn headers(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers
        .insert(header::AUTHORIZATION, format!("Bearer {token}").parse().expect("a token is a header value"));
    headers
}

fn access(expires: u64) -> Access {
    let rights = vec![("acme/shop".to_owned(), vec![Action::Pull])];
    Access { subject: Subject("alice".to_owned()), expires, rights }
}

#[test]
fn a_token_is_good_for_what_it_says_until_it_expires() {
    let tokens = Tokens::new();
    let shop: Repository = "acme/shop".parse().unwrap();
    let read = tokens.check(&headers(&tokens.sign(&access(now_seconds() + 5)))).expect("the token is valid");
    assert!(read.allows(&shop, Action::Pull));
    assert!(!read.allows(&shop, Action::Push));
    assert!(!read.allows(&"acme/shop2".parse().unwrap(), Action::Pull));
    assert!(tokens.check(&headers(&tokens.sign(&access(now_seconds())))).is_none(), "expired");
}

#[test]
fn a_token_that_was_changed_or_made_elsewhere_is_not_valid() {
    let tokens = Tokens::new();
    let good = tokens.sign(&access(now_seconds() + 5));
    let (claims, mac) = good.split_once('.').unwrap();
    let richer = URL_SAFE_NO_PAD
        .encode(String::from_utf8(URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap().replace("pull", "push"));
    for bad in [
        format!("{richer}.{mac}"),
        format!("{claims}."),
        claims.to_owned(),
        Tokens::new().sign(&access(u64::MAX)),
    ] {
        assert!(tokens.check(&headers(&bad)).is_none(), "{bad}");
    }
}

#[test]
fn scopes_are_read_from_one_parameter_or_several() {
    let got = scopes(Some(
        "scope=repository:a/b:pull,push%20repository:c:*&scope=repository:d:delete&scope=catalog:x",
    ));
    let names: Vec<_> = got.iter().map(|(name, actions)| (name.as_str(), actions.len())).collect();
    assert_eq!(names, [("a/b", 2), ("c", 3), ("d", 1)]);
}
