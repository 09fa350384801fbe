//! A call's arguments, read so that a model that got them wrong learns what would be right.

use std::path::{Component, Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::ToolError;

/// The arguments of one call.
pub(crate) struct Arguments<'a> {
    given: Option<&'a Map<String, Value>>,
    /// All parameters that the tool has, for hints.
    known: &'static [&'static str],
}

impl<'a> Arguments<'a> {
    pub(crate) fn new(value: &'a Value, known: &'static [&'static str]) -> Result<Self, ToolError> {
        match value {
            Value::Null => Ok(Self { given: None, known }),
            Value::Object(given) => Ok(Self { given: Some(given), known }),
            _ => Err(ToolError::new("INVALID_PARAMETER", "the arguments must be a JSON object")
                .hint(format!("Give an object with: {}.", known.join(", ")))),
        }
    }

    /// A text that must be there.
    pub(crate) fn text(&self, name: &str) -> Result<String, ToolError> {
        self.optional_text(name)?.ok_or_else(|| self.missing(name))
    }

    pub(crate) fn optional_text(&self, name: &str) -> Result<Option<String>, ToolError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(wrong(name, "a text", other)),
        }
    }

    /// A whole number that is not negative. Numbers written as text are taken: models do that.
    pub(crate) fn optional_count(&self, name: &str) -> Result<Option<u64>, ToolError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => match text.trim().parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(wrong(name, "a whole number, not negative", &Value::from(text.as_str()))),
            },
            Some(other) => match whole(other) {
                Some(number) => Ok(Some(number)),
                None => Err(wrong(name, "a whole number, not negative", other)),
            },
        }
    }

    /// A yes or no; no when absent.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, ToolError> {
        match self.value(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) if text == "true" => Ok(true),
            Some(Value::String(text)) if text == "false" => Ok(false),
            Some(other) => Err(wrong(name, "true or false", other)),
        }
    }

    pub(crate) fn list(&self, name: &str) -> Result<&'a [Value], ToolError> {
        match self.value(name) {
            None => Err(self.missing(name)),
            Some(Value::Array(items)) => Ok(items),
            Some(other) => Err(wrong(name, "a list", other)),
        }
    }

    fn missing(&self, name: &str) -> ToolError {
        let given: Vec<&str> = self.given.into_iter().flat_map(Map::keys).map(String::as_str).collect();
        let unknown: Vec<&str> = given.into_iter().filter(|given| !self.known.contains(given)).collect();
        let hint = if unknown.is_empty() {
            format!("Call again with `{name}`.")
        } else {
            format!(
                "The parameters are {}; {} is none of them. Call again with `{name}`.",
                self.known.join(", "),
                unknown.join(", ")
            )
        };
        ToolError::new("MISSING_PARAMETER", format!("`{name}` is missing")).about(name).hint(hint)
    }

    /// A parameter; `null` counts as absent.
    fn value(&self, name: &str) -> Option<&'a Value> {
        self.given.and_then(|given| given.get(name)).filter(|value| !value.is_null())
    }
}

fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let number = value.as_f64()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be whole and in range"
        )]
        let whole = (number.fract() == 0.0 && (0.0..9e15).contains(&number)).then_some(number as u64);
        whole
    })
}

fn wrong(name: &str, wanted: &str, got: &Value) -> ToolError {
    let kind = match got {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    ToolError::new("INVALID_PARAMETER", format!("`{name}` must be {wanted}, not {kind}"))
        .about(name)
        .hint(format!("Call again with `{name}` as {wanted}."))
}

/// A tool's own words from an intent. It comes from the journal, which an older version may have written.
pub(crate) fn read_plan<T: DeserializeOwned>(plan: Value) -> Result<T, ToolError> {
    serde_json::from_value(plan).map_err(|error| {
        ToolError::new("INTERNAL", format!("the planned call cannot be read: {error}"))
            .hint("Check whether it took effect and call again.")
    })
}

/// The path of a call below the project root as it was written, for deciding what may run in parallel; none when it
/// cannot be read.
pub(crate) fn named_path(arguments: &Value, name: &str) -> Option<PathBuf> {
    let text = arguments.get(name)?.as_str()?;
    let mut path = PathBuf::new();
    for component in Path::new(text).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                path.pop();
            }
            other => path.push(other),
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KNOWN: &[&str] = &["path", "limit", "all"];

    #[test]
    fn a_missing_parameter_is_named_together_with_what_was_given_instead() {
        let value = json!({ "file_path": "x" });
        let error = Arguments::new(&value, KNOWN).unwrap().text("path").unwrap_err();
        assert_eq!((error.code.as_str(), error.parameter.as_deref()), ("MISSING_PARAMETER", Some("path")));
        assert!(error.recovery_hint.unwrap().contains("file_path is none of them"));
    }

    #[test]
    fn numbers_and_flags_written_as_text_are_taken() {
        let value = json!({ "path": null, "limit": "20", "all": "true" });
        let arguments = Arguments::new(&value, KNOWN).unwrap();
        assert_eq!(arguments.optional_text("path"), Ok(None));
        assert_eq!(arguments.optional_count("limit"), Ok(Some(20)));
        assert_eq!(arguments.flag("all"), Ok(true));
    }

    #[test]
    fn a_wrong_type_is_refused_with_what_is_wanted() {
        for value in
            [json!({ "limit": -1 }), json!({ "limit": 1.5 }), json!({ "limit": [] }), json!({ "limit": "x" })]
        {
            let error = Arguments::new(&value, KNOWN).unwrap().optional_count("limit").unwrap_err();
            assert_eq!(error.code, "INVALID_PARAMETER", "{value}");
        }
        assert!(Arguments::new(&json!([1]), KNOWN).is_err());
    }
}
