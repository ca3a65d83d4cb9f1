//! Models of the sentencepiece library (Kudo and Richardson 2018) whose pieces are chosen by their likelihood
//! (unigram, Kudo 2018), as T5 has them: the text of the `tokenizer.json` that means the same.

use base64::{Engine, prelude::BASE64_STANDARD};
use prost::Message;
use serde_json::{Value as Json, json};

/// `ModelProto` of the library's `sentencepiece_model.proto`, of which only this is read.
#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<Trainer>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<Normalizer>,
}

#[derive(Clone, PartialEq, Message)]
struct Piece {
    #[prost(string, tag = "1")]
    piece: String,
    #[prost(float, tag = "2")]
    score: f32,
}

#[derive(Clone, PartialEq, Message)]
struct Trainer {
    #[prost(int32, optional, tag = "3")]
    model_type: Option<i32>,
    #[prost(bool, tag = "35")]
    byte_fallback: bool,
    #[prost(int32, tag = "40")]
    unk_id: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Normalizer {
    #[prost(bytes, tag = "2")]
    precompiled_charsmap: Vec<u8>,
}

/// `model_type` of models that choose pieces by their likelihood; what a file that says nothing means.
const UNIGRAM: i32 = 1;
/// Ends every text of T5.
const END: &str = "</s>";
const SPECIAL: [&str; 3] = ["<pad>", END, "<unk>"];

/// The tokenizer of T5 from its model: `extra` more tokens stand for stretches that are left out.
///
/// # Errors
/// If the bytes are no such model, or it lacks what T5 needs.
pub(super) fn tokenizer(bytes: &[u8], extra: usize) -> Result<Json, String> {
    let model = Model::decode(bytes).map_err(|error| error.to_string())?;
    let trainer = model.trainer.unwrap_or_default();
    if trainer.model_type.unwrap_or(UNIGRAM) != UNIGRAM || trainer.byte_fallback {
        return Err("only unigram models without bytes are known here".to_owned());
    }
    let own = model.pieces.iter().map(|piece| (piece.piece.clone(), f64::from(piece.score)));
    let more = (0..extra).rev().map(|number| (format!("<extra_id_{number}>"), 0.0));
    let pieces: Vec<(String, f64)> = own.chain(more).collect();
    let place = |name: &str| pieces.iter().position(|(piece, _)| piece == name);
    let end = place(END).ok_or_else(|| format!("it has no piece `{END}`"))?;
    let first_extra = pieces.len() - extra;
    let special = SPECIAL.iter().filter_map(|name| Some((place(name)?, *name)));
    let special =
        special.chain(pieces[first_extra..].iter().enumerate().map(|(at, (name, _))| (first_extra + at, &**name)));
    let added = special.map(|(id, name)| {
        json!({
            "id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": true,
        })
    });
    let charsmap = model.normalizer.unwrap_or_default().precompiled_charsmap;
    let normalizer = match charsmap.is_empty() {
        true => Json::Null,
        false => json!({ "type": "Precompiled", "precompiled_charsmap": BASE64_STANDARD.encode(charsmap) }),
    };
    let words = json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true });
    let (text, other) = (sequence("A"), sequence("B"));
    let ends = json!({ "SpecialToken": { "id": END, "type_id": 0 } });
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": normalizer,
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [{ "type": "WhitespaceSplit" }, words] },
        "post_processor": {
            "type": "TemplateProcessing", "single": [text, ends], "pair": [text, ends, other, ends],
            "special_tokens": { END: { "id": END, "ids": [end], "tokens": [END] } },
        },
        "decoder": words,
        "model": { "type": "Unigram", "unk_id": trainer.unk_id, "vocab": pieces, "byte_fallback": false },
    }))
}

fn sequence(id: &str) -> Json {
    json!({ "Sequence": { "id": id, "type_id": 0 } })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        reference::fixture,
        text::{Words, read_tokenizer},
    };

    fn assert_ids(directory: &Path, case: &Json) {
        let words = Words::new(read_tokenizer(directory, "t5").unwrap(), 4096, None).unwrap();
        let texts = case["texts"].as_array().unwrap();
        for (text, expected) in texts.iter().zip(case["ids"].as_array().unwrap()) {
            let text = text.as_str().unwrap();
            let found = words.ids("text", text).unwrap();
            assert_eq!(json!(found), *expected, "{text:?}");
        }
        println!("{} texts agree", texts.len());
    }

    #[test]
    fn pieces_agree_with_the_library() {
        let case: Json = serde_json::from_slice(&fixture("pieces.json")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let model = BASE64_STANDARD.decode(case["model"].as_str().unwrap()).unwrap();
        std::fs::write(folder.path().join("spiece.model"), &model).unwrap();
        assert_ids(folder.path(), &case);
        // Cut anywhere, it is an error or another model, and no panic.
        for length in (0..model.len()).step_by(7) {
            std::fs::write(folder.path().join("spiece.model"), &model[..length]).unwrap();
            let _ = read_tokenizer(folder.path(), "t5");
        }
    }

    /// A model of T5's own normalisation, where `tests/reference/pieces.py` made one.
    #[test]
    fn larger_models_of_pieces_agree() {
        let Some(directory) = std::env::var_os("SENSORIUM_PIECES") else {
            println!("skipped: no larger model (SENSORIUM_PIECES)");
            return;
        };
        let directory = Path::new(&directory);
        assert_ids(directory, &serde_json::from_slice(&std::fs::read(directory.join("ids.json")).unwrap()).unwrap());
    }

    #[test]
    fn other_kinds_of_pieces_are_refused() {
        let trainer = Trainer { model_type: Some(2), ..Trainer::default() };
        let pairs = Model { trainer: Some(trainer), ..Model::default() };
        assert!(tokenizer(&pairs.encode_to_vec(), 0).unwrap_err().contains("only unigram"));
    }
}
