//! Times in words.

use k8s_openapi::jiff::Timestamp;

/// How long ago, as kubectl writes ages: the two largest units at most.
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    span(now.as_second() - at.as_second())
}

pub fn since(at: Timestamp, now: Timestamp) -> String {
    format!("{} ({} ago)", clock(at), ago(at, now))
}

/// A moment to come; one that is past is due.
pub fn when(at: Timestamp, now: Timestamp) -> String {
    if at <= now {
        "now".to_owned()
    } else {
        format!("at {}, in {}", clock(at), span(at.as_second() - now.as_second()))
    }
}

fn clock(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, 1..10) => two(minutes, "m", seconds % 60, "s"),
        (0, 0, _) => format!("{minutes}m"),
        (0, 1..10, _) => two(hours, "h", minutes % 60, "m"),
        (0, ..) => format!("{hours}h"),
        (1..10, ..) => two(days, "d", hours % 24, "h"),
        _ => format!("{days}d"),
    }
}

fn two(large: i64, unit: &str, small: i64, part: &str) -> String {
    if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{part}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_written_as_kubectl_does() {
        let of = |seconds| ago(Timestamp::from_second(0).unwrap(), Timestamp::from_second(seconds).unwrap());
        let ages = [5, 65, 120, 700, 3_600, 9_000, 50_000, 90_000, 1_000_000].map(of);
        assert_eq!(ages, ["5s", "1m5s", "2m", "11m", "1h", "2h30m", "13h", "1d1h", "11d"]);
        assert_eq!(of(-3), "0s", "clocks differ");
    }

    #[test]
    fn what_is_due_is_now() {
        let [now, later] = [100, 140].map(|second| Timestamp::from_second(second).unwrap());
        assert_eq!(when(now, now), "now");
        assert_eq!(when(later, now), "at 1970-01-01 00:02:20Z, in 40s");
    }
}
