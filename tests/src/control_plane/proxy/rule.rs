//! Which requests meet which fault.

use std::time::Duration;

use crate::control_plane::proxy::request::Request;

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answered by the proxy; the API server never sees it.
    Refused { code: u16, reason: &'static str, retry_after: Option<u32> },
    /// Forwarded after this time.
    Late(Duration),
    /// Never answered, and never forwarded.
    Lost,
    /// Forwarded, and never answered: the client cannot know what became of it.
    AnswerLost,
    /// The connection ends before it is forwarded.
    Reset,
    /// The connection ends after it was forwarded, without an answer.
    AnswerReset,
}

impl Fault {
    pub fn conflict() -> Self {
        Self::Refused { code: 409, reason: "Conflict", retry_after: None }
    }

    pub fn already_exists() -> Self {
        Self::Refused { code: 409, reason: "AlreadyExists", retry_after: None }
    }

    pub fn forbidden() -> Self {
        Self::Refused { code: 403, reason: "Forbidden", retry_after: None }
    }

    /// For a watch: what it asks from is too old.
    pub fn expired() -> Self {
        Self::Refused { code: 410, reason: "Expired", retry_after: None }
    }

    /// Come back after so many seconds.
    pub fn too_many_requests(retry_after: u32) -> Self {
        Self::Refused { code: 429, reason: "TooManyRequests", retry_after: Some(retry_after) }
    }

    /// For a watch of an API server that cannot begin it with what there is.
    pub fn cannot_stream_lists() -> Self {
        Self::Refused { code: 422, reason: "sendInitialEvents is forbidden", retry_after: None }
    }

    pub fn internal_error() -> Self {
        Self::Refused { code: 500, reason: "InternalError", retry_after: None }
    }

    pub fn unavailable() -> Self {
        Self::Refused { code: 503, reason: "ServiceUnavailable", retry_after: None }
    }

    pub fn timeout() -> Self {
        Self::Refused { code: 504, reason: "Timeout", retry_after: None }
    }
}

/// By default every request that matches.
pub struct Rule {
    matches: Box<dyn Fn(&Request) -> bool + Send + Sync>,
    fault: Fault,
    /// How many are let through first.
    spared: usize,
    /// How many are hit after that.
    left: usize,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rule").field("fault", &self.fault).field("left", &self.left).finish_non_exhaustive()
    }
}

impl Rule {
    pub fn when(matches: impl Fn(&Request) -> bool + Send + Sync + 'static, fault: Fault) -> Self {
        Self { matches: Box::new(matches), fault, spared: 0, left: usize::MAX }
    }

    /// Such as `create` `pods` or `patch` `chatsessions/status`.
    pub fn on(verb: &'static str, resource: &'static str, fault: Fault) -> Self {
        Self::when(move |request| request.is(verb, resource), fault)
    }

    /// From this one on, counted from 1.
    #[must_use]
    pub fn from(self, nth: usize) -> Self {
        Self { spared: nth.saturating_sub(1), ..self }
    }

    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Self { left: times, ..self }
    }

    /// This one alone, counted from 1.
    #[must_use]
    pub fn nth(self, nth: usize) -> Self {
        self.from(nth).times(1)
    }

    /// Counts the request.
    pub(super) fn meets(&mut self, request: &Request) -> Option<Fault> {
        if self.left == 0 || !(self.matches)(request) {
            return None;
        }
        if self.spared > 0 {
            self.spared -= 1;
            return None;
        }
        self.left -= 1;
        Some(self.fault.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_hits_those_that_it_says() {
        let uri = "/api/v1/namespaces/n/pods".parse().unwrap();
        let request = Request::new(&http::Method::POST, &uri, &http::HeaderMap::new());
        let mut rule = Rule::on("create", "pods", Fault::Reset).from(2).times(2);
        let hit = (0..5).map(|_| rule.meets(&request).is_some()).collect::<Vec<_>>();
        assert_eq!(hit, [false, true, true, false, false]);
        assert_eq!(Rule::on("delete", "pods", Fault::Reset).meets(&request), None);
    }
}
