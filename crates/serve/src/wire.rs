//! What JSON may hold here: nothing is kept of what is too long or of the wrong kind, so that a
//! body takes no more memory than a few times its length.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use sensorium_contract::Value;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

/// The most columns of a row.
const COLUMNS: usize = 4096;

/// A list of at most `MOST` elements.
pub(crate) struct Few<T, const MOST: usize>(pub Vec<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Few<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FewVisitor(PhantomData))
    }
}

struct FewVisitor<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for FewVisitor<T, MOST> {
    type Value = Few<T, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "a list of at most {MOST}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        few::<T, A, MOST>(list).map(Few)
    }
}

/// The elements of a list, `MOST` at most.
pub(crate) fn few<'de, T: Deserialize<'de>, A: SeqAccess<'de>, const MOST: usize>(
    mut list: A,
) -> Result<Vec<T>, A::Error> {
    let mut found = Vec::new();
    while let Some(element) = list.next_element()? {
        if found.len() == MOST {
            return Err(A::Error::custom(format!("expected at most {MOST}, found more")));
        }
        found.push(element);
    }
    Ok(found)
}

/// The cells of a row that hold something.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row(pub BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RowVisitor)
    }
}

struct RowVisitor;

impl<'de> Visitor<'de> for RowVisitor {
    type Value = Row;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of texts, numbers, truth values and nulls")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut cells: A) -> Result<Row, A::Error> {
        let mut row = BTreeMap::new();
        while let Some((column, Cell(value))) = cells.next_entry::<String, Cell>()? {
            if row.len() == COLUMNS {
                return Err(A::Error::custom(format!("expected at most {COLUMNS} columns, found more")));
            }
            row.extend(value.map(|value| (column, value)));
        }
        Ok(Row(row))
    }
}

/// One cell; nothing if it is null or blank.
struct Cell(Option<Value>);

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CellVisitor)
    }
}

struct CellVisitor;

impl Visitor<'_> for CellVisitor {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a text, a number, a truth value or null")
    }

    fn visit_unit<E: Error>(self) -> Result<Cell, E> {
        Ok(Cell(None))
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Cell, E> {
        Ok(Cell(Some(Value::Text(truth.to_string()))))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Cell, E> {
        self.visit_f64(number as f64)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Cell, E> {
        self.visit_f64(number as f64)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Cell, E> {
        Ok(Cell(Some(Value::Number(number))))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Cell, E> {
        let text = text.trim();
        Ok(Cell((!text.is_empty()).then(|| Value::Text(text.to_owned()))))
    }
}
