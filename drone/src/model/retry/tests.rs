use proptest::prelude::*;

use super::*;

fn status(code: u16, retry_after: Option<Duration>) -> Fault {
    Fault::Status { code, message: String::new(), retry_after }
}

#[test]
fn what_may_pass_is_tried_again_and_what_may_not_is_not() {
    let limit = Duration::from_secs(1);
    let io = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let passing = [
        status(408, None),
        status(409, None),
        status(425, None),
        status(429, None),
        status(500, None),
        status(503, None),
        status(529, None),
        Fault::Truncated,
        Fault::Stalled { clock: super::super::fault::Clock::NextDelta, limit },
        Fault::Frame { message: String::new() },
        Fault::Connect { source: io.into() },
    ];
    for fault in passing {
        let decision = Retries::new(Policy::default()).decide(&fault, 0.5);
        assert!(matches!(decision, Decision::Retry { attempt: 1, budget: 8, .. }), "{fault:?}: {decision:?}");
    }
    for fault in [
        status(400, None),
        status(404, None),
        Fault::Auth { code: 401, message: String::new() },
        Fault::Auth { code: 402, message: String::new() },
        Fault::Auth { code: 403, message: String::new() },
    ] {
        let decision = Retries::new(Policy::default()).decide(&fault, 0.5);
        assert_eq!(decision, Decision::Stop(Reason::Final), "{fault:?}");
    }
}

#[test]
fn a_hub_that_is_away_costs_nothing_of_the_budget() {
    let mut retries = Retries::new(Policy { budget: 1, ..Policy::default() });
    for _ in 0..100 {
        assert_eq!(retries.decide(&Fault::HubAway { reason: String::new() }, 0.0), Decision::AwaitHub);
    }
    assert!(matches!(retries.decide(&Fault::Truncated, 0.0), Decision::Retry { attempt: 1, .. }));
    let spent = Decision::Stop(Reason::BudgetSpent { retries: 1 });
    assert_eq!(retries.decide(&Fault::Truncated, 0.0), spent);
}

#[test]
fn an_overflow_asks_for_a_shorter_conversation() {
    let fault = Fault::Overflow { message: String::new() };
    assert_eq!(Retries::new(Policy::default()).decide(&fault, 0.0), Decision::Shorten);
}

#[test]
fn an_endpoint_that_asks_for_hours_is_not_waited_for() {
    let wait = Duration::from_hours(2);
    let decision = Retries::new(Policy::default()).decide(&status(429, Some(wait)), 0.0);
    assert_eq!(decision, Decision::Stop(Reason::WaitTooLong { wait }));
}

#[test]
fn retry_after_is_read_as_seconds_and_as_a_date() {
    let now: Timestamp = "1994-11-06T08:49:07Z".parse().unwrap();
    for (value, seconds) in [
        ("17", Some(17.0)),
        (" 0.5 ", Some(0.5)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30.0)),
        ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0.0)),
        ("soon", None),
        ("-3", None),
        ("", None),
    ] {
        assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs_f64), "{value:?}");
    }
}

#[test]
fn a_wait_in_words_is_understood() {
    for (message, seconds) in [
        ("Please try again in 17s.", Some(17.0)),
        ("Limit reached. Please try again in 1m30.5s. Visit …", Some(90.5)),
        ("try again in 20ms", Some(0.02)),
        ("Retry after 2 minutes", Some(120.0)),
        ("try again in a while", None),
        ("nothing", None),
    ] {
        assert_eq!(wait_in_words(message), seconds.map(Duration::from_secs_f64), "{message:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn waits_grow_to_the_cap_never_undercut_what_was_asked_and_end_with_the_budget(
        random in prop::collection::vec(0.0_f64..=1.0, 9),
        asked in prop::option::of(0_u64..600),
    ) {
        let policy = Policy::default();
        let asked = asked.map(Duration::from_secs);
        let mut retries = Retries::new(policy);
        for (at, random) in (0_u32..).zip(&random[..8]) {
            let ceiling = (policy.base * 2_u32.pow(at)).min(policy.cap);
            let Decision::Retry { after, attempt, budget } = retries.decide(&status(429, asked), *random) else {
                return Err(TestCaseError::fail("stopped too early"));
            };
            prop_assert_eq!((attempt, budget), (at + 1, 8));
            prop_assert!(after >= asked.unwrap_or_default());
            prop_assert!(after <= asked.unwrap_or_default() + ceiling);
        }
        let spent = Decision::Stop(Reason::BudgetSpent { retries: 8 });
        prop_assert_eq!(retries.decide(&status(429, asked), random[8]), spent);
    }
}
