//! What a published model is given of a sample, prepared as the library that it was published for prepares it.

use std::fmt;

use ndarray::{ArrayD, Axis, IxDyn};
use sensorium_contract::{Array, Arrays, Fault, Head, Item, Masked, Modality, Rng, Sample, Value};

/// The one array of an item and of a batch.
const INPUT: &str = "input";
/// Array of a batch: how much of each row is real, `[rows]`; absent if all rows are as long.
const LENGTHS: &str = "lengths";

/// One field's content to the array that a network reads.
pub trait Reader: Send + Sync + fmt::Debug {
    /// The array without a batch axis, and a hash of the content; nothing if there is none.
    ///
    /// # Errors
    /// If the content is damaged or of another kind.
    fn read(&self, field: &str, value: &Value) -> Result<Option<(Array, u64)>, Fault>;

    /// The most tokens, or an upper bound of them.
    fn max_tokens(&self) -> usize;

    /// What a user should know of what was read.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A modality of a published model. It learns nothing here: nothing is hidden, nothing is predicted.
#[derive(Debug)]
pub struct Published<R> {
    /// The sample's field.
    pub field: String,
    /// What becomes of its content.
    pub reader: R,
}

impl<R: Reader> Modality for Published<R> {
    fn decode(&self, sample: &Sample) -> Result<Option<Item>, Fault> {
        let Some(value) = sample.fields.get(&self.field) else { return Ok(None) };
        let read = self.reader.read(&self.field, value)?;
        Ok(read.map(|(array, content)| Item { arrays: Arrays::default().with(INPUT, array), content }))
    }

    /// Rows of one axis and different lengths are padded, and their lengths told.
    fn collate(&self, items: &[Item]) -> Arrays {
        let arrays: Vec<&Array> = items.iter().flat_map(|item| item.arrays.iter().map(|(_, array)| array)).collect();
        let lengths: Vec<i64> = arrays.iter().map(|array| array.shape()[0] as i64).collect();
        let most = lengths.iter().copied().max().unwrap_or(0) as usize;
        let rows: Vec<Array> = arrays.iter().map(|array| row(array, most)).collect();
        let all = Arrays::default().with(INPUT, Array::concat(&rows.iter().collect::<Vec<_>>()));
        match lengths.iter().all(|&length| length as usize == most) {
            true => all,
            false => all.with(LENGTHS, Array::I64(ndarray::Array1::from(lengths).into_dyn())),
        }
    }

    fn mask(&self, arrays: &Arrays, _rngs: &mut [Rng]) -> Masked {
        Masked { arrays: arrays.clone(), targets: Vec::new() }
    }

    fn heads(&self) -> Vec<Head> {
        Vec::new()
    }

    fn max_tokens(&self) -> usize {
        self.reader.max_tokens()
    }

    fn remarks(&self) -> Vec<String> {
        self.reader.remarks()
    }
}

/// `[first axis, …]` → `[1, most, …]`, zeros at the end.
fn row(array: &Array, most: usize) -> Array {
    fn padded<T: Clone + Default>(array: &ArrayD<T>, most: usize) -> ArrayD<T> {
        let mut shape = array.shape().to_vec();
        shape[0] = most;
        let mut all = ArrayD::from_elem(IxDyn(&shape), T::default());
        all.slice_axis_mut(Axis(0), (0..array.shape()[0]).into()).assign(array);
        all.insert_axis(Axis(0))
    }
    match array {
        Array::F32(array) => Array::F32(padded(array, most)),
        Array::I64(array) => Array::I64(padded(array, most)),
        Array::Bool(array) => Array::Bool(padded(array, most)),
    }
}

/// Most tokens of rows that are answered together, padding included.
const GROUP_TOKENS: usize = 1 << 14;

/// Rows of a batch that are answered together.
#[derive(Clone, Debug)]
pub struct Group {
    /// Their numbers.
    pub rows: Vec<usize>,
    /// `[rows, longest, …]`, zeros at the end of those that are shorter.
    pub input: Array,
    /// How much of each row is real.
    pub lengths: Vec<usize>,
}

/// A batch in groups: of rows of one length, or where lengths may mix of rows that are at least half as long as the
/// longest.
pub fn groups(arrays: &Arrays, mix: bool) -> Vec<Group> {
    let Some((_, input)) = arrays.iter().find(|(name, _)| *name == INPUT) else { return Vec::new() };
    let (rows, most) = (input.shape()[0], input.shape()[1]);
    let length = |row: usize| match arrays.contains(LENGTHS) {
        true => arrays.i64(LENGTHS)[[row]] as usize,
        false => most,
    };
    let mut order: Vec<usize> = (0..rows).collect();
    order.sort_by_key(|&row| length(row));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for row in order {
        let fits = |group: &&mut Vec<usize>| {
            let (shortest, longest) = (length(group[0]), length(row));
            shortest == longest || mix && longest <= 2 * shortest && (group.len() + 1) * longest <= GROUP_TOKENS
        };
        match groups.last_mut().filter(fits) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    let group = |rows: Vec<usize>| {
        let lengths: Vec<usize> = rows.iter().map(|&row| length(row)).collect();
        let input = until(input.select(&rows), lengths.last().copied().unwrap_or(0));
        Group { rows, input, lengths }
    };
    groups.into_iter().map(group).collect()
}

/// The first `length` entries of the second axis.
fn until(array: Array, length: usize) -> Array {
    fn cut<T: Clone>(array: &ArrayD<T>, length: usize) -> ArrayD<T> {
        array.slice_axis(Axis(1), (0..length).into()).to_owned()
    }
    match array {
        Array::F32(array) => Array::F32(cut(&array, length)),
        Array::I64(array) => Array::I64(cut(&array, length)),
        Array::Bool(array) => Array::Bool(cut(&array, length)),
    }
}

/// A field's bytes.
///
/// # Errors
/// If it holds something else.
pub(crate) fn bytes<'a>(field: &str, value: &'a Value, reason: &'static str) -> Result<&'a [u8], Fault> {
    match value {
        Value::Bytes(bytes) => Ok(bytes),
        other => Err(Fault::new(field, reason, format!("a file's bytes expected, found {}", other.kind()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Letters;

    impl Reader for Letters {
        fn read(&self, _field: &str, value: &Value) -> Result<Option<(Array, u64)>, Fault> {
            let text = value.as_text().unwrap_or_default();
            let ids: Vec<i64> = text.bytes().map(i64::from).collect();
            Ok((!ids.is_empty()).then(|| (Array::I64(ndarray::Array1::from(ids).into_dyn()), 0)))
        }
        fn max_tokens(&self) -> usize {
            9
        }
    }

    #[test]
    fn rows_are_padded_and_come_apart_again() {
        let modality = Published { field: "text".to_owned(), reader: Letters };
        let item = |text: &str| {
            let fields = [("text".to_owned(), Value::Text(text.to_owned()))].into();
            modality.decode(&Sample { key: String::new(), fields }).unwrap()
        };
        assert!(item("").is_none() && modality.decode(&Sample::default()).unwrap().is_none());
        let items: Vec<Item> = ["abc", "a", "xyz"].map(|text| item(text).unwrap()).into();
        let arrays = modality.collate(&items);
        assert_eq!(arrays.i64(INPUT).shape(), [3, 3]);
        let shapes = |mix| {
            let shape = |group: Group| (group.rows, group.input.shape().to_vec(), group.lengths);
            groups(&arrays, mix).into_iter().map(shape).collect::<Vec<_>>()
        };
        assert_eq!(shapes(false), [(vec![1], vec![1, 1], vec![1]), (vec![0, 2], vec![2, 3], vec![3, 3])]);
        assert_eq!(shapes(true), shapes(false));
        assert!(!modality.collate(&items[..1]).contains(LENGTHS));
    }

    #[test]
    fn lengths_mix_where_padding_is_less_than_half() {
        let modality = Published { field: "text".to_owned(), reader: Letters };
        let item = |length: usize| {
            let fields = [("text".to_owned(), Value::Text("a".repeat(length)))].into();
            modality.decode(&Sample { key: String::new(), fields }).unwrap().unwrap()
        };
        let arrays = modality.collate(&[9, 4, 2, 1, 8, 3, 5].map(item));
        let found: Vec<_> = groups(&arrays, true).into_iter().map(|group| (group.rows, group.lengths)).collect();
        assert_eq!(found, [(vec![3, 2], vec![1, 2]), (vec![5, 1, 6], vec![3, 4, 5]), (vec![4, 0], vec![8, 9])]);
        let long = Arrays::default().with(INPUT, Array::I64(ArrayD::zeros(vec![5, GROUP_TOKENS / 2])));
        assert_eq!(groups(&long, true).len(), 1, "one length needs no padding");
    }
}
