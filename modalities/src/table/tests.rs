use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use burn::tensor::Device;
use sensorium_contract::{Arrays, Head, Item, Modality, Name, Pool, Sample, Seed, Truth, Value, Values};

use super::*;

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn sample(fields: &[(&str, Value)]) -> Sample {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    Sample { key: "key".to_owned(), fields: fields.collect() }
}

/// 200 rows with columns of every sort.
fn rows() -> Vec<Sample> {
    let row = |row: usize| {
        let mut fields = vec![
            ("age", Value::Number(20.0 + (row * 7 % 50) as f64)),
            ("colour", text(["red", "green", "blue", "red"][row % 4])),
            ("constant", text("same")),
            ("id", text(&format!("p{row:04}"))),
            ("row", Value::Number(row as f64)),
            ("notes", text(&format!("the {row}th of many long remarks that say something else each time"))),
            ("code", text(&format!("c{}", row * row % 150))),
            ("caption", text("a caption")),
            ("picture", Value::Bytes([1, 2].as_slice().into())),
            ("tags", Value::List(vec![text("a")])),
            ("mixed", if row.is_multiple_of(40) { text("n/a") } else { Value::Number((row % 9) as f64) }),
        ];
        if row.is_multiple_of(3) {
            fields.push(("fare", Value::Number((row as f64 / 10.0).exp())));
        }
        sample(&fields)
    };
    (0..200).map(row).collect()
}

fn fitted(config: TableConfig, rows: &[Sample]) -> TableModality {
    TableModality::fit(config, &mut rows.iter().cloned(), &BTreeSet::from(["caption".to_owned()])).unwrap()
}

fn item(modality: &TableModality, fields: &[(&str, Value)]) -> Option<Item> {
    modality.decode(&sample(fields)).unwrap()
}

fn encoder(modality: &TableModality, device: &Device) -> TableEncoder {
    TableEncoder::new(modality.config(), modality.schema(), &Name::new("table"), 8, Seed::new(3), device)
}

/// For each row, for each token, its values.
fn tokens(encoder: &TableEncoder, arrays: &Arrays) -> Vec<Vec<Vec<f32>>> {
    let values = encoder.tokens(arrays, &Device::flex()).values;
    let [_, tokens, width] = values.dims();
    let flat = values.into_data().try_to_vec::<f32>().unwrap();
    let row = |row: &[f32]| row.chunks(width).map(<[f32]>::to_vec).collect();
    flat.chunks(tokens * width).map(row).collect()
}

#[test]
fn the_schema_is_inferred_with_reasons() {
    let modality = fitted(TableConfig::default(), &rows());
    let schema = modality.schema();
    let numeric: Vec<_> = schema.numeric.iter().map(|column| column.name.as_str()).collect();
    let categorical: Vec<_> = schema.categorical.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(numeric, ["age", "fare", "mixed"]);
    assert_eq!(categorical, ["code", "colour"]);
    assert_eq!(schema.categorical[1].values, ["red", "blue", "green"], "the most frequent first");
    let reasons: BTreeMap<_, _> =
        schema.decisions.iter().map(|one| (one.column.as_str(), (one.kind, one.reason.as_str()))).collect();
    for (column, reason) in [
        ("constant", "always the same value"),
        ("id", "an identifier: every value is different"),
        ("row", "an identifier: counts up by one from row to row"),
        ("caption", "read by another modality"),
        ("picture", "holds bytes or lists"),
        ("tags", "holds bytes or lists"),
        ("notes", "an identifier: every value is different"),
    ] {
        assert_eq!(reasons[column], (None, reason), "{column}");
    }
    assert_eq!(reasons["age"].0, Some(ColumnKind::Numeric));
    let missing: BTreeMap<_, _> = schema.decisions.iter().map(|one| (one.column.as_str(), one.missing)).collect();
    assert!((missing["fare"] - 133.0 / 200.0).abs() < 1e-9 && missing["age"] == 0.0);
    let excluded = fitted(TableConfig { exclude: vec!["age".to_owned()], ..TableConfig::default() }, &rows());
    assert!(excluded.schema().numeric.iter().all(|column| column.name != "age"));
}

#[test]
fn a_pinned_schema_is_kept() {
    let column = |name: &str, kind| ColumnConfig { name: name.to_owned(), kind };
    let pinned = |columns| TableConfig { columns: Some(columns), ..TableConfig::default() };
    let config = pinned(vec![
        column("mixed", ColumnKind::Category),
        column("constant", ColumnKind::Category),
        column("age", ColumnKind::Numeric),
    ]);
    let modality = fitted(config, &rows());
    let names: Vec<String> = modality.heads().into_iter().map(|head| head.name).collect();
    assert_eq!(names, ["age", "mixed", "constant"]);
    assert!(modality.schema().categorical[0].values.contains(&"n/a".to_owned()));
    let fit = |config| TableModality::fit(config, &mut rows().into_iter(), &BTreeSet::new()).unwrap_err().to_string();
    let error = fit(pinned(vec![column("agee", ColumnKind::Numeric)]));
    assert!(error.contains("`agee`") && error.contains("`age`, `caption`"), "{error}");
    let error = fit(pinned(vec![column("colour", ColumnKind::Numeric)]));
    assert!(error.contains("`colour` is pinned as numeric, but none of its 200 values"), "{error}");
    let error = fit(pinned(vec![column("age", ColumnKind::Numeric), column("age", ColumnKind::Category)]));
    assert!(error.contains("`age` twice"), "{error}");
    assert!(fit(TableConfig { pool: Pool::Last, ..TableConfig::default() }).contains("`pool`"));
    let nothing = TableModality::fit(
        TableConfig::default(),
        &mut rows().into_iter().map(|row| sample(&[("constant", row.fields["constant"].clone())])),
        &BTreeSet::new(),
    );
    let error = nothing.unwrap_err().to_string();
    assert!(error.contains("`constant`: always the same value"), "{error}");
}

#[test]
fn rare_categories_are_unknown() {
    let modality = fitted(TableConfig { max_categories: 2, ..TableConfig::default() }, &rows());
    let colour = modality.schema().categorical.iter().position(|column| column.name == "colour").unwrap();
    assert_eq!(modality.schema().categorical[colour].values, ["red", "blue"]);
    let entry = |value: &str| item(&modality, &[("colour", text(value))]).unwrap().arrays.i64("categories")[[colour]];
    assert_eq!(entry("green"), entry("violet"), "as one that was never seen");
    assert_ne!(entry("green"), entry("red"));
    assert_eq!(entry(" red "), entry("red"));
    assert_eq!(modality.remarks(), ["3 of 6 categorical cells hold a value that the schema does not know"]);
}

#[test]
fn a_saved_schema_decodes_alike() {
    for scale in [Scale::Standard, Scale::Quantile] {
        let config = TableConfig { scale, ..TableConfig::default() };
        let modality = fitted(config.clone(), &rows());
        assert_eq!(fitted(config.clone(), &rows()).schema_json(), modality.schema_json(), "fitting is deterministic");
        let loaded = TableModality::load(config.clone(), &modality.schema_json()).unwrap();
        assert_eq!(loaded.schema_json(), modality.schema_json());
        for row in rows() {
            assert_eq!(loaded.decode(&row).unwrap(), modality.decode(&row).unwrap());
        }
        let damaged = modality.schema_json().replace("knots", "nots").replace("deviation", "variation");
        assert!(matches!(TableModality::load(config, &damaged), Err(TableError::Damaged { .. })));
    }
}

#[test]
fn numbers_are_standardised() {
    let modality = fitted(TableConfig::default(), &rows());
    let items: Vec<Item> = rows().iter().map(|row| modality.decode(row).unwrap().unwrap()).collect();
    let ages: Vec<f64> = items.iter().map(|item| f64::from(item.arrays.f32("numbers")[[0]])).collect();
    let mean = ages.iter().sum::<f64>() / 200.0;
    let variance = ages.iter().map(|age| (age - mean).powi(2)).sum::<f64>() / 200.0;
    assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-5, "{mean} {variance}");
    let written = item(&modality, &[("age", text("30"))]).unwrap();
    assert_eq!(written, item(&modality, &[("age", Value::Number(30.0))]).unwrap());
}

#[test]
fn a_missing_cell_is_one_that_is_not_there() {
    let modality = fitted(TableConfig::default(), &rows());
    let colour = ("colour", text("red"));
    let absent = item(&modality, std::slice::from_ref(&colour)).unwrap();
    for missing in [text(" "), text("n/a"), Value::Number(f64::NAN), Value::Number(f64::INFINITY)] {
        assert_eq!(item(&modality, &[colour.clone(), ("age", missing)]).unwrap(), absent);
    }
    assert_ne!(item(&modality, &[colour.clone(), ("age", Value::Number(30.0))]).unwrap().content, absent.content);
    assert_eq!(item(&modality, &[]), None, "all missing: no row");
    assert_eq!(item(&modality, &[("id", text("p0001"))]), None, "columns that are not read don't count");
    let fault = modality.decode(&sample(&[("age", Value::List(vec![]))])).unwrap_err();
    assert_eq!((fault.field.as_str(), fault.reason), ("age", "cell is no scalar"));
}

#[test]
fn a_token_depends_on_its_own_cell() {
    let modality = fitted(TableConfig::default(), &rows());
    let encoder = encoder(&modality, &Device::flex());
    let batch = |rows: &[&[(&str, Value)]]| {
        let items: Vec<Item> = rows.iter().map(|row| item(&modality, row).unwrap()).collect();
        tokens(&encoder, &modality.collate(&items))
    };
    let full = [
        ("age", Value::Number(30.0)),
        ("fare", Value::Number(2.0)),
        ("mixed", Value::Number(1.0)),
        ("code", text("c1")),
        ("colour", text("red")),
    ];
    let mut other = full.clone();
    other[0].1 = Value::Number(31.0);
    let few = &full[4..];
    let rows = batch(&[&full, &other, few]);
    assert_eq!(rows[0].len(), modality.max_tokens());
    assert_eq!(rows[0][0], rows[2][0], "the class token is the same everywhere");
    assert_ne!(rows[0][1], rows[1][1]);
    assert_eq!(rows[0][2..], rows[1][2..]);
    assert_eq!(rows[0][5], rows[2][5], "the same colour");
    assert!((1..5).all(|token| rows[0][token] != rows[2][token]), "missing cells have a vector of their own");
    // Neither neighbours in the batch nor their order matter, nor whether another row misses cells.
    assert_eq!(batch(&[&full])[0], rows[0]);
    let turned = batch(&[few, &other, &full]);
    assert_eq!((&turned[2], &turned[0]), (&rows[0], &rows[2]));
    let mean = fitted(TableConfig { pool: Pool::Mean, ..TableConfig::default() }, &self::rows());
    assert_eq!(mean.max_tokens(), 5);
}

#[test]
fn hidden_cells_are_present_and_known() {
    let modality = fitted(TableConfig { mask_ratio: 0.4, max_categories: 2, ..TableConfig::default() }, &rows())
        .named(&Name::new("patient"));
    let mut items: Vec<Item> = rows().iter().map(|row| modality.decode(row).unwrap().unwrap()).collect();
    items.push(item(&modality, &[("age", Value::Number(30.0))]).unwrap());
    items.push(item(&modality, &[("colour", text("violet")), ("age", Value::Number(30.0))]).unwrap());
    let batch = modality.collate(&items);
    let mut rngs: Vec<_> = (0..items.len() as u64).map(|row| Seed::new(8).number(row).rng()).collect();
    let masked = modality.mask(&batch, &mut rngs);
    let heads = modality.heads();
    let mut counts = vec![0; items.len()];
    for target in &masked.targets {
        assert_eq!(&*target.modality, "patient");
        for (place, (&row, &token)) in target.rows.iter().zip(&target.tokens).enumerate() {
            counts[row] += 1;
            assert_eq!(token, 1 + target.head);
            assert!(masked.arrays.bool("hidden")[[row, target.head]]);
            match (&target.truth, &heads[target.head]) {
                (Truth::Numbers(truth), Head { values: Values::Numbers(1), .. }) => {
                    assert!(batch.bool("present")[[row, target.head]]);
                    assert_eq!(truth[[place, 0]], batch.f32("numbers")[[row, target.head]]);
                    assert_eq!(masked.arrays.f32("numbers")[[row, target.head]], 0.0);
                }
                (Truth::Classes(truth), Head { name, values: Values::Classes(classes) }) => {
                    assert!((0..*classes as i64).contains(&truth[place]));
                    let column = modality.schema().categorical.iter().find(|column| column.name == *name).unwrap();
                    assert_eq!(text(&column.values[truth[place] as usize]), rows()[row].fields[name]);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(masked.arrays.bool("hidden").iter().filter(|&&hidden| hidden).count(), counts.iter().sum::<usize>());
    assert_eq!(counts[200], 0, "one cell alone stays");
    assert_eq!(counts[201], 1, "of an unknown category and a number, the number");
    assert!(counts[..200].iter().all(|&count| (1..=2).contains(&count)), "{counts:?}");
}

#[test]
fn a_hidden_token_shows_its_column_and_nothing_else() {
    let modality = fitted(TableConfig::default(), &rows());
    let encoder = encoder(&modality, &Device::flex());
    let batch = modality.collate(&rows().iter().map(|row| modality.decode(row).unwrap().unwrap()).collect::<Vec<_>>());
    let mut rngs: Vec<_> = (0..200).map(|row| Seed::new(8).number(row).rng()).collect();
    let masked = modality.mask(&batch, &mut rngs);
    let (plain, disguised) = (tokens(&encoder, &batch), tokens(&encoder, &masked.arrays));
    let hidden = masked.arrays.bool("hidden");
    let mut seen = BTreeMap::<usize, Vec<f32>>::new();
    for row in 0..200 {
        for column in 0..5 {
            let token = &disguised[row][column + 1];
            match hidden[[row, column]] {
                true => assert_eq!(seen.entry(column).or_insert_with(|| token.clone()), token),
                false => assert_eq!(token, &plain[row][column + 1]),
            }
        }
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.iter().all(|(a, x)| seen.iter().all(|(b, y)| a == b || x != y)));
}

#[test]
fn gradients_reach_what_a_batch_uses() {
    let modality = fitted(TableConfig::default(), &rows());
    let device = Device::flex().autodiff();
    let encoder = encoder(&modality, &device);
    let full = [
        ("age", Value::Number(30.0)),
        ("fare", Value::Number(2.0)),
        ("mixed", Value::Number(1.0)),
        ("code", text("c1")),
        ("colour", text("red")),
    ];
    let batch = modality.collate(&[item(&modality, &full).unwrap()]);
    let gradients = encoder.tokens(&batch, &device).values.powi_scalar(2).sum().backward();
    assert!(encoder.scales.as_ref().unwrap().val().grad(&gradients).is_some());
    assert!(encoder.biases.val().grad(&gradients).is_some());
    assert!(encoder.class.as_ref().unwrap().val().grad(&gradients).is_some());
    assert!(encoder.missing.as_ref().unwrap().val().grad(&gradients).is_none(), "nothing is missing");
    assert!(encoder.hidden.val().grad(&gradients).is_none(), "nothing is hidden");
    let masked = modality.mask(&batch, &mut [Seed::new(0).rng()]);
    let gradients = encoder.tokens(&masked.arrays, &device).values.powi_scalar(2).sum().backward();
    assert!(encoder.hidden.val().grad(&gradients).is_some());
}

/// Records of a file as samples: a cell written as JSON writes a number is one; `?` and nothing are
/// absent.
fn records(file: &str) -> Option<Vec<Sample>> {
    let shared = std::env::var_os("SENSORIUM_SHARED").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared").into());
    let path = shared.join("tables").join(file);
    if !path.exists() {
        println!("skipped: no {}", path.display());
        return None;
    }
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).unwrap();
    let names = reader.headers().unwrap().clone();
    let cell = |(name, cell): (&str, &str)| {
        let value = match cell {
            "" | "?" => return None,
            cell => serde_json::from_str(cell).map_or_else(|_| text(cell), Value::Number),
        };
        Some((name.to_owned(), value))
    };
    let record = |record: csv::Result<csv::StringRecord>| Sample {
        key: String::new(),
        fields: names.iter().zip(&record.unwrap()).filter_map(cell).collect(),
    };
    Some(reader.records().map(record).collect())
}

fn columns(file: &str) -> Option<(Vec<String>, Vec<String>, TableModality)> {
    let records = records(file)?;
    let modality = fitted(TableConfig::default(), &records);
    assert!(records.iter().all(|record| modality.decode(record).unwrap().is_some()));
    let numeric = modality.schema().numeric.iter().map(|column| column.name.clone()).collect();
    let categorical = modality.schema().categorical.iter().map(|column| column.name.clone()).collect();
    Some((numeric, categorical, modality))
}

#[test]
fn adult() {
    let Some((numeric, categorical, modality)) = columns("adult-train.csv") else { return };
    assert_eq!(numeric, ["age", "capital_gain", "capital_loss", "education_num", "fnlwgt", "hours_per_week"]);
    assert_eq!(categorical.len(), 9, "{categorical:?}");
    let missing = modality.schema().decisions.iter().find(|one| one.column == "workclass").unwrap().missing;
    assert!((0.01..0.1).contains(&missing), "{missing}");
}

#[test]
fn titanic() {
    let Some((numeric, categorical, modality)) = columns("titanic.csv") else { return };
    assert_eq!(numeric, ["age", "fare", "parch", "pclass", "sibsp", "survived"]);
    assert!(categorical.starts_with(&["cabin".to_owned(), "embarked".to_owned()]) || categorical[0] == "embarked");
    assert!(!categorical.contains(&"name".to_owned()), "{:?}", modality.schema().decisions);
}

#[test]
fn heart() {
    let Some((numeric, categorical, _)) = columns("heart_cleveland.csv") else { return };
    assert_eq!((numeric.len(), categorical.len()), (14, 0), "{numeric:?} {categorical:?}");
}
