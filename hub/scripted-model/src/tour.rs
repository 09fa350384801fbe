//! The demo tour: what a person sees who has no model yet. It is a script without any AI, and says so; but it drives
//! the real agent loop with the real tools over a small real repository.
//!
//! Each answer is read off the conversation alone, so a turn that is retried, or resumed after a crash, goes on at the
//! right place.

mod guide;
mod review;
mod toy;
mod verb;

pub use toy::{ToyError, write_toy_repository};

use crate::request::{Message, Request};
use crate::script::Step;
use verb::Verb;

/// The model's id at the demo provider.
pub const MODEL: &str = "demo/tour";

/// What to show beside the model's name wherever it stands.
pub const LABEL: &str = "Demo tour, scripted, no AI";

/// The next answer of the conversation.
pub fn answer(request: &Request) -> Vec<Step> {
    let Some(place) = request.newest_user(is_prompt) else { return help(request) };
    let Message::User { text } = &request.messages[place] else { return help(request) };
    let nth = request.answers_since(place);
    if text.contains(review::MARK) {
        return review::answer(request, nth);
    }
    match verb::parse(text) {
        Verb::Tour => guide::answer(request, place),
        Verb::Other => help(request),
        verb => match (verb.call(), nth) {
            (Some(call), 0) => vec![Step::think(verb.thought()), call],
            _ => vec![Step::say(verb.report(&request.newest_results().join("\n")))],
        },
    }
}

/// Notes that the agent loop adds to the conversation stand in tags; a person does not begin with one.
fn is_prompt(text: &str) -> bool {
    !text.trim_start().starts_with('<')
}

fn help(request: &Request) -> Vec<Step> {
    let mut steps = vec![Step::say(
        "I am a script: there is no AI behind this demo, so I cannot understand that. What I can do, and really do \
         with the agent's own tools in this workspace:\n\n\
         - `start the tour`: find and mend a bug in a small repository\n\
         - `list files`\n\
         - `run the tests`\n\
         - `show the diff`\n\
         - `search WORDS`\n\
         - `open FILE`\n\n",
    )];
    if request.tools.is_empty() {
        steps.push(Step::say("(No tools are on offer in this conversation, so here I can only talk.)\n\n"));
    }
    steps.push(Step::say(
        "For an agent that thinks, add a model: start with `gadget local --ollama http://127.0.0.1:11434` for models \
         on your own machine, or with `gadget local --openai URL --key-env NAME` for any endpoint that speaks \
         OpenAI's protocol, NAME being the environment variable that holds the key. Then choose the model in the \
         session.",
    ));
    steps
}

#[cfg(test)]
mod tests;
