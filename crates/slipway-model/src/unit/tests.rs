use proptest::prelude::*;

use super::*;

#[test]
fn a_timestamp_reads_as_utc() {
    assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00Z");
    assert_eq!(Timestamp(1_709_210_096_000).to_string(), "2024-02-29T12:34:56Z");
    assert_eq!(Timestamp(4_102_444_799_999).to_string(), "2099-12-31T23:59:59Z");
}

#[test]
fn a_timestamp_is_taken_from_any_clock() {
    let of = |time| Timestamp::from(time);
    assert_eq!(of(UNIX_EPOCH + Duration::from_micros(1_500_999)), Timestamp(1500));
    assert_eq!(of(UNIX_EPOCH - Duration::from_secs(1)), Timestamp(0), "a clock that was never set");
}

#[test]
fn quantities_need_a_unit_that_exists() {
    assert_eq!("5s".parse::<Span>().unwrap(), Span::from_secs(5));
    assert_eq!("256M".parse::<Bytes>().unwrap(), Bytes::mebi(256));
    assert_eq!("0.5".parse::<Cpus>().unwrap(), Cpus(500));
    for bad in ["5", "s", "-1s", "1e3s", "99999999999999999999d", "5 s"] {
        assert!(bad.parse::<Span>().is_err(), "{bad}");
    }
    for bad in ["M", "-1M", "1.5G", "18446744073709551615G", "1X"] {
        assert!(bad.parse::<Bytes>().is_err(), "{bad}");
    }
    for bad in ["0", "-1", "NaN", "inf", "1e400", "0.0001"] {
        assert!(bad.parse::<Cpus>().is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn quantities_survive_being_printed(millis in 0u64..1 << 50, bytes in 0u64..1 << 50, cpus in 1u32..=u32::MAX) {
        prop_assert_eq!(Span::from_millis(millis).to_string().parse::<Span>().unwrap(), Span::from_millis(millis));
        prop_assert_eq!(Bytes(bytes).to_string().parse::<Bytes>().unwrap(), Bytes(bytes));
        prop_assert_eq!(Cpus(cpus).to_string().parse::<Cpus>().unwrap(), Cpus(cpus));
    }
}
