//! Texts, cells and JSON to values. The same content gives the same value from each.

use sensorium_contract::{Fault, Value};

/// Names and values of a record before they are mapped.
pub(crate) type Raw = Vec<(String, Value)>;

/// A text without the blanks around it; nothing if nothing is left.
pub(crate) fn text(text: &str) -> Option<Value> {
    let text = text.trim();
    (!text.is_empty()).then(|| Value::Text(text.to_owned()))
}

/// A cell of a text table: a number if it is written as JSON writes one, nothing if it says so.
pub(crate) fn cell(cell: &str) -> Option<Value> {
    let cell = cell.trim();
    match cell {
        "" | "?" | "NA" | "NaN" | "null" => None,
        _ => Some(number(cell).map_or_else(|| Value::Text(cell.to_owned()), Value::Number)),
    }
}

fn number(text: &str) -> Option<f64> {
    let numeric = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    let is_json = || serde_json::from_str::<serde_json::Number>(text).is_ok();
    (numeric && is_json()).then(|| text.parse().ok()).flatten().filter(|number: &f64| number.is_finite())
}

/// The value of bytes that should be UTF-8.
pub(crate) fn utf8<'a>(field: &str, bytes: &'a [u8]) -> Result<&'a str, Fault> {
    std::str::from_utf8(bytes)
        .map_err(|error| Fault::new(field, "text is not UTF-8", format!("byte {}", error.valid_up_to())))
}

/// The members of a JSON object as fields, nested objects' with dotted names.
pub(crate) fn flatten(prefix: &str, object: serde_json::Map<String, serde_json::Value>, fields: &mut Raw) {
    for (name, member) in object {
        let name = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match member {
            serde_json::Value::Object(inner) => flatten(&name, inner, fields),
            other => fields.extend(json(other).map(|value| (name, value))),
        }
    }
}

/// A JSON value; an object (which only stands within a list here) as its text.
pub(crate) fn json(value: serde_json::Value) -> Option<Value> {
    match value {
        serde_json::Value::Null => None,
        serde_json::Value::Bool(truth) => Some(Value::Text(truth.to_string())),
        serde_json::Value::Number(number) => number.as_f64().map(Value::Number),
        serde_json::Value::String(string) => text(&string),
        serde_json::Value::Array(values) => list(values.into_iter().filter_map(json).collect()),
        object @ serde_json::Value::Object(_) => Some(Value::Text(object.to_string())),
    }
}

/// Several values; nothing if there are none.
pub(crate) fn list(values: Vec<Value>) -> Option<Value> {
    (!values.is_empty()).then_some(Value::List(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_a_number_only_as_json_writes_one() {
        for (text, number) in [("0", 0.0), ("-1.5", -1.5), ("1e3", 1000.0), (" 54.0 ", 54.0), ("0.1", 0.1)] {
            assert_eq!(cell(text), Some(Value::Number(number)), "{text}");
        }
        for text in ["007", "+1", ".5", "1.", "-", "1,5", "0x1", "1e999", "inf", "1 2", "nan"] {
            assert_eq!(cell(text), Some(Value::Text(text.into())), "{text}");
        }
        for absent in ["", " ", "?", " ? ", "NA", "NaN", "null"] {
            assert_eq!(cell(absent), None, "{absent:?}");
        }
    }

    #[test]
    fn json_objects_flatten() {
        let serde_json::Value::Object(object) =
            serde_json::json!({"a": {"b": 1, "c": {"d": true}}, "e": null, "f": ["x", null, 2], "g": [], "h": " "})
        else {
            unreachable!()
        };
        let mut fields = Raw::new();
        flatten("", object, &mut fields);
        let expected = vec![
            ("a.b".into(), Value::Number(1.0)),
            ("a.c.d".into(), Value::Text("true".into())),
            ("f".into(), Value::List(vec![Value::Text("x".into()), Value::Number(2.0)])),
        ];
        assert_eq!(fields, expected);
    }
}
