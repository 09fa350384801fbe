use serde_json::Value;

use super::*;
use crate::tool::Effect;

fn call(id: &str) -> Call {
    Call { id: id.to_owned(), name: "read".to_owned(), arguments: format!(r#"{{"path":"{id}"}}"#) }
}

fn answer(text: &str, calls: &[&str]) -> Body {
    let stop = if calls.is_empty() { Stop::End } else { Stop::ToolCalls };
    let calls = calls.iter().map(|id| call(id)).collect();
    let completion = Completion { text: text.to_owned(), calls, stop, ..Completion::default() };
    Body::Assistant { completion, text: None, usage: None }
}

fn intent(number: usize) -> Body {
    let intent =
        Intent { call_id: "c".into(), tool: "read".to_owned(), effect: Effect::Pure, plan: Value::Null };
    Body::Intent { call: number, intent, started: 1 }
}

fn result(number: usize, text: &str) -> Body {
    Body::Result { call: number, outcome: Outcome::success(text), started: None, ended: 2 }
}

fn stages(state: &AgentState) -> Vec<(usize, &'static str)> {
    let name = |stage: &Stage| match stage {
        Stage::Fresh => "fresh",
        Stage::Intended(_) => "intended",
        Stage::Child { .. } => "child",
        Stage::Done(_) => "done",
    };
    state.open.iter().map(|open| (open.number, name(&open.stage))).collect()
}

#[test]
fn an_empty_journal_asks_the_model() {
    assert_eq!(AgentState::of([]).next(), Next::Ask);
}

#[test]
fn an_answer_with_calls_runs_them_and_asks_again_when_all_have_results() {
    let mut state = AgentState::of(&[answer("", &["a", "b"])]);
    assert_eq!(state.next(), Next::Run);
    assert_eq!(stages(&state), [(0, "fresh"), (1, "fresh")]);
    state.apply(&intent(1));
    state.apply(&result(1, "two"));
    assert_eq!(stages(&state), [(0, "fresh"), (1, "done")]);
    assert_eq!(state.next(), Next::Run);
    assert_eq!(state.messages(), []);
    state.apply(&result(0, "one"));
    assert_eq!(state.next(), Next::Ask);
    // In the model's order, not in that of their ends.
    let contents: Vec<&str> = state
        .messages()
        .iter()
        .filter_map(|message| match message {
            Message::ToolResult { content, .. } => Some(content.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(contents, ["one", "two"]);
    assert_eq!(state.calls, 2);
}

#[test]
fn an_answer_without_calls_is_the_answer() {
    let state = AgentState::of(&[answer("", &["a"]), result(0, "x"), answer("done", &[])]);
    assert_eq!(state.next(), Next::Answered(Stop::End));
    assert_eq!(state.last_text, "done");
}

#[test]
fn a_cancel_comes_before_everything_but_the_close() {
    let mut state = AgentState::of(&[answer("", &["a"]), Body::Cancel]);
    assert_eq!(state.next(), Next::Cancelled);
    state.apply(&Body::TurnClose { status: ChatTurnStatus::Aborted, message: None, complete: Some(9) });
    assert_eq!(state.next(), Next::Closed);
}

#[test]
fn going_round_in_circles_ends_the_turn() {
    let mut records = Vec::new();
    for number in 0..4 {
        records.push(answer("", &["same"]));
        records.push(result(number, "same"));
    }
    assert_eq!(AgentState::of(&records[..6]).next(), Next::Ask);
    assert!(matches!(AgentState::of(&records).next(), Next::Stuck(_)));
}

#[test]
fn history_of_a_stopped_turn_has_a_result_for_every_call() {
    let state =
        AgentState::of(&[answer("look", &["a", "b", "c"]), intent(0), result(1, "two"), Body::Cancel]);
    let history = state.into_history();
    assert_eq!(history.len(), 4);
    let errors: Vec<bool> = history
        .iter()
        .filter_map(|message| match message {
            Message::ToolResult { is_error, .. } => Some(*is_error),
            _ => None,
        })
        .collect();
    assert_eq!(errors, [true, false, true]);
}
