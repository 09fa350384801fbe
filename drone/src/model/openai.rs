//! OpenAI chat completions, as OpenAI and the many servers that imitate it speak it.

mod answer;
mod request;

pub(super) use answer::read;
pub(super) use request::body;
