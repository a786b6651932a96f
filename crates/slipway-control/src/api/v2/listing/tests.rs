//! Apps in a skeleton, and who may have how many listings.

use super::*;

/// The skeleton with `{n}` for each mark, or nothing for those that cannot be shown.
fn written(skeleton: &str, is_shown: impl Fn(usize) -> bool) -> String {
    let mut skeleton = Skeleton::new(skeleton.to_owned());
    let mut text = String::new();
    while let Some(index) = skeleton.until_mark(&mut text) {
        if is_shown(index) {
            skeleton.put(&mut text, &format!("{{{index}}}"));
        }
    }
    text
}

#[test]
fn apps_stand_where_their_marks_were() {
    let skeleton = r##"{"apps":["#0","#1","#2"],"groups":[{"apps":["#3"],"id":"/a"},{"apps":[]}]}"##;
    let whole = r#"{"apps":[{0},{1},{2}],"groups":[{"apps":[{3}],"id":"/a"},{"apps":[]}]}"#;
    assert_eq!(written(skeleton, |_| true), whole);
    assert_eq!(written(r#"{"apps":[]}"#, |_| true), r#"{"apps":[]}"#);
}

#[test]
fn an_app_that_cannot_be_shown_leaves_no_comma() {
    let skeleton = r##"{"apps":["#0","#1","#2"],"b":["#3"]}"##;
    for (absent, left) in [(0, "{1},{2}"), (1, "{0},{2}"), (2, "{0},{1}")] {
        let text = written(skeleton, |index| index != absent);
        assert_eq!(text, format!(r#"{{"apps":[{left}],"b":[{{3}}]}}"#));
    }
    assert_eq!(written(skeleton, |index| index == 2), r#"{"apps":[{2}],"b":[]}"#);
}

#[tokio::test]
async fn ma_25_one_user_has_so_many_listings_and_no_more() {
    let places = Places::default();
    let (ada, eve): (UserName, UserName) = ("ada".parse().unwrap(), "eve".parse().unwrap());
    let mut of_eve = Vec::new();
    for _ in 0..LISTINGS_OF_USER_MAX {
        of_eve.push(places.take(&eve).await.unwrap());
    }
    let refused = format!("{:?}", places.take(&eve).await.unwrap_err());
    assert!(refused.contains("429") && refused.contains("message"), "{refused}");
    assert!(places.take(&ada).await.is_ok(), "others list as ever");
    // One that waits gets the place of one that ends.
    let (one, ()) = tokio::join!(places.take(&eve), async { drop(of_eve.pop()) });
    assert!(one.is_ok());
}
