//! The smallest JSON merge patch (RFC 7396) that turns one value into another.

use serde::Serialize;
use serde_json::{Map, Value};

/// `None` when there is nothing to change. What both leave out is not touched.
pub fn diff<T: Serialize>(from: &T, to: &T) -> serde_json::Result<Option<Value>> {
    let (from, to) = (serde_json::to_value(from)?, serde_json::to_value(to)?);
    Ok(between(&from, &to))
}

fn between(from: &Value, to: &Value) -> Option<Value> {
    let (Value::Object(from), Value::Object(to)) = (from, to) else {
        return (from != to).then(|| to.clone());
    };
    let mut patch = Map::new();
    for (key, value) in to {
        let change = match from.get(key) {
            Some(before) => between(before, value),
            None => Some(value.clone()),
        };
        if let Some(change) = change {
            patch.insert(key.clone(), change);
        }
    }
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs_is_in_the_patch() {
        let from = json!({ "a": 1, "b": { "c": 1, "d": 2 }, "e": [1, 2], "gone": true });
        let to = json!({ "a": 1, "b": { "c": 3, "d": 2 }, "e": [1], "new": { "x": 1 } });
        let patch = json!({ "b": { "c": 3 }, "e": [1], "new": { "x": 1 }, "gone": null });
        assert_eq!(diff(&from, &to).unwrap(), Some(patch));
        assert_eq!(diff(&from, &from).unwrap(), None);
    }

    /// RFC 7396, section 2.
    fn apply(target: &mut Value, patch: &Value) {
        let Value::Object(patch) = patch else {
            *target = patch.clone();
            return;
        };
        if !target.is_object() {
            *target = json!({});
        }
        let target = target.as_object_mut().unwrap();
        for (key, value) in patch {
            if value.is_null() {
                target.remove(key);
            } else {
                apply(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), (0..4).prop_map(Value::from)];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-c]", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_patch_makes_one_of_the_other(from in value(), to in value()) {
            let mut patched = from.clone();
            if let Some(patch) = between(&from, &to) {
                apply(&mut patched, &patch);
            }
            prop_assert_eq!(patched, to);
        }
    }
}
