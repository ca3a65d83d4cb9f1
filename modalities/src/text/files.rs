//! The files in which tokenizers are published: `tokenizer.json`, or what stood in its place before: `vocab.txt` of
//! BERT and ESM, `vocab.json` with `merges.txt` of GPT, GPT-2, RoBERTa, CLIP and their kin.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value as Json, json};
use tokenizers::Tokenizer;

use super::{TextError, pieces};

/// The form of a tokenizer of today.
const JSON: &str = "tokenizer.json";
const CONFIG: &str = "config.json";
const WORDS: &str = "vocab.txt";
const PIECES: &str = "vocab.json";
const MERGES: &str = "merges.txt";
/// Models of the sentencepiece library.
const SENTENCE_PIECES: [&str; 3] = [T5_PIECES, "sentencepiece.bpe.model", "tokenizer.model"];
const T5_PIECES: &str = "spiece.model";
/// Tokens of T5 for stretches that are left out, where nothing says how many there are, and the most there can be.
const EXTRA: [u64; 2] = [100, 10_000];
/// How CLIP's tokenizer cuts a text into words.
const CLIP_WORDS: &str = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// The tokenizer of a published model's directory. `family` is the configuration's `model_type`, which says what the
/// older files mean.
///
/// # Errors
/// If there is none that can be read, with a hint how to make one.
pub fn read_tokenizer(directory: &Path, family: &str) -> Result<Tokenizer, TextError> {
    let (place, json) = tokenizer_text(directory, family)?;
    parse(&place, &json)
}

/// The text of a published model's tokenizer, as `tokenizer.json` has it, and where it comes from; the directory's
/// configuration says what older files mean.
///
/// # Errors
/// As [`read_tokenizer`].
pub fn published_tokenizer(directory: &Path) -> Result<String, TextError> {
    let path = directory.join(CONFIG);
    let config = if path.exists() { object(&path)? } else { json!({}) };
    let (_, json) = tokenizer_text(directory, config["model_type"].as_str().unwrap_or_default())?;
    Ok(json)
}

fn tokenizer_text(directory: &Path, family: &str) -> Result<(PathBuf, String), TextError> {
    let path = directory.join(JSON);
    if path.exists() {
        let json = read(&path)?;
        return Ok((path, json));
    }
    let files = Files { directory, settings: settings(directory)? };
    let layout = match family {
        "clip" | "clip_text_model" => files.clip()?,
        "openai-gpt" => files.gpt()?,
        "roberta" | "clap_text_model" | "bart" => files.byte_pairs(Some(["<s>", "</s>"]))?,
        "gpt2" | "whisper" | "llama" => files.byte_pairs(None)?,
        "esm" => files.letters()?,
        "t5" | "mt5" => files.sentence_pieces()?,
        _ => files.word_pieces()?,
    };
    Ok((directory.to_owned(), layout.to_string()))
}

fn read(path: &Path) -> Result<String, TextError> {
    fs::read_to_string(path).map_err(|source| TextError::Read { path: path.to_owned(), source })
}

fn parse(place: &Path, json: &str) -> Result<Tokenizer, TextError> {
    let damaged = |detail: String| TextError::Damaged { place: place.display().to_string(), detail };
    let mut tokenizer = super::tokenizer::read(json).map_err(damaged)?;
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|error| damaged(error.to_string()))?;
    Ok(tokenizer)
}

/// `tokenizer_config.json`; empty if there is none.
fn settings(directory: &Path) -> Result<Json, TextError> {
    let path = directory.join("tokenizer_config.json");
    match path.exists() {
        true => object(&path),
        false => Ok(json!({})),
    }
}

fn object(path: &Path) -> Result<Json, TextError> {
    let damaged = |detail: String| TextError::Damaged { place: path.display().to_string(), detail };
    let value: Json = serde_json::from_str(&read(path)?).map_err(|error| damaged(error.to_string()))?;
    match value.is_object() {
        true => Ok(value),
        false => Err(damaged("expected an object".to_owned())),
    }
}

/// A directory with a tokenizer in an older form. What each method makes is the text of a `tokenizer.json`.
struct Files<'a> {
    directory: &'a Path,
    settings: Json,
}

impl Files<'_> {
    /// BERT's: words and their ends by longest match (Devlin et al. 2019).
    fn word_pieces(&self) -> Result<Json, TextError> {
        let vocabulary = self.lines()?;
        let flag = |key: &str| self.settings[key].as_bool().unwrap_or(true);
        Ok(json!({
            "added_tokens": self.added(&vocabulary, &["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"])?,
            "normalizer": {
                "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": flag("tokenize_chinese_chars"),
                "strip_accents": self.settings["strip_accents"], "lowercase": flag("do_lower_case"),
            },
            "pre_tokenizer": { "type": "BertPreTokenizer" },
            "post_processor": self.ends("BertProcessing", &vocabulary, ["[CLS]", "[SEP]"])?,
            "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
            "model": {
                "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": vocabulary,
            },
        }))
    }

    /// ESM's: each line of the vocabulary is a token wherever it stands.
    fn letters(&self) -> Result<Json, TextError> {
        let vocabulary = self.lines()?;
        let added: Vec<Json> = vocabulary.iter().map(|(token, id)| added(token, id, token.starts_with('<'))).collect();
        Ok(json!({
            "added_tokens": added,
            "normalizer": null,
            "pre_tokenizer": { "type": "WhitespaceSplit" },
            "post_processor": self.ends("BertProcessing", &vocabulary, ["<cls>", "<eos>"])?,
            "decoder": null,
            "model": { "type": "WordLevel", "unk_token": "<unk>", "vocab": vocabulary },
        }))
    }

    /// GPT-2's: byte pairs (Radford et al. 2019); RoBERTa's begin and end.
    fn byte_pairs(&self, ends: Option<[&str; 2]>) -> Result<Json, TextError> {
        let vocabulary = self.pieces()?;
        let blank = self.settings["add_prefix_space"].as_bool().unwrap_or(false);
        let bytes = json!({ "type": "ByteLevel", "add_prefix_space": blank, "trim_offsets": true, "use_regex": true });
        let special: &[&str] = match ends {
            Some(_) => &["<s>", "</s>", "<unk>", "<pad>", "<mask>"],
            None => &["<|endoftext|>"],
        };
        let post = match ends {
            Some(ends) => {
                let mut post = self.ends("RobertaProcessing", &vocabulary, ends)?;
                (post["trim_offsets"], post["add_prefix_space"]) = (true.into(), blank.into());
                post
            }
            None => bytes.clone(),
        };
        Ok(json!({
            "added_tokens": self.added(&vocabulary, special)?,
            "normalizer": null,
            "pre_tokenizer": bytes,
            "post_processor": post,
            "decoder": bytes,
            "model": self.merging(&vocabulary, "", Json::Null)?,
        }))
    }

    /// CLIP's: small letters, byte pairs within words, the last piece of a word marked.
    fn clip(&self) -> Result<Json, TextError> {
        const ENDS: [&str; 2] = ["<|startoftext|>", "<|endoftext|>"];
        let vocabulary = self.pieces()?;
        let mut post = self.ends("RobertaProcessing", &vocabulary, ENDS)?;
        (post["trim_offsets"], post["add_prefix_space"]) = (false.into(), false.into());
        let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
        Ok(json!({
            "added_tokens": self.added(&vocabulary, &ENDS)?,
            "normalizer": { "type": "Sequence", "normalizers": [
                { "type": "NFC" },
                { "type": "Replace", "pattern": { "Regex": r"\s+" }, "content": " " },
                { "type": "Lowercase" },
            ] },
            "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
                { "type": "Split", "pattern": { "Regex": CLIP_WORDS }, "behavior": "Removed", "invert": true },
                bytes,
            ] },
            "post_processor": post,
            "decoder": bytes,
            "model": self.merging(&vocabulary, "</w>", ENDS[1].into())?,
        }))
    }

    /// T5's: the likeliest pieces of a text (Kudo 2018).
    fn sentence_pieces(&self) -> Result<Json, TextError> {
        let path = self.need(T5_PIECES)?;
        let bytes = fs::read(&path).map_err(|source| TextError::Read { path: path.clone(), source })?;
        let extra = self.settings["extra_ids"].as_u64().unwrap_or(EXTRA[0]).min(EXTRA[1]);
        pieces::tokenizer(&bytes, extra as usize).map_err(|problem| TextError::Pieces { path, problem })
    }

    /// The first GPT's: BERT's words, byte pairs within them (Radford et al. 2018).
    fn gpt(&self) -> Result<Json, TextError> {
        let vocabulary = self.pieces()?;
        Ok(json!({
            "added_tokens": self.added(&vocabulary, &["<unk>"])?,
            "normalizer": {
                "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
                "lowercase": true,
            },
            "pre_tokenizer": { "type": "BertPreTokenizer" },
            "post_processor": null,
            "decoder": { "type": "BPEDecoder", "suffix": "</w>" },
            "model": self.merging(&vocabulary, "</w>", "<unk>".into())?,
        }))
    }

    fn merging(&self, vocabulary: &Map<String, Json>, suffix: &str, unknown: Json) -> Result<Json, TextError> {
        let path = self.need(MERGES)?;
        let text = read(&path)?;
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with("#version"));
        let merges: Option<Vec<[&str; 2]>> = lines.map(|line| line.split_once(' ').map(<[&str; 2]>::from)).collect();
        let damaged =
            || TextError::Damaged { place: path.display().to_string(), detail: "a line is no pair".to_owned() };
        Ok(json!({
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": "",
            "end_of_word_suffix": suffix, "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary,
            "merges": merges.ok_or_else(damaged)?,
        }))
    }

    /// Lines in the order of their ids.
    fn lines(&self) -> Result<Map<String, Json>, TextError> {
        let text = read(&self.need(WORDS)?)?;
        Ok(text.lines().enumerate().map(|(id, token)| (token.trim_end().to_owned(), id.into())).collect())
    }

    fn pieces(&self) -> Result<Map<String, Json>, TextError> {
        match object(&self.need(PIECES)?)? {
            Json::Object(vocabulary) => Ok(vocabulary),
            _ => Ok(Map::new()),
        }
    }

    fn need(&self, file: &'static str) -> Result<PathBuf, TextError> {
        let path = self.directory.join(file);
        if path.exists() {
            return Ok(path);
        }
        let found = SENTENCE_PIECES.into_iter().find(|name| self.directory.join(name).exists());
        Err(TextError::NoTokenizer { directory: self.directory.to_owned(), missing: file, found })
    }

    /// What begins and ends a text.
    fn ends(&self, kind: &str, vocabulary: &Map<String, Json>, [first, last]: [&str; 2]) -> Result<Json, TextError> {
        let id = |token: &str| vocabulary.get(token).cloned().ok_or_else(|| self.lacks(token));
        Ok(json!({ "type": kind, "cls": [first, id(first)?], "sep": [last, id(last)?] }))
    }

    fn lacks(&self, token: &str) -> TextError {
        TextError::Damaged {
            place: self.directory.display().to_string(),
            detail: format!("its vocabulary lacks `{token}`"),
        }
    }

    /// Tokens that are found before anything else: the special ones of the vocabulary, and those that were added to it
    /// (`added_tokens_decoder` of `tokenizer_config.json`, or `added_tokens.json`).
    fn added(&self, vocabulary: &Map<String, Json>, special: &[&str]) -> Result<Vec<Json>, TextError> {
        let own = special.iter().filter_map(|&token| Some(added(token, vocabulary.get(token)?, true)));
        let mut all: Vec<Json> = own.collect();
        for (id, token) in self.settings["added_tokens_decoder"].as_object().into_iter().flatten() {
            let (Ok(id), Some(content)) = (id.parse::<u64>(), token["content"].as_str()) else { continue };
            let flag = |key: &str| token[key].as_bool().unwrap_or(false);
            let mut entry = added(content, &id.into(), flag("special"));
            ["lstrip", "rstrip", "normalized", "single_word"].iter().for_each(|key| entry[*key] = flag(key).into());
            all.retain(|other| other["content"] != entry["content"]);
            all.push(entry);
        }
        let path = self.directory.join("added_tokens.json");
        if path.exists() {
            for (token, id) in object(&path)?.as_object().into_iter().flatten() {
                if all.iter().all(|other| other["content"] != token.as_str()) {
                    all.push(added(token, id, true));
                }
            }
        }
        all.sort_by_key(|token| token["id"].as_u64());
        Ok(all)
    }
}

fn added(token: &str, id: &Json, special: bool) -> Json {
    json!({
        "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        "special": special,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        reference::{fixture, metadata},
        text::Words,
    };

    #[derive(serde::Deserialize)]
    struct Case {
        name: String,
        family: String,
        files: std::collections::BTreeMap<String, String>,
        texts: Vec<String>,
        ids: Vec<Vec<i64>>,
    }

    #[test]
    fn older_files_give_the_library_s_ids() {
        let cases: Vec<Case> = serde_json::from_str(&metadata(&fixture("preprocessing.safetensors"))["texts"]).unwrap();
        assert_eq!(cases.len(), 8);
        let mut wrong = Vec::new();
        for Case { name, family, files, texts, ids } in cases {
            let folder = tempfile::tempdir().unwrap();
            files.iter().for_each(|(file, content)| fs::write(folder.path().join(file), content).unwrap());
            let words = Words::new(read_tokenizer(folder.path(), &family).unwrap(), 512, None).unwrap();
            for (text, expected) in texts.iter().zip(&ids) {
                let found = words.ids("text", text).unwrap();
                if found != *expected {
                    wrong.push(format!("{name}: {text:?}: expected {expected:?}, found {found:?}"));
                }
            }
        }
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    }

    #[test]
    fn what_is_missing_is_said_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let message = |family| read_tokenizer(folder.path(), family).unwrap_err().to_string();
        assert!(message("gpt2").contains("neither `tokenizer.json` nor `vocab.json`"));
        fs::write(folder.path().join("spiece.model"), "").unwrap();
        assert!(message("xlm-roberta").contains("`spiece.model` of the sentencepiece library is not read"));
        assert!(message("t5").contains("it has no piece `</s>`"));
        fs::write(folder.path().join("spiece.model"), "pieces").unwrap();
        assert!(message("t5").contains("is no model of the sentencepiece library that is read here"));
        fs::write(folder.path().join("vocab.txt"), "a\nb\n").unwrap();
        assert!(message("bert").contains("lacks `[CLS]`"));
        fs::write(folder.path().join("vocab.json"), "[]").unwrap();
        assert!(message("clip").contains("vocab.json"));
    }
}
