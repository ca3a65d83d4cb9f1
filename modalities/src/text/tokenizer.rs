use std::{
    collections::{BTreeSet, HashMap},
    sync::OnceLock,
};

use serde_json::{Value as Json, json};
use tokenizers::{
    NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Tokenizer,
    pre_tokenizers::byte_level::ByteLevel,
};

use super::{
    TextError, TokenizerKind, Training,
    merges::{Learning, Subwords, learn},
};

const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[BOS]", "[EOS]", "[MASK]"];
const PAD: [&str; 4] = [SPECIAL[0], "<pad>", "<|pad|>", "<PAD>"];
const UNK: [&str; 2] = [SPECIAL[1], "<unk>"];
pub(super) const BOS: [&str; 8] =
    [SPECIAL[2], "[CLS]", "<s>", "<cls>", "<bos>", "<|startoftext|>", "<|begin_of_text|>", "<|endoftext|>"];
pub(super) const EOS: [&str; 6] = [SPECIAL[3], "[SEP]", "</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>"];
const MASK: [&str; 2] = [SPECIAL[4], "<mask>"];

/// What is one token of SMILES: an atom in brackets, one of two letters, a ring of two digits, else a
/// character (Weininger 1988 lists them).
const ATOM: &str = r"\[[^\]]*\]|Br|Cl|%[0-9][0-9]|.";

/// Distinct words that are counted; what comes after them adds to the words known so far only, so
/// that memory stays bounded.
const MAX_WORDS: usize = 1_000_000;

/// Ids with a purpose. A tokenizer from elsewhere may lack some.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SpecialIds {
    /// Fills rows; 0 where the tokenizer has none, as a padded place is never read.
    pub pad: i64,
    pub bos: Option<i64>,
    pub eos: Option<i64>,
    pub mask: Option<i64>,
    /// Every id that stands for no text.
    pub all: BTreeSet<i64>,
}

/// As the library reads a file's text; what it panics at is an error too.
pub(super) fn read(json: &str) -> Result<Tokenizer, String> {
    let read = std::panic::catch_unwind(|| Tokenizer::from_bytes(json));
    let read = read.map_err(|_| "the tokenizers library gave up on it".to_owned())?;
    read.map_err(|error| error.to_string())
}

/// A tokenizer from its file's text, set up so that a text's tokens depend on nothing but the text.
///
/// `place` says in errors where the text came from.
pub(super) fn parse(json: &str, place: &str) -> Result<Tokenizer, TextError> {
    let damaged = |detail: String| TextError::Damaged { place: place.to_owned(), detail };
    let mut tokenizer = read(json).map_err(damaged)?;
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|error| damaged(error.to_string()))?;
    // `[MASK]` written in a text is text.
    tokenizer.set_encode_special_tokens(true);
    Ok(tokenizer)
}

/// The ids with a purpose, by the names under which tokenizers in use know them.
pub(super) fn special_ids(tokenizer: &Tokenizer) -> SpecialIds {
    let find = |names: &[&str]| names.iter().find_map(|name| tokenizer.token_to_id(name)).map(i64::from);
    let (pad, unk, bos, eos, mask) = (find(&PAD), find(&UNK), find(&BOS), find(&EOS), find(&MASK));
    let added = tokenizer.get_added_tokens_decoder().into_iter().filter(|(_, token)| token.special);
    let mut all: BTreeSet<i64> = added.map(|(id, _)| i64::from(id)).collect();
    all.extend([pad, unk, bos, eos, mask].into_iter().flatten());
    SpecialIds { pad: pad.unwrap_or(0), bos, eos, mask, all }
}

/// One more than the greatest id.
pub(super) fn vocabulary(tokenizer: &Tokenizer) -> usize {
    tokenizer.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1)
}

/// Learns a tokenizer and returns its `tokenizer.json`: the same texts give the same bytes.
pub(super) fn train(
    training: &Training,
    field: &str,
    texts: &mut dyn Iterator<Item = String>,
) -> Result<String, TextError> {
    let least = SPECIAL.len() + if training.kind == TokenizerKind::Bpe { 256 } else { 1 };
    if training.kind != TokenizerKind::Byte && training.vocabulary < least {
        return Err(TextError::Vocabulary { kind: training.kind, least, found: training.vocabulary });
    }
    let subwords = match training.kind {
        TokenizerKind::Byte => Subwords { vocabulary: byte_alphabet().to_vec(), merges: Vec::new() },
        kind => {
            let words = count_words(training, texts)?;
            if words.is_empty() {
                return Err(TextError::NoTexts { field: field.to_owned() });
            }
            match kind {
                TokenizerKind::Smiles => whole(words, training.vocabulary - SPECIAL.len()),
                _ => learn(
                    &words,
                    &Learning {
                        alphabet: if kind == TokenizerKind::Bpe { byte_alphabet().to_vec() } else { Vec::new() },
                        prefix: if kind == TokenizerKind::WordPiece { "##" } else { "" },
                        size: training.vocabulary - SPECIAL.len(),
                        min_frequency: training.min_frequency,
                    },
                ),
            }
        }
    };
    Ok(format!("{:#}\n", layout(training, &subwords)))
}

/// The most frequent words as they are; of equally frequent ones the alphabetically first.
fn whole(mut words: Vec<(String, u64)>, most: usize) -> Subwords {
    words.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    words.truncate(most);
    Subwords { vocabulary: words.into_iter().map(|(word, _)| word).collect(), merges: Vec::new() }
}

/// Distinct words of the texts with their counts, in no order. Of characters each is a word.
fn count_words(training: &Training, texts: &mut dyn Iterator<Item = String>) -> Result<Vec<(String, u64)>, TextError> {
    let empty = Subwords { vocabulary: Vec::new(), merges: Vec::new() };
    let splitter = parse(&layout(training, &empty).to_string(), "a new tokenizer")?;
    let mut counts = HashMap::<String, u64>::new();
    let mut add = |word: &str| {
        if let Some(count) = counts.get_mut(word) {
            *count += 1;
        } else if counts.len() < MAX_WORDS {
            counts.insert(word.to_owned(), 1);
        }
    };
    let mut letter = [0; 4];
    for text in texts {
        let pieces = split(&splitter, &text)
            .map_err(|error| TextError::Damaged { place: "a new tokenizer".to_owned(), detail: error.to_string() })?;
        for piece in &pieces {
            match training.kind {
                TokenizerKind::Character => piece.chars().for_each(|c| add(c.encode_utf8(&mut letter))),
                _ => add(piece),
            }
        }
    }
    Ok(counts.into_iter().collect())
}

/// A text as the model of a tokenizer sees it: normalised, in words.
fn split(tokenizer: &Tokenizer, text: &str) -> tokenizers::Result<Vec<String>> {
    let mut normalized = NormalizedString::from(text);
    if let Some(normalizer) = tokenizer.get_normalizer() {
        normalizer.normalize(&mut normalized)?;
    }
    let mut pieces = PreTokenizedString::from(normalized);
    if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
        pre_tokenizer.pre_tokenize(&mut pieces)?;
    }
    let pieces = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
    Ok(pieces.into_iter().map(|(piece, _, _)| piece.to_owned()).filter(|piece| !piece.is_empty()).collect())
}

/// The characters by which byte-level tokenizers write the 256 bytes, sorted.
fn byte_alphabet() -> &'static [String] {
    static ALPHABET: OnceLock<Vec<String>> = OnceLock::new();
    ALPHABET.get_or_init(|| {
        let alphabet: BTreeSet<char> = ByteLevel::alphabet().into_iter().collect();
        alphabet.into_iter().map(String::from).collect()
    })
}

/// The `tokenizer.json` of a learned vocabulary. Other tools that read it add the same first and
/// last token.
fn layout(training: &Training, subwords: &Subwords) -> Json {
    let entries = SPECIAL.iter().map(|&token| token.to_owned()).chain(subwords.vocabulary.iter().cloned());
    let vocabulary: serde_json::Map<String, Json> = entries.zip((0..).map(Json::from)).collect();
    let special = |(id, token): (usize, &&str)| {
        json!({
            "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        })
    };
    let composed = match training.lowercase {
        true => json!({ "type": "Sequence", "normalizers": [{ "type": "NFC" }, { "type": "Lowercase" }] }),
        false => json!({ "type": "NFC" }),
    };
    let bytes = |words: bool| json!({ "type": "ByteLevel", "add_prefix_space": words, "trim_offsets": true, "use_regex": words });
    let (normalizer, pre_tokenizer, decoder) = match training.kind {
        TokenizerKind::Bpe => (composed, bytes(true), bytes(true)),
        TokenizerKind::Byte => (composed, bytes(false), bytes(false)),
        TokenizerKind::Character => (composed, Json::Null, json!({ "type": "Fuse" })),
        TokenizerKind::Smiles => (
            composed,
            json!({ "type": "Split", "pattern": { "Regex": ATOM }, "behavior": "Isolated", "invert": false }),
            json!({ "type": "Fuse" }),
        ),
        TokenizerKind::WordPiece => (
            json!({
                "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": false, "lowercase": training.lowercase,
            }),
            json!({ "type": "BertPreTokenizer" }),
            json!({ "type": "WordPiece", "prefix": "##", "cleanup": true }),
        ),
    };
    let model = match training.kind {
        TokenizerKind::WordPiece => json!({
            "type": "WordPiece", "unk_token": SPECIAL[1], "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 1000, "vocab": vocabulary,
        }),
        TokenizerKind::Smiles => json!({ "type": "WordLevel", "unk_token": SPECIAL[1], "vocab": vocabulary }),
        _ => json!({
            "type": "BPE", "dropout": null, "unk_token": SPECIAL[1], "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": subwords.merges,
        }),
    };
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": SPECIAL.iter().enumerate().map(special).collect::<Vec<_>>(),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": template(),
        "decoder": decoder,
        "model": model,
    })
}

fn template() -> Json {
    let special = |place: usize| json!({ "SpecialToken": { "id": SPECIAL[place], "type_id": 0 } });
    let sequence = |id: &str, type_id: usize| json!({ "Sequence": { "id": id, "type_id": type_id } });
    let token = |place: usize| json!({ "id": SPECIAL[place], "ids": [place], "tokens": [SPECIAL[place]] });
    json!({
        "type": "TemplateProcessing",
        "single": [special(2), sequence("A", 0), special(3)],
        "pair": [special(2), sequence("A", 0), special(3), sequence("B", 1), special(3)],
        "special_tokens": { SPECIAL[2]: token(2), SPECIAL[3]: token(3) },
    })
}
