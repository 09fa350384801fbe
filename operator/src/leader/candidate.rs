//! Whether a lease may be taken. Pure: what was seen and when.

use std::time::Duration;

use tokio::time::Instant;

/// A lease as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) version: String,
    /// Nobody, once it was handed over.
    pub(super) holder: Option<String>,
    pub(super) transitions: i32,
    pub(super) duration: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Acquire,
    /// Until something changes, or until then.
    Wait(Option<Instant>),
}

#[derive(Debug)]
pub(super) struct Candidate {
    identity: String,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The watch has said nothing yet.
    Unknown,
    Missing,
    /// Seen first at that time in this version.
    Seen(View, Instant),
}

impl Candidate {
    pub(super) fn new(identity: &str) -> Self {
        Self { identity: identity.to_owned(), state: State::Unknown }
    }

    pub(super) fn see(&mut self, view: Option<View>, now: Instant) {
        self.state = match (view, &self.state) {
            (None, _) => State::Missing,
            (Some(view), State::Seen(before, since)) if before.version == view.version => {
                State::Seen(view, *since)
            }
            (Some(view), _) => State::Seen(view, now),
        };
    }

    pub(super) fn seen(&self) -> Option<&View> {
        match &self.state {
            State::Seen(view, _) => Some(view),
            State::Unknown | State::Missing => None,
        }
    }

    pub(super) fn step(&self, now: Instant) -> Step {
        match &self.state {
            State::Unknown => Step::Wait(None),
            State::Missing => Step::Acquire,
            State::Seen(view, since) => match &view.holder {
                None => Step::Acquire,
                // We ourselves, in an earlier life.
                Some(holder) if *holder == self.identity => Step::Acquire,
                Some(_) if now >= *since + view.duration => Step::Acquire,
                Some(_) => Step::Wait(Some(*since + view.duration)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(version: &str, holder: Option<&str>) -> View {
        View {
            version: version.to_owned(),
            holder: holder.map(ToOwned::to_owned),
            transitions: 0,
            duration: Duration::from_secs(4),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_taken_when_it_is_free_ours_or_silent_for_its_time() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut me = Candidate::new("me");
        assert_eq!(me.step(now), Step::Wait(None));
        me.see(None, now);
        assert_eq!(me.step(now), Step::Acquire);
        // It could not be made, and the watch has nothing to say about that.
        assert_eq!(me.step(after(1)), Step::Acquire);
        me.see(Some(lease("1", Some("other"))), now);
        assert_eq!(me.step(now), Step::Wait(Some(after(4))));
        // Seen again without a change: the time runs on.
        me.see(Some(lease("1", Some("other"))), after(2));
        assert_eq!(me.step(after(3)), Step::Wait(Some(after(4))));
        me.see(Some(lease("2", Some("other"))), after(3));
        assert_eq!(me.step(after(4)), Step::Wait(Some(after(7))));
        assert_eq!(me.step(after(7)), Step::Acquire);
        me.see(Some(lease("3", None)), after(4));
        assert_eq!(me.step(after(4)), Step::Acquire);
        me.see(Some(lease("4", Some("me"))), after(4));
        assert_eq!(me.step(after(4)), Step::Acquire);
    }
}
