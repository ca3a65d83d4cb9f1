use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ndarray::{Array1, ArrayD, Axis, IxDyn};
use rand::RngExt;
use sensorium_contract::{Array, Arrays, Fault, Head, Item, Masked, Modality, Name, Pool, Rng, Sample, Value, Values};

use super::{
    TableConfig, TableError, TableSchema,
    statistics::{Cell, Statistics, cell},
    targets,
};

/// Rows of the embedding table that each categorical column has besides those of its values.
pub(super) const MISSING: i64 = 0;
pub(super) const UNKNOWN: i64 = 1;
pub(super) const RESERVED: i64 = 2;

/// Rows of a table to arrays.
///
/// Items hold `numbers` (scaled; 0 where missing) and `present`, both `[numeric columns]`, and
/// `categories` `[categorical columns]`: for each column its entry of one embedding table shared by
/// all, which starts for every column with one for missing and one for unknown. A batch has the same
/// arrays with `rows` in front, without `present` if no number is missing; a masked batch has
/// `hidden` `[rows, columns]`, true where a cell is hidden.
#[derive(Clone, Debug)]
pub struct TableModality {
    config: TableConfig,
    name: Name,
    schema: Arc<TableSchema>,
    /// For each categorical column, where its entries start.
    offsets: Arc<[i64]>,
    /// For each categorical column, the places of its values.
    places: Arc<[HashMap<String, i64>]>,
    cells: Arc<AtomicU64>,
    unknown: Arc<AtomicU64>,
}

impl TableModality {
    /// Learns the columns from the training data, in one reading and bounded memory. Without pinned
    /// columns all scalar fields are read that are not among `used_fields`, those of other
    /// modalities; constants, identifiers and prose are left out
    /// ([`TableModality::schema`] says why).
    ///
    /// # Errors
    /// If a pinned column is not in the data, or nothing remains to be read.
    pub fn fit(
        config: TableConfig,
        samples: &mut dyn Iterator<Item = Sample>,
        used_fields: &BTreeSet<String>,
    ) -> Result<Self, TableError> {
        config.validate()?;
        let mut statistics = Statistics::default();
        samples.for_each(|sample| statistics.add(&sample));
        let schema = TableSchema::new(&config, &statistics, used_fields)?;
        Ok(Self::new(config, schema))
    }

    /// The modality of a saved model: its configuration and what [`TableModality::schema_json`] gave.
    ///
    /// # Errors
    /// If `json` is damaged.
    pub fn load(config: TableConfig, json: &str) -> Result<Self, TableError> {
        config.validate()?;
        let damaged = |error: serde_json::Error| TableError::Damaged { detail: error.to_string() };
        Ok(Self::new(config, serde_json::from_str(json).map_err(damaged)?))
    }

    fn new(config: TableConfig, schema: TableSchema) -> Self {
        let mut end = 0;
        let mut offsets = Vec::new();
        for column in &schema.categorical {
            offsets.push(end);
            end += RESERVED + column.values.len() as i64;
        }
        let places = schema.categorical.iter().map(|column| column.values.iter().cloned().zip(RESERVED..).collect());
        Self {
            name: Name::new("table"),
            places: places.collect(),
            offsets: offsets.into(),
            config,
            schema: Arc::new(schema),
            cells: Arc::default(),
            unknown: Arc::default(),
        }
    }

    /// The modality under the name that the recipe gives it; without, it is `table`.
    pub fn named(self, name: &Name) -> Self {
        Self { name: name.clone(), ..self }
    }

    /// The columns, and what was decided about each field.
    pub fn schema(&self) -> &TableSchema {
        &self.schema
    }

    /// The schema as text, for [`TableModality::load`].
    pub fn schema_json(&self) -> String {
        // A tree of strings, numbers and lists always has a JSON form; numbers in it are finite.
        let json = serde_json::to_string_pretty(&*self.schema).unwrap_or_default();
        json + "\n"
    }

    /// The configuration.
    pub fn config(&self) -> &TableConfig {
        &self.config
    }

    /// The scaled numbers and which there are.
    fn numbers(&self, sample: &Sample, raw: &mut blake3::Hasher) -> Result<(Vec<f32>, Vec<bool>), Fault> {
        let mut numbers = Vec::with_capacity(self.schema.numeric.len());
        for (place, column) in self.schema.numeric.iter().enumerate() {
            let number = match self.cell(sample, &column.name)? {
                Some(Cell::Number(number)) => Some(number),
                Some(Cell::Text(text)) => text.parse().ok().filter(|number: &f64| number.is_finite()),
                None => None,
            };
            if let Some(number) = number {
                raw.update(&place.to_le_bytes()).update(&number.to_le_bytes());
            }
            numbers.push(number.map(|number| column.scaling.apply(number)));
        }
        let present = numbers.iter().map(Option::is_some).collect();
        Ok((numbers.into_iter().map(Option::unwrap_or_default).collect(), present))
    }

    /// The entries of the shared embedding table.
    fn categories(&self, sample: &Sample, raw: &mut blake3::Hasher) -> Result<Vec<i64>, Fault> {
        let mut categories = Vec::with_capacity(self.schema.categorical.len());
        for (place, column) in self.schema.categorical.iter().enumerate() {
            let value = match self.cell(sample, &column.name)? {
                Some(Cell::Number(number)) => Some(number.to_string()),
                Some(Cell::Text(text)) => Some(text.to_owned()),
                None => None,
            };
            let entry = match value {
                Some(value) => {
                    raw.update(&place.to_le_bytes()).update(&value.len().to_le_bytes()).update(value.as_bytes());
                    self.cells.fetch_add(1, Ordering::Relaxed);
                    self.places[place].get(&value).copied().unwrap_or(UNKNOWN)
                }
                None => MISSING,
            };
            if entry == UNKNOWN {
                self.unknown.fetch_add(1, Ordering::Relaxed);
            }
            categories.push(self.offsets[place] + entry);
        }
        Ok(categories)
    }

    fn cell<'a>(&self, sample: &'a Sample, column: &str) -> Result<Option<Cell<'a>>, Fault> {
        match sample.fields.get(column) {
            Some(value @ (Value::Bytes(_) | Value::List(_))) => {
                let detail = format!("expected text or a number, found {}", value.kind());
                Err(Fault::new(column, "cell is no scalar", detail))
            }
            Some(value) => Ok(cell(value)),
            None => Ok(None),
        }
    }

    /// Where the columns start among the tokens.
    pub(super) fn first_column(pool: Pool) -> usize {
        usize::from(pool == Pool::Class)
    }
}

impl Modality for TableModality {
    fn decode(&self, sample: &Sample) -> Result<Option<Item>, Fault> {
        let mut raw = blake3::Hasher::new();
        let (numbers, present) = self.numbers(sample, &mut raw)?;
        raw.update(b"categories");
        let categories = self.categories(sample, &mut raw)?;
        let missing = categories.iter().zip(&*self.offsets).all(|(entry, offset)| entry - offset == MISSING);
        if missing && !present.contains(&true) {
            return Ok(None);
        }
        let arrays = Arrays::default()
            .with("numbers", Array::F32(Array1::from(numbers).into_dyn()))
            .with("present", Array::Bool(Array1::from(present).into_dyn()))
            .with("categories", Array::I64(Array1::from(categories).into_dyn()));
        let [a, b, c, d, e, f, g, h, ..] = *raw.finalize().as_bytes();
        Ok(Some(Item { arrays, content: u64::from_le_bytes([a, b, c, d, e, f, g, h]) }))
    }

    fn augment(&self, item: Item, rng: &mut Rng) -> Item {
        let chance = self.config.cell_dropout;
        if chance == 0.0 {
            return item;
        }
        let (mut numbers, mut present) = (item.arrays.f32("numbers").clone(), item.arrays.bool("present").clone());
        for (number, present) in numbers.iter_mut().zip(present.iter_mut()).filter(|_| rng.random::<f32>() < chance) {
            (*number, *present) = (0.0, false);
        }
        let mut categories = item.arrays.i64("categories").clone();
        for (entry, offset) in categories.iter_mut().zip(&*self.offsets).filter(|_| rng.random::<f32>() < chance) {
            *entry = offset + MISSING;
        }
        let arrays = item.arrays.with("numbers", Array::F32(numbers)).with("present", Array::Bool(present));
        Item { arrays: arrays.with("categories", Array::I64(categories)), content: item.content }
    }

    fn collate(&self, items: &[Item]) -> Arrays {
        let all = |item: &Item| item.arrays.bool("present").iter().all(|&present| present);
        let arrays = Arrays::default()
            .with("numbers", Array::F32(stack(items, |arrays| arrays.f32("numbers"))))
            .with("categories", Array::I64(stack(items, |arrays| arrays.i64("categories"))));
        match items.iter().all(all) {
            true => arrays,
            false => arrays.with("present", Array::Bool(stack(items, |arrays| arrays.bool("present")))),
        }
    }

    fn mask(&self, arrays: &Arrays, rngs: &mut [Rng]) -> Masked {
        let hiding = targets::Hiding {
            ratio: self.config.mask_ratio,
            offsets: &self.offsets,
            first_column: Self::first_column(self.config.pool),
        };
        targets::hide(arrays, rngs, &hiding, &self.name)
    }

    fn heads(&self) -> Vec<Head> {
        let numeric = self.schema.numeric.iter().map(|column| (&column.name, Values::Numbers(1)));
        let categorical =
            self.schema.categorical.iter().map(|column| (&column.name, Values::Classes(column.values.len())));
        numeric.chain(categorical).map(|(name, values)| Head { name: name.clone(), values }).collect()
    }

    fn max_tokens(&self) -> usize {
        Self::first_column(self.config.pool) + self.schema.columns()
    }

    fn remarks(&self) -> Vec<String> {
        let (unknown, cells) = (self.unknown.load(Ordering::Relaxed), self.cells.load(Ordering::Relaxed));
        match unknown {
            0 => Vec::new(),
            _ => vec![format!("{unknown} of {cells} categorical cells hold a value that the schema does not know")],
        }
    }
}

/// `[rows, columns]`
fn stack<T: Clone + Default>(items: &[Item], array: impl Fn(&Arrays) -> &ArrayD<T>) -> ArrayD<T> {
    let columns = items.first().map_or(0, |item| array(&item.arrays).len());
    let mut stacked = ArrayD::from_elem(IxDyn(&[items.len(), columns]), T::default());
    for (mut row, item) in stacked.axis_iter_mut(Axis(0)).zip(items) {
        row.assign(array(&item.arrays));
    }
    stacked
}
