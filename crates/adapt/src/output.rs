//! Predictions on disk: Parquet that pandas, Polars and DuckDB read.

use std::{path::Path, sync::Arc};

use arrow_array::{ArrayRef, Float32Array, Float64Array, RecordBatch, StringArray};
use arrow_schema::{Field, Schema};
use parquet::arrow::ArrowWriter;
use sensorium_metrics::presence;
use sensorium_objectives::{Answer, Task};
use sensorium_state::commit;

use crate::{AdaptError, Predicted};

/// Writes one row for each prediction: `key`, `prediction`, a column `probability CLASS` for each
/// class, and `modalities`, those that the row had.
///
/// # Errors
/// If the file cannot be written; nothing is left under its name then.
pub fn write_predictions(path: &Path, task: &Task, predicted: &[Predicted]) -> Result<(), AdaptError> {
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    let texts = |values: Vec<String>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    columns.push(("key".into(), texts(predicted.iter().map(|row| row.key.clone()).collect())));
    match task {
        Task::Number { .. } => {
            let number = |row: &Predicted| if let Answer::Number(number) = row.answer { number } else { f64::NAN };
            let numbers: Vec<f64> = predicted.iter().map(number).collect();
            columns.push(("prediction".into(), Arc::new(Float64Array::from(numbers))));
        }
        _ => columns.push(("prediction".into(), texts(predicted.iter().map(|row| class(task, row)).collect()))),
    }
    for (place, name) in task.classes().iter().enumerate() {
        let probability = |row: &Predicted| match &row.answer {
            Answer::Probabilities(all) => all[place],
            Answer::Number(_) => f32::NAN,
        };
        let all: Vec<f32> = predicted.iter().map(probability).collect();
        columns.push((format!("probability {name}"), Arc::new(Float32Array::from(all))));
    }
    let present = predicted.iter().map(|row| presence(row.present.iter().map(|name| &**name)));
    columns.push(("modalities".into(), texts(present.collect())));
    write(path, columns)
}

/// The most probable class; of labels all that are more probable than not, between semicolons.
fn class(task: &Task, row: &Predicted) -> String {
    let Answer::Probabilities(all) = &row.answer else { return String::new() };
    let names = task.classes().iter().zip(all);
    match task {
        Task::Labels { .. } => {
            let on: Vec<&str> = names.filter(|(_, p)| **p > 0.5).map(|(name, _)| name.as_str()).collect();
            on.join("; ")
        }
        _ => names.max_by(|a, b| a.1.total_cmp(b.1)).map_or_else(String::new, |(name, _)| name.clone()),
    }
}

fn write(path: &Path, columns: Vec<(String, ArrayRef)>) -> Result<(), AdaptError> {
    let failed =
        |error: &dyn std::fmt::Display| AdaptError::Parquet { path: path.to_owned(), problem: error.to_string() };
    let field = |(name, array): &(String, ArrayRef)| Field::new(name, array.data_type().clone(), false);
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<Field>>()));
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let batch = RecordBatch::try_new(schema.clone(), arrays).map_err(|error| failed(&error))?;
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, None).map_err(|error| failed(&error))?;
    writer.write(&batch).map_err(|error| failed(&error))?;
    let bytes = writer.into_inner().map_err(|error| failed(&error))?;
    Ok(commit(path, &bytes)?)
}
