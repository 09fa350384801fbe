//! Times as resources spell them: `30m`, `1h30m`, `45s`.

use std::time::Duration;

/// What the schema's rule lets in. `None`: an object that came past the schema.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0_u64;
    for (unit, factor) in [('h', 3600_u64), ('m', 60), ('s', 1)] {
        let Some((digits, after)) = rest.split_once(unit) else { continue };
        let number: u64 = digits.parse().ok()?;
        seconds = seconds.checked_add(number.checked_mul(factor)?)?;
        rest = after;
    }
    (rest.is_empty() && !text.is_empty()).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_minutes_and_seconds_add_up() {
        let read = |text| parse(text).map(|time| time.as_secs());
        assert_eq!(read("30m"), Some(1800));
        assert_eq!(read("1h30m"), Some(5400));
        assert_eq!(read("1h1m1s"), Some(3661));
        assert_eq!(read("0s"), Some(0));
        for wrong in ["", "5", "m", "30m1h", "-1s", "1.5h", "1d", "9999999999999999999h"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
