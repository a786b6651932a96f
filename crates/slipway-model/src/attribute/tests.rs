use super::*;

fn read(texts: &[&str]) -> Result<Attributes, AttributeError> {
    parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
}

#[test]
fn attributes_are_read_as_mesos_writes_them() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let expected = [pair("dc", "a"), pair("rack", "r1"), pair("zone", "z")];
    assert_eq!(read(&["rack:r1;dc:a", "zone:z"]), Ok(expected.into()));
    assert_eq!(read(&["rack:r1", "rack:r1"]), Ok([pair("rack", "r1")].into()));
    let long = format!("rack:{}", "x".repeat(300));
    for bad in ["rack", "rack:", ":r1", "rack:r\n1", &long] {
        assert!(read(&[bad]).unwrap_err().to_string().contains("such as rack:r1"), "{bad}");
    }
    assert!(read(&["rack:r1", "rack:r2"]).unwrap_err().to_string().contains("both r1 and r2"));
    let many: Vec<_> = (0..65).map(|number| format!("a{number}:x")).collect();
    assert_eq!(parse(&many), Err(AttributeError::TooMany));
}

#[test]
fn a_record_holds_what_is_an_attribute() {
    let check = |name: &str, value: &str| check(&[(name.to_owned(), value.to_owned())].into());
    assert_eq!(check("rack", "r1"), Ok(()));
    for (name, value) in [("rack", ""), ("rack", "r\n1"), ("rack", &*"x".repeat(257))] {
        assert!(check(name, value).unwrap_err().to_string().contains("attribute rack"), "{value}");
    }
}
