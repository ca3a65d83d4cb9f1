use std::collections::HashMap;

use ndarray::{ArrayD, IxDyn};
use sensorium_contract::{Array, Arrays, Fault, Item, Sample, Target, Value};

use super::Task;

/// The name of a label's array: the number of its class `[1]`, a 1 for each class that it holds
/// `[classes]`, or the standardised number `[1]`.
pub(super) const TRUTH: &str = "truth";

/// A sample's label as an array.
#[derive(Clone, Debug)]
pub(super) struct LabelTarget {
    field: String,
    task: Task,
    places: HashMap<String, usize>,
}

impl LabelTarget {
    pub fn new(field: &str, task: &Task) -> Self {
        let places = task.classes().iter().cloned().zip(0..).collect();
        Self { field: field.to_owned(), task: task.clone(), places }
    }

    fn class(&self, name: &str) -> Result<usize, Fault> {
        let unknown = || {
            let known = self.task.classes().join(", ");
            Fault::new(&self.field, "label is unknown", format!("`{name}`; the model knows {known}"))
        };
        self.places.get(name.trim()).copied().ok_or_else(unknown)
    }

    fn truth(&self, value: &Value) -> Result<Vec<f32>, Fault> {
        let wrong = |expected: &str| {
            let found = value.as_text().map_or(value.kind().to_owned(), |text| format!("`{text}`"));
            Fault::new(&self.field, "label is of another kind", format!("expected {expected}, found {found}"))
        };
        match &self.task {
            Task::Classes { .. } | Task::Ordinal { .. } => {
                let text = value.as_text().ok_or_else(|| wrong("one class"))?;
                Ok(vec![self.class(&text)? as f32])
            }
            Task::Labels { classes } => {
                let mut truth = vec![0.0; classes.len()];
                for name in value.labels().ok_or_else(|| wrong("a list of classes"))? {
                    truth[self.class(&name)?] = 1.0;
                }
                Ok(truth)
            }
            Task::Number { mean, deviation } => {
                let number = value.as_text().and_then(|text| text.trim().parse::<f64>().ok());
                let number = number.filter(|number| number.is_finite()).ok_or_else(|| wrong("a number"))?;
                Ok(vec![((number - mean) / deviation) as f32])
            }
        }
    }
}

impl Target for LabelTarget {
    fn decode(&self, sample: &Sample) -> Result<Option<Item>, Fault> {
        let Some(value) = sample.fields.get(&self.field) else { return Ok(None) };
        let truth = self.truth(value)?;
        let shape = IxDyn(&[truth.len()]);
        let array = ArrayD::from_shape_vec(shape, truth).map_err(|error| Fault::new(&self.field, "label", error))?;
        Ok(Some(Item { arrays: Arrays::default().with(TRUTH, Array::F32(array)), content: 0 }))
    }

    fn collate(&self, items: &[Item]) -> Arrays {
        let stacked = items.iter().map(|item| item.arrays.f32(TRUTH).clone()).collect();
        Arrays::default().with(TRUTH, stacked)
    }
}
