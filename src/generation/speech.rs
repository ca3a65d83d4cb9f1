//! Whisper (Radford et al. 2022) on a sound: which tokens its answer begins with, and which never come.

use std::{collections::BTreeMap, path::Path};

use burn::tensor::Device;
use ndarray::Array2;
use sensorium_contract::{Array, host_f32};
use sensorium_families::{Checkpoint, FamilyError, Inputs};
use serde_json::Value;

use super::{Prompt, Settings, settings::ids};
use crate::{Error, published::whisper};

/// The token that begins an answer where nothing says so.
const START: i64 = 50_257;
/// Where a model has no more positions for an answer, if it does not say.
const POSITIONS: u64 = 448;
/// What a multilingual model does if it is told a language and nothing else.
const TRANSCRIBE: &str = "transcribe";

/// A sound, and what is asked about it.
#[derive(Clone, Debug)]
pub struct Speech<'a> {
    /// A WAV file.
    pub wav: &'a [u8],
    /// A code such as `fr`; heard by the model where it is not given.
    pub language: Option<&'a str>,
    /// `transcribe` or `translate` (to English).
    pub task: Option<&'a str>,
}

/// What Whisper goes on from: the sound's first 30 seconds, and the tokens of language and task, as the transformers
/// library chooses them.
///
/// # Errors
/// If the sound cannot be decoded, or the model does not know the language or task.
pub fn speech(directory: &Path, checkpoint: &Checkpoint, asked: &Speech<'_>, device: &Device) -> Result<Prompt, Error> {
    let settings = Settings::read(directory, &checkpoint.config)?;
    let features = whisper(directory)?.features(asked.wav).map_err(|fault| Error::Content(fault.to_string()))?;
    let Array::F32(features) = features else { unreachable!("features are floats") };
    let inputs = BTreeMap::from([("input_features".to_owned(), Array::F32(features.insert_axis(ndarray::Axis(0))))]);
    let hear = |languages: &[i64], start: i64| heard(checkpoint, &inputs, languages, start, device);
    let start = start(&settings, asked, &hear)?;
    let positions = checkpoint.config["max_target_positions"].as_u64().unwrap_or(POSITIONS) as usize;
    Ok(Prompt {
        most: Some(positions.saturating_sub(start.len())),
        suppressed: ids(settings.get("suppress_tokens")),
        suppressed_first: ids(settings.get("begin_suppress_tokens")),
        inputs,
        start,
    })
}

/// Which of some tokens of languages is the most probable after the one that begins an answer.
type Hear<'a> = dyn Fn(&[i64], i64) -> Result<i64, Error> + 'a;

/// The tokens before the answer: its start, language, task, and that no times follow.
fn start(settings: &Settings, asked: &Speech<'_>, hear: &Hear<'_>) -> Result<Vec<i64>, Error> {
    let begin = settings.decoder_start().unwrap_or(START);
    let mut tokens = vec![Some(begin)];
    if asked.language.is_none() && asked.task.is_none() {
        tokens.extend(forced(settings.get_anywhere("forced_decoder_ids")));
    }
    let languages = settings.get("lang_to_id");
    let language = match asked.language {
        Some(code) => Some(named(languages, "language", &format!("<|{}|>", code.to_lowercase()))?),
        None if tokens.get(1).copied().flatten().is_none() && languages.is_object() => {
            let all: Vec<i64> = languages.as_object().into_iter().flatten().filter_map(|(_, id)| id.as_i64()).collect();
            Some(hear(&all, begin)?)
        }
        None => None,
    };
    match (language, tokens.get_mut(1)) {
        (Some(language), Some(place)) => *place = Some(language),
        (Some(language), None) => tokens.push(Some(language)),
        (None, _) => {}
    }
    let tasks = settings.get("task_to_id");
    let task = asked.task.or_else(|| (asked.language.is_some() && tasks.is_object()).then_some(TRANSCRIBE));
    if let Some(task) = task {
        tokens.push(Some(named(tasks, "task", task)?));
    }
    let mut tokens: Vec<i64> = tokens.into_iter().flatten().collect();
    let silent = settings.get("no_timestamps_token_id").as_i64();
    tokens.extend(silent.filter(|id| tokens.last() != Some(id)));
    Ok(tokens)
}

/// `[[1, id], [2, id], …]`, an id of null being left to the model.
fn forced(pairs: &Value) -> Vec<Option<i64>> {
    let pairs = pairs.as_array().into_iter().flatten().enumerate();
    pairs.map_while(|(at, pair)| (pair[0].as_u64() == Some(at as u64 + 1)).then(|| pair[1].as_i64())).collect()
}

/// The id of a name, with or without its marks.
fn named(table: &Value, what: &'static str, name: &str) -> Result<i64, Error> {
    let known = || table.as_object().map(|table| table.keys().cloned().collect::<Vec<_>>().join(", "));
    table[name].as_i64().ok_or_else(|| Error::NotKnown {
        what,
        found: name.trim_matches(['<', '|', '>']).to_owned(),
        known: known().unwrap_or_else(|| "none: it was published without a table of them".to_owned()),
    })
}

/// The language whose token is the most probable after the start.
fn heard(
    checkpoint: &Checkpoint,
    inputs: &BTreeMap<String, Array>,
    languages: &[i64],
    start: i64,
    device: &Device,
) -> Result<i64, Error> {
    let family = checkpoint.network.name();
    let network = checkpoint.network.generates().ok_or(Error::NoGeneration { family })?;
    let mut reading = network.start(&Inputs::new(inputs, device))?;
    let scores = host_f32(network.step(&mut reading, &Array2::from_elem([1, 1], start))?);
    let score = |id: &&i64| scores.get(**id as usize).copied().unwrap_or(f32::NEG_INFINITY);
    let best = languages.iter().max_by(|a, b| score(a).total_cmp(&score(b)).then(b.cmp(a)));
    let none =
        || FamilyError::Config { path: "generation_config.json".into(), problem: "`lang_to_id` is empty".into() };
    Ok(*best.ok_or_else(none)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tokens(settings: Value, language: Option<&str>, task: Option<&str>) -> Result<Vec<i64>, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("generation_config.json"), settings.to_string()).unwrap();
        let settings = Settings::read(folder.path(), &json!({ "decoder_start_token_id": 7 })).unwrap();
        let asked = Speech { wav: &[], language, task };
        start(&settings, &asked, &|languages, _| Ok(languages[1])).map_err(|error| error.to_string())
    }

    #[test]
    fn an_answer_begins_as_the_settings_say() {
        let multilingual = json!({
            "lang_to_id": { "<|en|>": 10, "<|fr|>": 11 }, "task_to_id": { "transcribe": 20, "translate": 21 },
            "no_timestamps_token_id": 30, "forced_decoder_ids": [[1, null], [2, 20]],
        });
        let asked = |language, task| tokens(multilingual.clone(), language, task);
        assert_eq!(asked(None, None), Ok(vec![7, 11, 20, 30]), "the language is heard");
        assert_eq!(asked(Some("en"), None), Ok(vec![7, 10, 20, 30]));
        assert_eq!(asked(None, Some("translate")), Ok(vec![7, 11, 21, 30]));
        assert!(asked(Some("xx"), None).unwrap_err().contains("<|en|>, <|fr|>"));
        let english = json!({ "forced_decoder_ids": [[1, 30]], "no_timestamps_token_id": 30 });
        assert_eq!(tokens(english.clone(), None, None), Ok(vec![7, 30]));
        assert!(tokens(english, Some("en"), None).unwrap_err().contains("without a table"));
        assert_eq!(tokens(json!({}), None, None), Ok(vec![7]));
    }
}
