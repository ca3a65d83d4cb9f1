use std::path::Path;

use sensorium_families::Checkpoint;
use sensorium_modalities::text::{Words, read_tokenizer};
use serde_json::Value;

use super::json;
use crate::Error;

/// Most tokens of a text where nothing says so.
const CONTEXT: u64 = 512;
/// `model_max_length` above this means that there is none.
const NO_LIMIT: u64 = 1 << 20;
/// What pads a text where the tokenizer does not say.
const PAD: i64 = 1;

/// The tokenizer of a published model, with the limit that comes first among those that are stated.
pub(super) fn words(directory: &Path, checkpoint: &Checkpoint, filled: bool) -> Result<Words, Error> {
    let config = &checkpoint.config;
    let side = if config["text_config"].is_object() { &config["text_config"] } else { config };
    let tokenizer = read_tokenizer(directory, config["model_type"].as_str().unwrap_or_default())?;
    let settings = json(&directory.join("tokenizer_config.json"))?;
    let sentence = json(&directory.join("sentence_bert_config.json"))?;
    let stated = |config: &Value, key: &str| config[key].as_u64().filter(|&most| most < NO_LIMIT);
    let positions = ["max_position_embeddings", "n_positions"].iter().find_map(|key| stated(side, key));
    let positions = positions.map(|count| count - before_first(side).min(count));
    let context = match filled {
        true => positions.unwrap_or(64),
        false => stated(&sentence, "max_seq_length")
            .or_else(|| stated(&settings, "model_max_length"))
            .unwrap_or(CONTEXT)
            .min(positions.unwrap_or(CONTEXT)),
    };
    let pad = || {
        let token = settings["pad_token"].as_str().or_else(|| settings["pad_token"]["content"].as_str());
        let own = token.and_then(|token| tokenizer.token_to_id(token)).map(i64::from);
        own.or_else(|| side["pad_token_id"].as_i64()).unwrap_or(PAD)
    };
    let fill = filled.then(pad);
    Ok(Words::new(tokenizer, context as usize, fill)?)
}

/// Rows of the table of positions that stand for no position: RoBERTa's kin count from behind the padding's id.
fn before_first(config: &Value) -> u64 {
    let kin = ["roberta", "xlm-roberta", "camembert", "clap_text_model"];
    match config["model_type"].as_str() {
        Some(family) if kin.contains(&family) => config["pad_token_id"].as_u64().unwrap_or(PAD as u64) + 1,
        _ => 0,
    }
}
