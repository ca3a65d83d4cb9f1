//! Cells of Arrow columns to values.

use arrow_array::{
    Array, ArrayRef, StructArray,
    cast::AsArray,
    types::{
        Decimal128Type, Decimal256Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
        Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, DataType};
use sensorium_contract::{Fault, Value};

use crate::{
    file::Confined,
    value::{Raw, list, text},
};

/// What a cell may need besides the column.
#[derive(Clone, Copy)]
struct Reading<'a> {
    field: &'a str,
    folder: &'a Confined,
    limit: u64,
}

/// A cell as fields: a struct's members get dotted names, unless it is a file with its bytes.
pub(crate) fn flatten(
    field: &str,
    column: &ArrayRef,
    row: usize,
    folder: &Confined,
    limit: u64,
    fields: &mut Raw,
) -> Result<(), Fault> {
    let members = column.as_struct_opt().filter(|members| !is_file(members));
    let Some(members) = members else {
        let value = Reading { field, folder, limit }.value(column, row)?;
        fields.extend(value.map(|value| (field.to_owned(), value)));
        return Ok(());
    };
    if members.is_null(row) {
        return Ok(());
    }
    for (member, column) in members.fields().iter().zip(members.columns()) {
        flatten(&format!("{field}.{}", member.name()), column, row, folder, limit, fields)?;
    }
    Ok(())
}

/// A cell as a key: text or a whole number.
pub(crate) fn key(column: &ArrayRef, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    let text = display(column, row).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Whether this is how the `datasets` library writes pictures and sounds: `{bytes, path}`.
fn is_file(members: &StructArray) -> bool {
    let bytes = members.column_by_name("bytes").is_some_and(|bytes| {
        matches!(bytes.data_type(), DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::Null)
    });
    bytes && members.column_by_name("path").is_some()
}

impl Reading<'_> {
    fn value(self, array: &ArrayRef, row: usize) -> Result<Option<Value>, Fault> {
        if array.is_null(row) {
            return Ok(None);
        }
        Ok(match array.data_type() {
            DataType::Null => None,
            DataType::Boolean => Some(Value::Text(array.as_boolean().value(row).to_string())),
            DataType::Utf8 => text(array.as_string::<i32>().value(row)),
            DataType::LargeUtf8 => text(array.as_string::<i64>().value(row)),
            DataType::Utf8View => text(array.as_string_view().value(row)),
            DataType::Binary => self.bytes(array.as_binary::<i32>().value(row))?,
            DataType::LargeBinary => self.bytes(array.as_binary::<i64>().value(row))?,
            DataType::BinaryView => self.bytes(array.as_binary_view().value(row))?,
            DataType::FixedSizeBinary(_) => self.bytes(array.as_fixed_size_binary().value(row))?,
            DataType::List(_) => self.list(&array.as_list::<i32>().value(row))?,
            DataType::LargeList(_) => self.list(&array.as_list::<i64>().value(row))?,
            DataType::FixedSizeList(..) => self.list(&array.as_fixed_size_list().value(row))?,
            DataType::Struct(_) if is_file(array.as_struct()) => self.file(array.as_struct(), row)?,
            DataType::Dictionary(..) => {
                let dictionary = array.as_any_dictionary();
                match number(dictionary.keys(), row) {
                    Some(place) => self.value(dictionary.values(), place as usize)?,
                    None => None,
                }
            }
            _ => match number(array, row) {
                Some(number) => (!number.is_nan()).then_some(Value::Number(number)),
                // Times in ISO 8601; maps and the like as Arrow writes them.
                None => display(array, row).map(|shown| text(&shown)).map_err(|error| self.fault(error))?,
            },
        })
    }

    fn bytes(self, bytes: &[u8]) -> Result<Option<Value>, Fault> {
        if bytes.len() as u64 > self.limit {
            let detail = format!("{} bytes, the limit is {}", bytes.len(), self.limit);
            return Err(Fault::new(self.field, "field is too large", detail));
        }
        Ok(Some(Value::Bytes(bytes.into())))
    }

    fn list(self, values: &ArrayRef) -> Result<Option<Value>, Fault> {
        let values = (0..values.len()).filter_map(|row| self.value(values, row).transpose());
        values.collect::<Result<_, _>>().map(list)
    }

    /// The bytes if they are there, or those of the file that the path names.
    fn file(self, members: &StructArray, row: usize) -> Result<Option<Value>, Fault> {
        let member = |name| members.column_by_name(name).map(|column| self.value(column, row));
        if let Some(bytes) = member("bytes").transpose()?.flatten() {
            return Ok(Some(bytes));
        }
        match member("path").transpose()?.flatten() {
            Some(Value::Text(path)) => self.folder.read(self.field, &path, self.limit).map(Value::Bytes).map(Some),
            _ => Ok(None),
        }
    }

    fn fault(self, error: ArrowError) -> Fault {
        Fault::new(self.field, "cell cannot be read", error)
    }
}

fn display(array: &ArrayRef, row: usize) -> Result<String, ArrowError> {
    let options = FormatOptions::default();
    ArrayFormatter::try_new(array, &options)?.value(row).try_to_string()
}

/// A cell of a numeric column.
fn number(array: &dyn Array, row: usize) -> Option<f64> {
    Some(match array.data_type() {
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row) as f64,
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row) as f64,
        DataType::Float16 => array.as_primitive::<Float16Type>().value(row).to_f64(),
        DataType::Float32 => array.as_primitive::<Float32Type>().value(row).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row),
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().value_as_string(row).parse().ok()?,
        DataType::Decimal256(..) => array.as_primitive::<Decimal256Type>().value_as_string(row).parse().ok()?,
        _ => return None,
    })
}
