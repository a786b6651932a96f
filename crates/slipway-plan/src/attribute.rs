//! Node attributes as Marathon compares them: as formatted strings (MA-35). Scalars are rounded to
//! three decimals, half to even, without trailing zeros; ranges `[8-9,1-5]` and sets `{b,a}` are
//! sorted; everything else is itself.

use slipway_model::instance::Node;

/// The formatted value of a node's field; `None` when the node does not have it.
pub fn value_of(node: &Node, field: &str) -> Option<String> {
    let text = match field {
        "hostname" | "@hostname" => return Some(node.name.to_string()),
        "@region" | "@zone" => node.attributes.get(field).or_else(|| node.attributes.get(&field[1..])),
        _ => node.attributes.get(field),
    };
    text.map(|text| formatted(text))
}

/// One value in the form in which it is compared.
pub fn formatted(text: &str) -> String {
    let text = text.trim();
    scalar(text).or_else(|| ranges(text)).or_else(|| set(text)).unwrap_or_else(|| text.to_owned())
}

/// Rounds in decimal digits, so that `0.0005` does what it says and not what a binary fraction near it
/// does.
fn scalar(text: &str) -> Option<String> {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) || digits.ends_with('.') {
        return None;
    }
    let mut thousandths: u128 = format!("{whole}{:0<3.3}", fraction).parse().ok()?;
    if let Some(rest) = fraction.get(3..).filter(|rest| !rest.is_empty()) {
        let half = rest.bytes().next() == Some(b'5') && rest.bytes().skip(1).all(|b| b == b'0');
        let up = if half { thousandths % 2 == 1 } else { rest.as_bytes()[0] >= b'5' };
        thousandths += u128::from(up);
    }
    let sign = if thousandths == 0 { "" } else { sign };
    let fraction = format!("{:03}", thousandths % 1000);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{sign}{}{point}{fraction}", thousandths / 1000))
}

fn ranges(text: &str) -> Option<String> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let mut ranges = Vec::new();
    for range in inner.split(',') {
        let (from, to) = range.trim().split_once('-')?;
        ranges.push((from.trim().parse::<u64>().ok()?, to.trim().parse::<u64>().ok()?));
    }
    ranges.sort_unstable();
    let texts: Vec<_> = ranges.iter().map(|(from, to)| format!("{from}-{to}")).collect();
    Some(format!("[{}]", texts.join(",")))
}

fn set(text: &str) -> Option<String> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    let mut items: Vec<_> = inner.split(',').map(str::trim).collect();
    items.sort_unstable();
    Some(format!("{{{}}}", items.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ma_35_values_are_compared_as_formatted() {
        for (text, expected) in [
            ("r1", "r1"),
            ("4", "4"),
            ("4.500", "4.5"),
            ("0.0005", "0"),
            ("0.0015", "0.002"),
            ("0.00251", "0.003"),
            ("1.9996", "2"),
            ("-0.0001", "0"),
            ("-2.50", "-2.5"),
            ("1.", "1."),
            ("1e3", "1e3"),
            ("[8-9,1-5]", "[1-5,8-9]"),
            ("{b, a}", "{a,b}"),
            ("", ""),
        ] {
            assert_eq!(formatted(text), expected, "{text:?}");
        }
    }
}
