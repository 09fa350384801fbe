//! The tour itself: a bug in the toy repository is looked for, mended, tested and reviewed. In an empty workspace the
//! repository is made first.

use serde_json::json;

use super::review;
use super::toy::{BROKEN, COMMIT, FILES, MENDED};
use super::verb::quote;
use crate::request::Request;
use crate::script::Step;

const RUN_TESTS: &str = "sh tests/run.sh";

/// What the tool `list` says of such a directory.
const EMPTY: &str = "the directory is empty";

/// The next answer of the tour whose prompt is at `prompt`.
pub(super) fn answer(request: &Request, prompt: usize) -> Vec<Step> {
    let results = request.newest_results().join("\n");
    let is_toy_made = request.has_called_since(prompt, "write");
    match request.answers_since(prompt) {
        0 => vec![
            Step::think(
                "The tour is a script, so this is no real thought. But everything that follows really happens. First I look what there is.",
            ),
            Step::say(
                "Welcome to the demo tour. It is scripted, there is no AI in it; the tools, the files, the shell and git are real. First: what is in this workspace?\n",
            ),
            Step::call("list", json!({})),
        ],
        1 if results.contains(EMPTY) => make_toy(request),
        2 if is_toy_made => vec![
            Step::say("They become the first commit.\n"),
            Step::call("shell_exec", json!({ "command": COMMIT })),
        ],
        nth => walk(request, if is_toy_made { nth - 3 } else { nth - 1 }, prompt, &results),
    }
}

fn make_toy(request: &Request) -> Vec<Step> {
    if !request.offers("write") {
        return vec![Step::say(
            "Nothing yet, and this session's mode does not let the agent write the toy repository that the tour works on. Start the tour in build mode.",
        )];
    }
    let files =
        FILES.iter().map(|(path, content)| Step::call("write", json!({ "path": path, "content": content })));
    let said = "Nothing yet, so I put a toy into it: a calculator for the shell, and its tests.\n";
    std::iter::once(Step::say(said)).chain(files).collect()
}

/// The `nth` answer where the toy is there, counted from 0.
fn walk(request: &Request, nth: usize, prompt: usize, results: &str) -> Vec<Step> {
    match nth {
        0 => vec![
            Step::think("The calculator and its tests belong together, so I read both at once."),
            Step::say(
                "A small calculator, and one of its tests fails. I read the program and its tests side by side.\n",
            ),
            Step::call("read", json!({ "path": "calc.sh" })),
            Step::call("read", json!({ "path": "tests/run.sh" })),
        ],
        1 if !results.contains("mul()") => vec![Step::say(
            "The tour needs its toy repository, and this workspace holds something else. Start a session with an empty project, or ask me to `list files`, `search WORDS` or `open FILE` here.",
        )],
        1 => vec![
            Step::say("Now where is multiplication defined and used?\n"),
            Step::call("grep", json!({ "pattern": "mul" })),
        ],
        2 => vec![
            Step::say("Let us see the test fail before anything is changed.\n"),
            Step::call("shell_exec", json!({ "command": RUN_TESTS })),
        ],
        3 if results.contains("all tests passed") => vec![Step::say(
            "The tests pass already: the bug has been mended in this workspace before. Run `git checkout calc.sh` in the workspace to bring it back, and start the tour again.",
        )],
        3 if !request.offers("edit") => vec![Step::say(format!(
            "One test fails:\n\n{}\nThe bug is in `calc.sh`: `mul` adds. This session's mode lets the agent look but not write, so the tour ends here; in build mode it goes on and mends it.",
            quote(results)
        ))],
        3 => vec![
            Step::think("mul adds instead of multiplying. One character has to change."),
            Step::say("As expected: `mul` adds. I change that one line.\n"),
            Step::call("edit", json!({ "path": "calc.sh", "old": BROKEN, "new": MENDED })),
        ],
        4 => vec![
            Step::say("And the tests again.\n"),
            Step::call("shell_exec", json!({ "command": RUN_TESTS })),
        ],
        5 if !results.contains("all tests passed") => vec![Step::say(format!(
            "The tests still fail, so something here is not as the tour left it. It stops rather than pretend:\n\n{}",
            quote(results)
        ))],
        5 => vec![
            Step::say("All tests pass. What exactly has changed?\n"),
            Step::call("shell_exec", json!({ "command": "git diff" })),
        ],
        6 if request.offers("subagent") => vec![
            Step::say("A second pair of eyes: a sub-agent that can only read reviews the change.\n"),
            Step::call("subagent", json!({ "agent_type": "explore", "prompt": review::prompt() })),
        ],
        6 | 7 if request.offers("todo") && !request.has_called_since(prompt, "todo") => vec![
            Step::say("The list of what was to be done:\n"),
            Step::call(
                "todo",
                json!({ "items": [
                { "text": "Find the failing test", "status": "completed" },
                { "text": "Mend mul in calc.sh", "status": "completed" },
                { "text": "Have the change reviewed", "status": "completed" },
            ] }),
            ),
        ],
        _ => vec![Step::say(
            "Done. `mul` multiplies, all tests pass, and the change waits uncommitted in this workspace.\n\n\
             What you have seen: thinking, parallel tool calls, search, a shell command that fails, an edit, a diff, a sub-agent and a to-do list, streamed through the same parts that a real model uses. Try to stop a turn, to reload the page in the middle of one, or to kill the agent's process: it goes on where it was.\n\n\
             Ask me to `show the diff`, `run the tests`, `list files`, `search WORDS` or `open FILE`. For an agent that thinks, add a model: `gadget local --ollama URL`, or `gadget local --openai URL --key-env NAME`.",
        )],
    }
}
