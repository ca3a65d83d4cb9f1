use std::collections::BTreeMap;

use serde_json::Value;

use crate::Difference;

/// Keys in which two recipes differ, by dotted path. A key that is in `free`, or below one that
/// is, may differ.
pub(crate) fn differences(before: &Value, now: &Value, free: &[&str]) -> Vec<Difference> {
    let (mut old, mut new) = (BTreeMap::new(), BTreeMap::new());
    flatten(String::new(), before, &mut old);
    flatten(String::new(), now, &mut new);
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let is_free = |key: &str| {
        free.iter().any(|free| key.strip_prefix(free).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    };
    keys.into_iter()
        .filter(|key| old.get(*key) != new.get(*key) && !is_free(key))
        .map(|key| Difference { key: key.clone(), before: old.get(key).cloned(), now: new.get(key).cloned() })
        .collect()
}

fn flatten(path: String, value: &Value, into: &mut BTreeMap<String, String>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| flatten(below(name), value, into)),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            items.iter().enumerate().for_each(|(place, value)| flatten(below(&place.to_string()), value, into))
        }
        // An absent optional value and an explicit null are the same.
        Value::Null => {}
        value => {
            into.insert(path, value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changed_new_and_absent_keys_are_named() {
        let before =
            json!({ "train": { "steps": 10, "log_every": 1 }, "data": [{ "path": "a" }], "seed": 1, "x": null });
        let now = json!({ "train": { "steps": 20, "log_every": 5 }, "data": [{ "path": "b" }], "name": "n" });
        let found = differences(&before, &now, &["train.log_every"]);
        let shown: Vec<String> = found.iter().map(Difference::to_string).collect();
        assert_eq!(
            shown,
            [
                "`data.0.path` (was \"a\", now \"b\")",
                "`name` (was absent, now \"n\")",
                "`seed` (was 1, now absent)",
                "`train.steps` (was 10, now 20)",
            ]
        );
        assert!(differences(&before, &before, &[]).is_empty());
    }
}
