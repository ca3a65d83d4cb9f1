//! `--set key=value`.

use toml::{Table, Value};

use crate::RecipeError;

/// Changes a recipe by `a.b.0.c=value`, where the value is TOML or else a text.
///
/// # Errors
/// [`RecipeError::Override`] if it is not `key=value`, or sets what cannot be.
pub fn apply(recipe: Table, given: &str) -> Result<Table, RecipeError> {
    let wrong = |problem: String| RecipeError::Override { given: given.to_owned(), problem };
    let (key, value) = given.split_once('=').ok_or_else(|| wrong("expected key=value".into()))?;
    let way: Vec<&str> = key.trim().split('.').collect();
    if way.contains(&"") {
        return Err(wrong("expected key=value, with a key such as `train.steps`".into()));
    }
    let mut recipe = Value::Table(recipe);
    set(&mut recipe, &way, read(value)).map_err(wrong)?;
    match recipe {
        Value::Table(recipe) => Ok(recipe),
        // `way` has a part at least, so that something in the table was set, not the table.
        other => Err(wrong(format!("a recipe is a table, not a {}", other.type_str()))),
    }
}

/// Whether it sets this entry, or one above or below it.
pub(crate) fn concerns(given: &str, way: &[String]) -> bool {
    let key = given.split('=').next().unwrap_or_default().trim();
    key.split('.').zip(way).all(|(a, b)| a == b)
}

fn read(value: &str) -> Value {
    let parsed = toml::from_str::<Table>(&format!("value = {value}")).ok().filter(|table| table.len() == 1);
    parsed.and_then(|mut table| table.remove("value")).unwrap_or_else(|| Value::String(value.to_owned()))
}

fn set(place: &mut Value, way: &[&str], value: Value) -> Result<(), String> {
    let Some((part, rest)) = way.split_first() else {
        *place = value;
        return Ok(());
    };
    let next = match place {
        Value::Table(table) => table.entry(*part).or_insert_with(|| Value::Table(Table::new())),
        Value::Array(items) => {
            let count = items.len();
            let item = part.parse::<usize>().ok().and_then(|at| items.get_mut(at));
            item.ok_or_else(|| format!("`{part}`: expected the number of one of {count} items, from 0"))?
        }
        other => return Err(format!("`{part}` is below a {}, not a table", other.type_str())),
    };
    set(next, rest, value)
}
