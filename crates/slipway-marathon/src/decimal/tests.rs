use proptest::prelude::*;

use super::*;

#[test]
fn me_01_scalars_have_three_decimals() {
    for (number, expected) in
        [(0.5, "0.5"), (1.0, "1"), (0.1 + 0.2, "0.3"), (0.0005, "0"), (0.0015, "0.002"), (128.125, "128.125")]
    {
        let decimal = Decimal::nearest(number).unwrap();
        assert_eq!((decimal.to_string(), serde_json::to_string(&decimal).unwrap()), {
            (expected.to_owned(), expected.to_owned())
        });
    }
    for bad in [-0.001, 1e9 + 1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(Decimal::nearest(bad), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(thousandths in 0_u64..=1_000_000_000_000) {
        let decimal = Decimal::thousandths(thousandths);
        let text = serde_json::to_string(&decimal).unwrap();
        let number: f64 = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(Decimal::nearest(number), Some(decimal));
    }
}
