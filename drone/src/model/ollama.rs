//! Ollama's own chat API. Its imitation of OpenAI's ignores the context length, and then cuts the prompt silently.

mod answer;
mod request;

pub(super) use answer::read;
pub(super) use request::body;
