use super::*;

#[derive(Debug, thiserror::Error)]
#[error("failed to {what}")]
struct Failed {
    what: &'static str,
    source: Option<Box<Failed>>,
}

#[test]
fn an_error_and_its_causes_are_one_line() {
    let disk = Failed { what: "write", source: None };
    assert_eq!((chain(&disk), causes(&disk)), ("failed to write".to_owned(), String::new()));
    let save = Failed { what: "save the list", source: Some(disk.into()) };
    let all = Failed { what: "obey", source: Some(save.into()) };
    assert_eq!(chain(&all), "failed to obey: failed to save the list: failed to write");
    assert_eq!(causes(&all), "failed to save the list: failed to write");
}
