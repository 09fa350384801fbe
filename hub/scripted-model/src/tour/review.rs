//! The sub-agent of the tour: it reads the mended file and says what it sees.

use serde_json::json;

use super::toy::MENDED;
use crate::request::Request;
use crate::script::Step;

/// By this the tour knows its own sub-agent's prompt.
pub(super) const MARK: &str = "(a review of the demo tour)";

pub(super) fn prompt() -> String {
    format!("Read calc.sh and say in one sentence whether `mul` multiplies now {MARK}.")
}

/// The `nth` answer of the sub-agent, counted from 0.
pub(super) fn answer(request: &Request, nth: usize) -> Vec<Step> {
    if nth == 0 {
        return vec![
            Step::think("One file is enough for this review."),
            Step::call("read", json!({ "path": "calc.sh" })),
        ];
    }
    let is_mended = request.newest_results().iter().any(|text| text.contains(MENDED));
    vec![Step::say(if is_mended {
        "`mul` multiplies its two numbers now, and no other line has a reason to change."
    } else {
        "`mul` does not multiply: the change is not in the file."
    })]
}
