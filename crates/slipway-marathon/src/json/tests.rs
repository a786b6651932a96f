use super::*;

fn not_json(body: &[u8]) {
    assert!(matches!(parse(body), Err(Error::NotJson { .. })), "{:?}", parse(body).map(|_| ()));
}

#[test]
fn hostile_bodies_are_refused_before_they_cost_anything() {
    not_json(b"");
    not_json(b"{\"id\": \"/x\"");
    not_json(b"\xff\xfe");
    not_json(&[b"{\"cpus\": 1e4", b"00".as_slice(), b"}"].concat());
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
    not_json(deep("[", "]").as_bytes());
    not_json(deep("{\"a\":", "}").as_bytes());
    let large = format!("{{\"cmd\": \"{}\"}}", "x".repeat(10 << 20));
    assert_eq!(parse(large.as_bytes()), Err(Error::TooLarge { limit: API_BODY_BYTES_MAX }));
}

#[test]
fn an_answer_lists_a_bounded_number_of_mistakes() {
    let mut problems = Problems::default();
    for place in 0..100_000 {
        problems.add(format!("/x({place})"), "is wrong");
    }
    let Err(Error::Invalid(details)) = problems.finish() else { panic!("nothing was wrong") };
    assert_eq!(details.len(), DETAILS_MAX + 1);
    assert_eq!(details[0].errors, ["99900 further mistakes are not listed"]);
}

fn read<T: FromJson>(json: &str) -> Result<T, String> {
    let mut problems = Problems::default();
    let read = T::from_json(serde_json::from_str(json).unwrap(), "/at", &mut problems);
    match problems.finish() {
        Ok(()) => Ok(read.expect("what is not wrong is read")),
        Err(Error::Invalid(details)) => Err(format!("{} {}", details[0].path, details[0].errors[0])),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    assert_eq!(read::<u32>("2147483647"), Ok(2_147_483_647));
    assert_eq!(read::<u32>("3.0"), Ok(3));
    for bad in ["2147483648", "-1", "1.5", "18446744073709551616", "1e300", "\"1\"", "[1]"] {
        let why = "/at must be a whole number from 0 to 2147483647".to_owned();
        assert_eq!(read::<u32>(bad), Err(why), "{bad}");
    }
    assert_eq!(read::<u16>("65535"), Ok(65_535));
    assert!(read::<u16>("65536").is_err());
    for bad in ["-0.1", "1e10", "1e308", "\"1\"", "true"] {
        assert!(read::<Decimal>(bad).is_err(), "{bad}");
    }
    assert_eq!(read::<String>("\"a\\u0000b\""), Err("/at must not have a NUL character".into()));
}

#[test]
fn mistakes_inside_lists_and_maps_have_their_place() {
    assert_eq!(read::<Vec<u16>>("[1, null]"), Err("/at(1) must be a whole number from 0 to 65535".into()));
    assert_eq!(read::<BTreeMap<String, bool>>("{\"x\": 1}"), Err("/at/x must be true or false".into()));
}
