//! `kubectl gadget why`. What there is to say is told by [`crds::why`].

use crds::why::{self, Reason, words};
use k8s_openapi::jiff::Timestamp;

use super::args::WhyArgs;
use super::cluster::{Cluster, Subject};
use crate::console::{Console, Paint, Style};

pub(super) async fn run(cluster: &Cluster, args: &WhyArgs, console: &mut Console) -> anyhow::Result<()> {
    let WhyArgs { name, json } = args;
    if !json {
        return print(cluster, name, console).await;
    }
    let subject = cluster.subject(name).await?;
    Ok(console.json(&reason(&subject, Timestamp::now()))?)
}

pub(super) async fn print(cluster: &Cluster, name: &str, console: &mut Console) -> anyhow::Result<()> {
    let subject = cluster.subject(name).await?;
    let now = Timestamp::now();
    Ok(console.out(&text(console.style, subject.name(), &reason(&subject, now), now))?)
}

fn reason(subject: &Subject, now: Timestamp) -> Reason {
    match subject {
        Subject::Session(session, drone) => why::of_session(session, drone.as_deref(), now),
        Subject::Drone(drone) => why::of_drone(drone, now),
    }
}

fn text(style: Style, name: &str, reason: &Reason, now: Timestamp) -> String {
    let Reason { is_well, state, reason: word, since, cause, next, advice, also } = reason;
    let head = match word {
        Some(word) => format!("{name} {state}: {word}"),
        None => format!("{name} {state}"),
    };
    let paint = if *is_well { Paint::Good } else { Paint::Bad };
    let mut lines = vec![style.paint(paint, &head)];
    let mut line = |label: &str, words: &str| {
        lines.push(format!("  {}  {words}", style.paint(Paint::Dim, &format!("{label:<7}"))));
    };
    if let Some(since) = since {
        line("since", &words::since(*since, now));
    }
    if let Some(cause) = cause {
        line("cause", cause);
    }
    line("next", next);
    if let Some(advice) = advice {
        line("you can", advice);
    }
    for words in also {
        line("also", words);
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_a_line_of_its_own() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let reason = Reason {
            is_well: false,
            state: "is not ready".into(),
            reason: Some("Unschedulable".into()),
            since: Timestamp::from_second(1_799_999_940).ok(),
            cause: Some("0/3 nodes are available".into()),
            next: "it is tried again by itself".into(),
            advice: Some("add nodes".into()),
            also: vec!["restarted once".into()],
        };
        assert_eq!(
            text(Style::Plain, "fix-login", &reason, now),
            "fix-login is not ready: Unschedulable\n  since    2027-01-15 07:59:00Z (1m ago)\n  \
             cause    0/3 nodes are available\n  next     it is tried again by itself\n  you can  add nodes\n  \
             also     restarted once\n"
        );
    }
}
