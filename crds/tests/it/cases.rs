//! The table of what is taken and what is refused. Read here and by the tests with a real API server.

use serde::Deserialize;
use serde_json::{Value, json};

/// See `cases.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cases {
    pub(crate) rules: Vec<Case>,
    /// What only the real API server can be asked.
    pub(crate) schema: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    #[serde(rename = "case")]
    pub(crate) name: String,
    kind: String,
    was: Option<Value>,
    with: Value,
    #[serde(default)]
    pub(crate) at: String,
    /// None: it is taken.
    pub(crate) message: Option<String>,
}

impl Cases {
    #[expect(clippy::expect_used, reason = "clippy takes helpers of tests for no tests")]
    pub(crate) fn read() -> Self {
        serde_saphyr::from_str(include_str!("cases.yaml")).expect("cases.yaml is a table of cases")
    }
}

impl Case {
    pub(crate) fn kind(&self) -> &str {
        &self.kind
    }

    pub(crate) fn object(&self) -> Value {
        self.smallest_with(&self.with)
    }

    /// What is updated, where it is an update.
    pub(crate) fn old(&self) -> Option<Value> {
        self.was.as_ref().map(|was| self.smallest_with(was))
    }

    fn smallest_with(&self, patch: &Value) -> Value {
        let spec = match self.kind.as_str() {
            "ChatSession" => json!({ "user": "ada", "project": { "slug": "shop" } }),
            "DroneRegistration" => json!({ "user": "ada", "className": "default" }),
            _ => json!({ "image": "drone:1" }),
        };
        let mut object = json!({
            "apiVersion": "gadgetcode.dev/v1alpha1",
            "kind": self.kind,
            "metadata": { "name": "x" },
            "spec": spec,
        });
        merge(&mut object, patch);
        object
    }
}

/// RFC 7386.
fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (name, value) in fields {
        if let Some(object) = object.as_object_mut() {
            if value.is_null() {
                object.remove(name);
            } else {
                merge(object.entry(name).or_insert(Value::Null), value);
            }
        }
    }
}
