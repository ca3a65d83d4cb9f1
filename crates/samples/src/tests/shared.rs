use sensorium_contract::{Sample, Value};

use super::{all, shared, text};
use crate::{Dataset, SourceConfig, SourceError};

/// All samples of one source of the reference data.
fn load(config: SourceConfig) -> Option<Vec<Sample>> {
    let base = shared()?;
    Some(all(&Dataset::open(&[config], &base).unwrap()))
}

fn count(samples: &[Sample], field: &str) -> usize {
    samples.iter().filter(|sample| sample.fields.contains_key(field)).count()
}

#[test]
fn emoji_shards() {
    for (name, expected) in [("noto-train", 1911), ("twemoji-train", 1151), ("twemoji-val", 363)] {
        let Some(samples) = load(SourceConfig::new(format!("emoji/{name}.tar"))) else { return };
        assert_eq!(samples.len(), expected, "{name}");
        for sample in &samples {
            assert!(matches!(&sample.fields["image"], Value::Bytes(bytes) if bytes.starts_with(b"\x89PNG")));
            assert!(matches!(&sample.fields["audio"], Value::Bytes(bytes) if bytes.starts_with(b"RIFF")));
            assert!(matches!(&sample.fields["text"], Value::Text(_)));
            assert!(matches!(&sample.fields["code_points"], Value::Number(_)));
            assert!(matches!(&sample.fields["has_skin_tones"], Value::Text(text) if text == "true" || text == "false"));
            assert_eq!(sample.fields.len(), 3 + 8);
        }
    }
}

#[test]
fn xray_csv() {
    let Some(samples) = load(SourceConfig::new("xray/cases.csv")) else { return };
    assert_eq!(samples.len(), 153);
    let pictures = samples.iter().filter(|sample| matches!(sample.fields["image"], Value::Bytes(_))).count();
    assert_eq!(pictures, 153);
    let place = text("Myongji Hospital, Goyang, South Korea");
    assert!(samples.iter().any(|sample| sample.fields.get("location") == Some(&place)));
    assert!(count(&samples, "temperature") < 76, "most temperatures are missing");
}

#[test]
fn stamps_json_lines() {
    let Some(samples) = load(SourceConfig::new("stamps/stamps.jsonl")) else { return };
    assert_eq!(samples.len(), 384);
    assert_eq!((samples[1].key.as_str(), &samples[1].fields["caption_de"]), ("0001", &text("Ein Frosch.")));
    for (field, expected) in [("image", 384), ("speech_fr", 338), ("sound", 63)] {
        let bytes = samples.iter().filter(|sample| matches!(sample.fields.get(field), Some(Value::Bytes(_))));
        assert_eq!(bytes.count(), expected, "{field}");
    }
}

#[test]
fn sounds_csv() {
    let Some(samples) = load(SourceConfig::new("sounds/clips.csv")) else { return };
    assert_eq!(samples.len(), 160);
    assert!(
        samples
            .iter()
            .all(|sample| matches!(&sample.fields["audio"], Value::Bytes(bytes) if bytes.starts_with(b"RIFF")))
    );
}

#[test]
fn medical_parquet() {
    for (name, expected) in [("retina/train", 1080), ("retina/val", 120), ("breast/train", 546), ("breast/val", 78)] {
        let Some(samples) = load(SourceConfig::new(format!("{name}-*.parquet"))) else { return };
        assert_eq!(samples.len(), expected, "{name}");
        for sample in &samples {
            assert!(matches!(&sample.fields["image"], Value::Bytes(bytes) if bytes.starts_with(b"\x89PNG")));
            assert!(matches!(sample.fields["label"], Value::Number(_)), "{sample:?}");
        }
    }
}

#[test]
fn plain_tables() {
    let tables = [
        ("tables/adult-train.csv", 12000, 15),
        ("tables/heart_cleveland.csv", 217, 14),
        ("tables/titanic.csv", 627, 11),
        ("molecules/BBBP.csv", 1413, 4),
        ("molecules/esol_delaney.csv", 783, 10),
        ("molecules/lipophilicity.csv", 2968, 3),
        ("proteins/gb1_three_vs_rest_train.csv", 2990, 2),
    ];
    for (path, rows, columns) in tables {
        let Some(samples) = load(SourceConfig::new(path)) else { return };
        assert_eq!(samples.len(), rows, "{path}");
        assert_eq!(samples.iter().map(|sample| sample.fields.len()).max(), Some(columns), "{path}");
    }
    let adult = load(SourceConfig::new("tables/adult-train.csv")).unwrap();
    let first = adult.iter().find(|sample| sample.key == "0").unwrap();
    assert_eq!((&first.fields["workclass"], &first.fields["age"]), (&text("State-gov"), &Value::Number(39.0)));
    assert!(count(&adult, "workclass") < 12000, "`?` is absent");
    assert!(adult.iter().all(|sample| sample.fields.get("workclass") != Some(&text("?"))));
}

#[test]
fn table_without_header() {
    let mut config = SourceConfig::new("text/agnews_train4k.tsv");
    config.header = false;
    config.fields = [("text", "column_0"), ("label", "column_1")].map(|(new, old)| (new.into(), old.into())).into();
    let Some(samples) = load(config) else { return };
    assert_eq!((samples.len(), count(&samples, "text"), count(&samples, "label")), (4000, 4000, 4000));
    let labels: std::collections::BTreeSet<_> =
        samples.iter().filter_map(|sample| sample.fields["label"].as_text()).collect();
    assert_eq!(labels.len(), 4, "{labels:?}");
}

#[test]
fn a_folder_of_tables_must_be_of_one_format() {
    let Some(base) = shared() else { return };
    let error = super::open("text/tinyshakespeare.txt", &base).unwrap_err();
    assert!(matches!(error, SourceError::Format { .. }), "{error}");
    assert_eq!(super::open("emoji", &base).unwrap().len(), 1911 + 1151 + 363);
}
