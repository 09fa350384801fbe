//! Which model a turn uses. Pure.

use protocol::drone::ModelTarget;
use protocol::error::{Code, Refusal};
use protocol::value::Sdk;
use serde_json::Value;

use crate::store::{ProviderModel, ProviderRecord};

/// A provider, and a model of it where one is named.
pub(super) type Choice<'a> = (&'a str, Option<&'a str>);

/// Who wants what, the strongest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wish<'a> {
    /// What the chat session has chosen: holds, or the prompt is refused.
    pub(super) session: Option<Choice<'a>>,
    /// What rules say, the first one first: each is passed over where it cannot be had.
    pub(super) rules: Vec<Choice<'a>>,
    /// What the user prefers: passed over likewise.
    pub(super) preference: Option<Choice<'a>>,
    /// What the hub was started with.
    pub(super) default: Option<Choice<'a>>,
}

/// The `provider` and `model` of a user's preferences.
pub(super) fn preference(preferences: &Value) -> Option<Choice<'_>> {
    Some((preferences.get("provider")?.as_str()?, preferences.get("model").and_then(Value::as_str)))
}

/// The model for a turn. `providers` are in the order of their names.
pub(super) fn choose(providers: &[&ProviderRecord], wish: &Wish<'_>) -> Result<ModelTarget, Refusal> {
    let Wish { session, rules, preference, default } = wish;
    if let Some(choice) = session {
        return find(providers, *choice);
    }
    for choice in rules.iter().chain(preference).chain(default) {
        if let Ok(target) = find(providers, *choice) {
            return Ok(target);
        }
    }
    // A script must not answer by itself where a real model is set up, working or not.
    let has_real = providers.iter().any(|record| record.sdk != Sdk::Demo && record.enabled);
    providers
        .iter()
        .filter(|record| record.enabled && (record.sdk != Sdk::Demo || !has_real))
        .find_map(|record| first_model(record).map(|model| target(record, model)))
        .ok_or_else(|| {
            Refusal::new(
                Code::NoModel,
                "no model is available: add a provider, or probe the ones that are there to find their models",
            )
        })
}

fn find(providers: &[&ProviderRecord], (name, model): Choice<'_>) -> Result<ModelTarget, Refusal> {
    let no = |message: String| Refusal::new(Code::NoModel, message);
    let record = providers
        .iter()
        .find(|record| record.name == name)
        .ok_or_else(|| no(format!("there is no provider {name:?}; choose another model for this session")))?;
    if !record.enabled {
        return Err(no(format!(
            "the provider {name:?} is switched off; choose another model for this session"
        )));
    }
    let Some(id) = model else {
        return first_model(record).map(|model| target(record, model)).ok_or_else(|| {
            no(format!("no model of the provider {name:?} is known; name one, or probe the provider"))
        });
    };
    match record.models.iter().find(|model| model.id == id) {
        Some(model) if model.removed => Err(no(format!(
            "the provider {name:?} has no model {id:?} any more; choose another model for this session"
        ))),
        Some(model) => Ok(target(record, model)),
        // Some endpoints list nothing, or not everything that they serve.
        None => Ok(target(record, &unlisted(id))),
    }
}

fn first_model(record: &ProviderRecord) -> Option<&ProviderModel> {
    record.models.iter().find(|model| !model.removed)
}

fn unlisted(id: &str) -> ProviderModel {
    ProviderModel {
        id: id.to_owned(),
        name: id.to_owned(),
        capabilities: protocol::document::Capabilities { thinking: false, tools: true, vision: false },
        context_window: None,
        max_output_tokens: None,
        removed: false,
    }
}

fn target(record: &ProviderRecord, model: &ProviderModel) -> ModelTarget {
    ModelTarget {
        provider: record.name.clone(),
        dialect: record.sdk.dialect(),
        model: model.id.clone(),
        capabilities: model.capabilities,
        context_window: model.context_window,
        max_output_tokens: model.max_output_tokens,
        simulated: record.sdk == Sdk::Demo,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ProviderKey;

    fn record(name: &str, sdk: Sdk, models: &[&str]) -> ProviderRecord {
        ProviderRecord {
            name: name.into(),
            sdk,
            base_url: None,
            key: ProviderKey::None,
            enabled: true,
            models: models.iter().map(|id| unlisted(id)).collect(),
            created_at: jiff::Timestamp::UNIX_EPOCH,
            probed_at: None,
            probe_error: None,
        }
    }

    fn chosen(providers: &[ProviderRecord], wish: &Wish<'_>) -> Result<String, Code> {
        choose(&providers.iter().collect::<Vec<_>>(), wish)
            .map(|target| format!("{}/{}", target.provider, target.model))
            .map_err(|refusal| refusal.code)
    }

    #[test]
    fn the_session_s_choice_holds_or_is_refused() {
        let providers = [record("a", Sdk::OpenAi, &["x", "y"])];
        let wish = |choice| Wish { session: Some(choice), ..Wish::default() };
        assert_eq!(chosen(&providers, &wish(("a", Some("y")))), Ok("a/y".into()));
        assert_eq!(chosen(&providers, &wish(("a", Some("unlisted")))), Ok("a/unlisted".into()));
        assert_eq!(chosen(&providers, &wish(("gone", Some("y")))), Err(Code::NoModel));
    }

    #[test]
    fn a_preference_that_cannot_be_had_is_passed_over() {
        let providers = [record("a", Sdk::OpenAi, &["x"])];
        let wish = Wish {
            rules: vec![("gone", None)],
            preference: Some(("gone", None)),
            default: Some(("a", None)),
            session: None,
        };
        assert_eq!(chosen(&providers, &wish), Ok("a/x".into()));
    }

    #[test]
    fn a_rule_goes_before_what_a_user_prefers() {
        let providers = [record("a", Sdk::OpenAi, &["x"]), record("b", Sdk::OpenAi, &["y"])];
        let wish = Wish { rules: vec![("b", None)], preference: Some(("a", None)), ..Wish::default() };
        assert_eq!(chosen(&providers, &wish), Ok("b/y".into()));
    }

    #[test]
    fn a_provider_that_is_off_and_a_model_that_is_gone_are_refused() {
        let mut off = record("a", Sdk::OpenAi, &["x"]);
        off.enabled = false;
        let mut gone = record("b", Sdk::OpenAi, &["x"]);
        gone.models[0].removed = true;
        let wish = |name| Wish { session: Some((name, Some("x"))), ..Wish::default() };
        assert_eq!(chosen(&[off, gone.clone()], &wish("a")), Err(Code::NoModel));
        assert_eq!(chosen(&[gone], &wish("b")), Err(Code::NoModel));
    }

    #[test]
    fn the_script_never_steps_in_for_a_real_model() {
        let demo = record("demo", Sdk::Demo, &["tour"]);
        let unprobed = record("real", Sdk::OpenAi, &[]);
        assert_eq!(chosen(&[demo.clone(), unprobed], &Wish::default()), Err(Code::NoModel));
        assert_eq!(chosen(&[demo], &Wish::default()), Ok("demo/tour".into()));
    }
}
