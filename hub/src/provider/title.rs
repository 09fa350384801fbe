//! A name for a session that has none yet, from its first prompt: by the model where there is one, else from the words.

use std::time::Duration;

use protocol::drone::ModelTarget;
use protocol::value::Dialect;
use serde_json::{Value, json};
use url::Url;

use crate::provider::probe::below;
use crate::provider::{Provider, Providers};

/// A name that comes later than this helps nobody.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Characters.
const LONGEST: usize = 60;
/// How much of a prompt the model is shown, in characters.
const SHOWN: usize = 2_000;
/// What a drone asks Ollama for when nothing is known of the model. The same here: another size would load the model anew,
/// and Ollama's own cuts long prompts off without a word.
const OLLAMA_CONTEXT: u64 = 32_768;
const INSTRUCTION: &str = "Write a title of at most six words for a conversation that begins with the user's message. \
    Answer with the title alone: no quotes, no full stop, in the language of the message.";

/// Never fails: without a model, or with one that does not answer well, the words decide.
pub async fn title(providers: &Providers, target: &ModelTarget, prompt: &str) -> String {
    let by_model = match providers.get(&target.provider) {
        Some(provider) if !target.simulated => ask(providers.http(), &provider, target, prompt).await,
        _ => None,
    };
    by_model.as_deref().and_then(clean).unwrap_or_else(|| from_words(prompt))
}

async fn ask(
    client: &reqwest::Client,
    provider: &Provider,
    target: &ModelTarget,
    prompt: &str,
) -> Option<String> {
    let (url, body) = request(provider.base_url.as_ref()?, target, prompt)?;
    let mut request = client.post(url).json(&body).timeout(TIMEOUT);
    if let Some(key) = provider.key.as_ref().ok()? {
        request = request.header(http::header::AUTHORIZATION, key.bearer());
    }
    let answer: Value = request.send().await.ok()?.error_for_status().ok()?.json().await.ok()?;
    let text = answer.pointer("/choices/0/message/content").or_else(|| answer.pointer("/message/content"))?;
    text.as_str().map(str::to_owned)
}

/// Where and what to ask; none: not in this dialect.
fn request(base_url: &Url, target: &ModelTarget, prompt: &str) -> Option<(Url, Value)> {
    let shown: String = prompt.chars().take(SHOWN).collect();
    let messages =
        json!([{ "role": "system", "content": INSTRUCTION }, { "role": "user", "content": shown }]);
    match target.dialect {
        Dialect::OpenAi => Some((
            below(base_url, &["chat", "completions"]),
            json!({ "model": target.model, "messages": messages, "stream": false }),
        )),
        Dialect::Ollama => Some((
            below(base_url, &["api", "chat"]),
            json!({
                "model": target.model, "messages": messages, "stream": false, "think": false,
                "options": { "num_ctx": target.context_window.unwrap_or(OLLAMA_CONTEXT) },
            }),
        )),
        Dialect::OpenAiResponses | Dialect::Anthropic => None,
    }
}

/// A model's answer made fit for a list; none: it is not a title.
fn clean(answer: &str) -> Option<String> {
    // A model that thinks aloud puts its thoughts before the answer.
    let answer = answer.rsplit("</think>").next().unwrap_or(answer);
    let line = answer.lines().map(str::trim).find(|line| !line.is_empty())?;
    let line = line.trim_start_matches('#').trim_start().trim_start_matches("Title:").trim();
    let line = line.trim_matches(['"', '\'', '*', '`', '“', '”']).trim_end_matches('.').trim();
    (!line.is_empty() && line.chars().count() <= 2 * LONGEST).then(|| shorten(line))
}

/// The first sentence of a prompt, shortened between words.
fn from_words(prompt: &str) -> String {
    let line =
        prompt.lines().map(str::trim).find(|line| line.chars().any(char::is_alphanumeric)).unwrap_or("");
    let title = shorten(first_sentence(line).trim_end_matches(['.', '!', ';', ',', ':']));
    if title.is_empty() { "Untitled".to_owned() } else { title }
}

/// Up to the first mark that ends a sentence: one that white space follows, so that file names stay whole.
fn first_sentence(line: &str) -> &str {
    let ends = |(at, mark): (usize, char)| {
        let rest = &line[at + mark.len_utf8()..];
        (matches!(mark, '.' | '!' | '?' | ';') && rest.starts_with(char::is_whitespace))
            .then(|| &line[..line.len() - rest.len()])
    };
    line.char_indices().find_map(ends).unwrap_or(line)
}

fn shorten(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let whole = words.join(" ");
    if whole.chars().count() <= LONGEST {
        return whole;
    }
    let mut title = String::new();
    for word in words {
        if title.chars().count() + word.chars().count() + 2 > LONGEST {
            break;
        }
        if !title.is_empty() {
            title.push(' ');
        }
        title.push_str(word);
    }
    if title.is_empty() {
        title = whole.chars().take(LONGEST - 1).collect();
    }
    title.push('…');
    title
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ollama_is_asked_for_the_context_that_the_drone_asks_for() {
        let target = |context_window| ModelTarget {
            provider: "o".into(),
            dialect: Dialect::Ollama,
            model: "m".into(),
            capabilities: protocol::document::Capabilities::default(),
            context_window,
            max_output_tokens: None,
            simulated: false,
        };
        let base = Url::parse("http://localhost:11434").unwrap();
        for (known, asked) in [(None, 32_768), (Some(8_192), 8_192)] {
            let (_, body) = request(&base, &target(known), "hi").unwrap();
            assert_eq!(body["options"]["num_ctx"], asked);
        }
    }

    #[test]
    fn words_give_the_first_sentence_of_the_first_line_that_says_something() {
        for (prompt, title) in [
            ("Fix the login test. It fails on Mondays.", "Fix the login test"),
            ("---\n  why is   this slow?\nmore", "why is this slow?"),
            ("…", "Untitled"),
            ("see src/main.rs", "see src/main.rs"),
        ] {
            assert_eq!(from_words(prompt), title);
        }
    }

    #[test]
    fn a_long_sentence_is_cut_between_words() {
        let title = from_words(&"refactor everything thoroughly ".repeat(10));
        assert_eq!(title, "refactor everything thoroughly refactor everything…");
        assert_eq!(from_words(&"x".repeat(500)).chars().count(), LONGEST);
    }

    #[test]
    fn a_model_s_answer_loses_its_ornaments() {
        for (answer, title) in [
            ("\"Fix login test.\"\n", Some("Fix login test")),
            ("<think>hm</think>\n\n# Title: **Speed up start**", Some("Speed up start")),
            ("  \n", None),
            ("I would be happy to help you with that! ".repeat(9).as_str(), None),
        ] {
            assert_eq!(clean(answer).as_deref(), title, "{answer}");
        }
    }
}
