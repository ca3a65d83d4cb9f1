use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use ndarray::{Array1, Array2, Axis};
use rand::RngExt;
use sensorium_contract::{Array, Arrays, Fault, Head, Item, Masked, Modality, Name, Pool, Rng, Sample, Value, Values};
use tokenizers::{Tokenizer, TruncationParams};

use super::{
    TextConfig, TextError, TokenizerConfig,
    files::published_tokenizer,
    targets,
    tokenizer::{self, SpecialIds},
};

const MODEL: &str = "the model's tokenizer.json";

/// Texts to padded token ids.
///
/// Items hold `ids` `[tokens]`; of several captions also `captions` `[captions, tokens]`, with
/// `lengths` and `contents` `[captions]`. A batch holds `ids` `[rows, tokens]` and, if rows differ in
/// length, `mask` `[rows, tokens]`, true where a token is real.
#[derive(Clone, Debug)]
pub struct TextModality {
    config: TextConfig,
    name: Name,
    tokenizer: Arc<Tokenizer>,
    json: Arc<str>,
    special: SpecialIds,
    vocabulary: usize,
    /// Ids of the vocabulary that stand for text, ascending.
    ordinary: Arc<[i64]>,
    seen: Arc<AtomicUsize>,
    truncated: Arc<AtomicUsize>,
    /// Texts that differ from the others at letters that are not read.
    different: Arc<AtomicUsize>,
}

/// One text in tokens.
struct Encoded {
    ids: Vec<i64>,
    content: u64,
}

impl TextModality {
    /// The tokenizer that the configuration names: read from its file (then `texts` is not read), or
    /// learned from the training texts. The same texts give the same tokenizer.
    ///
    /// # Errors
    /// A file that is missing or no tokenizer, a vocabulary that cannot hold its alphabet, no texts.
    pub fn fit(config: TextConfig, texts: &mut dyn Iterator<Item = String>) -> Result<Self, TextError> {
        config.validate()?;
        match &config.tokenizer {
            TokenizerConfig::File(path) => {
                let read = |source| TextError::Read { path: path.clone(), source };
                let json = fs::read_to_string(path).map_err(read)?;
                let place = path.display().to_string();
                Self::new(config, json, &place)
            }
            TokenizerConfig::Train(training) => {
                let read = |text: String| match &config.letters {
                    Some(letters) => Some(letters.pick(text.trim())?.0),
                    None => Some(text),
                };
                let json = tokenizer::train(training, &config.field, &mut texts.filter_map(read))?;
                Self::new(config, json, "the learned tokenizer")
            }
            TokenizerConfig::Published(directory) => {
                let (json, place) = (published_tokenizer(directory)?, directory.display().to_string());
                Self::new(config, json, &place)
            }
        }
    }

    /// The modality of a saved model: its configuration and what [`TextModality::tokenizer_json`] gave.
    ///
    /// # Errors
    /// If `json` is damaged.
    pub fn load(config: TextConfig, json: &str) -> Result<Self, TextError> {
        config.validate()?;
        Self::new(config, json.to_owned(), MODEL)
    }

    fn new(config: TextConfig, json: String, place: &str) -> Result<Self, TextError> {
        let mut tokenizer = tokenizer::parse(&json, place)?;
        let special = tokenizer::special_ids(&tokenizer);
        let published = matches!(config.tokenizer, TokenizerConfig::Published(_));
        if published {
            bound(&mut tokenizer, config.context)?;
        }
        let vocabulary = tokenizer::vocabulary(&tokenizer);
        if let Some(fill) = config.fill.filter(|&fill| usize::try_from(fill).map_or(true, |fill| fill >= vocabulary)) {
            let expected = "a token id of the tokenizer";
            return Err(TextError::Config { key: "fill", expected, found: fill.to_string() });
        }
        let needs = |purpose, names: &[&str], pool| TextError::NoToken {
            place: place.to_owned(),
            purpose,
            names: names.join(", "),
            pool,
        };
        match config.pool {
            _ if published => {}
            Pool::Class if special.bos.is_none() => return Err(needs("begins a text", &tokenizer::BOS, "class")),
            Pool::Last if special.eos.is_none() => return Err(needs("ends a text", &tokenizer::EOS, "last")),
            _ => {}
        }
        let mut ordinary: Vec<i64> = tokenizer.get_vocab(true).into_values().map(i64::from).collect();
        ordinary.retain(|id| !special.all.contains(id));
        ordinary.sort_unstable();
        Ok(Self {
            name: Name::new(&config.field),
            config,
            vocabulary,
            tokenizer: Arc::new(tokenizer),
            json: json.into(),
            special,
            ordinary: ordinary.into(),
            seen: Arc::default(),
            truncated: Arc::default(),
            different: Arc::default(),
        })
    }

    /// The same tokenizer, read as another configuration says.
    ///
    /// # Errors
    /// If the configuration asks for what the tokenizer has not.
    pub fn configured(&self, config: TextConfig) -> Result<Self, TextError> {
        Self::load(TextConfig { tokenizer: self.config.tokenizer.clone(), ..config }, &self.json)
    }

    /// The modality under the name that the recipe gives it; without, it is that of its field.
    pub fn named(self, name: &Name) -> Self {
        Self { name: name.clone(), ..self }
    }

    /// The text of `tokenizer.json`.
    pub fn tokenizer_json(&self) -> String {
        self.json.to_string()
    }

    /// Number of token ids.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The configuration.
    pub fn config(&self) -> &TextConfig {
        &self.config
    }

    /// Token ids as text, special tokens left out.
    ///
    /// # Errors
    /// If the tokenizer's decoder fails, which for ids of its own vocabulary it does not.
    pub fn text(&self, ids: &[i64]) -> Result<String, TextError> {
        let ids: Vec<u32> = ids.iter().filter_map(|&id| u32::try_from(id).ok()).collect();
        let damaged = |error: tokenizers::Error| TextError::Damaged { place: MODEL.into(), detail: error.to_string() };
        self.tokenizer.decode(&ids, true).map(|text| text.trim().to_owned()).map_err(damaged)
    }

    /// Whether the tokenizer says itself what begins and ends a text.
    fn is_published(&self) -> bool {
        matches!(self.config.tokenizer, TokenizerConfig::Published(_))
    }

    /// First token, as much of the text as fits, last token.
    fn encode(&self, text: &str) -> Result<Encoded, Fault> {
        let failed = |error: tokenizers::Error| Fault::new(&self.config.field, "text cannot be tokenized", error);
        let encoding = self.tokenizer.encode_fast(text, self.is_published()).map_err(failed)?;
        if self.is_published() {
            self.seen.fetch_add(1, Ordering::Relaxed);
            self.truncated.fetch_add(usize::from(!encoding.get_overflowing().is_empty()), Ordering::Relaxed);
            let ids = self.filled(encoding.get_ids().iter().map(|&id| i64::from(id)).collect());
            return Ok(Encoded { ids, content: content(text) });
        }
        let (bos, eos) = (self.special.bos, self.special.eos);
        let room = self.config.context - bos.iter().len() - eos.iter().len();
        let fits = encoding.get_ids().len().min(room);
        self.seen.fetch_add(1, Ordering::Relaxed);
        if fits < encoding.get_ids().len() {
            self.truncated.fetch_add(1, Ordering::Relaxed);
        }
        let inner = encoding.get_ids()[..fits].iter().map(|&id| i64::from(id));
        let ids = self.filled(bos.into_iter().chain(inner).chain(eos).collect());
        Ok(Encoded { ids, content: content(text) })
    }

    /// Up to the context, where the configuration says so.
    fn filled(&self, mut ids: Vec<i64>) -> Vec<i64> {
        if let Some(fill) = self.config.fill {
            ids.resize(self.config.context, fill);
        }
        ids
    }

    /// The texts of the field that are not blank.
    fn texts(&self, value: &Value) -> Result<Vec<String>, Fault> {
        let wrong = |found: &Value| {
            let detail = format!("expected text or a list of texts, found {}", found.kind());
            Fault::new(&self.config.field, "field is not text", detail)
        };
        // To some published tokenizers a blank in front is another word.
        let trimmed = |text: &str| if self.is_published() { text.to_owned() } else { text.trim().to_owned() };
        let text = |value: &Value| match value {
            Value::Bytes(bytes) => std::str::from_utf8(bytes)
                .map(trimmed)
                .map_err(|error| Fault::new(&self.config.field, "text is not UTF-8", error)),
            other => other.as_text().map(|text| trimmed(&text)).ok_or_else(|| wrong(other)),
        };
        let mut texts = match value {
            Value::List(values) => values.iter().map(text).collect::<Result<Vec<_>, _>>()?,
            single => vec![text(single)?],
        };
        texts.retain(|text| !text.trim().is_empty());
        texts.into_iter().map(|text| self.read_letters(text)).collect()
    }

    /// What is read of a text.
    fn read_letters(&self, text: String) -> Result<String, Fault> {
        let Some(letters) = &self.config.letters else { return Ok(text) };
        let Some((read, same)) = letters.pick(&text) else {
            let (expected, found) = (letters.of.chars().count(), text.chars().count());
            let detail = format!("expected {expected} letters, as in those that were learned from, found {found}");
            return Err(Fault::new(&self.config.field, "text of another length", detail));
        };
        self.different.fetch_add(usize::from(!same), Ordering::Relaxed);
        Ok(read)
    }
}

/// Lets a published tokenizer cut texts to the context, and see its special tokens in them, as its own library does.
fn bound(tokenizer: &mut Tokenizer, context: usize) -> Result<(), TextError> {
    let truncation = TruncationParams { max_length: context, ..TruncationParams::default() };
    let small =
        |_| TextError::Config { key: "context", expected: "more than a text's own tokens", found: context.to_string() };
    tokenizer.with_truncation(Some(truncation)).map_err(small)?;
    tokenizer.set_encode_special_tokens(false);
    Ok(())
}

/// The first eight bytes of BLAKE3.
fn content(text: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(text.as_bytes()).as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

impl Modality for TextModality {
    fn decode(&self, sample: &Sample) -> Result<Option<Item>, Fault> {
        let Some(value) = sample.fields.get(&self.config.field) else { return Ok(None) };
        let encoded = self.texts(value)?.iter().map(|text| self.encode(text)).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = encoded.first() else { return Ok(None) };
        let arrays = Arrays::default().with("ids", Array::I64(Array1::from(first.ids.clone()).into_dyn()));
        let content = first.content;
        let arrays = match encoded.len() {
            1 => arrays,
            _ => with_captions(arrays, &encoded, self.special.pad),
        };
        Ok(Some(Item { arrays, content }))
    }

    fn augment(&self, item: Item, rng: &mut Rng) -> Item {
        let item = one_caption(item, rng);
        match (self.config.token_dropout, self.special.mask) {
            (0.0, _) | (_, None) => item,
            (chance, Some(mask)) => {
                let mut ids = item.arrays.i64("ids").clone();
                let ordinary = ids.iter_mut().filter(|id| self.ordinary.binary_search(id).is_ok());
                ordinary.filter(|_| rng.random::<f32>() < chance).for_each(|id| *id = mask);
                Item { arrays: item.arrays.with("ids", Array::I64(ids)), content: item.content }
            }
        }
    }

    fn collate(&self, items: &[Item]) -> Arrays {
        let texts: Vec<_> = items.iter().map(|item| item.arrays.i64("ids")).collect();
        let rows = texts.len();
        let tokens = texts.iter().map(|ids| ids.len()).max().unwrap_or(0);
        let mut ids = Array2::from_elem([rows, tokens], self.special.pad);
        let mut mask = Array2::from_elem([rows, tokens], false);
        for (row, text) in texts.iter().enumerate() {
            for (token, &id) in text.iter().enumerate() {
                ids[[row, token]] = id;
                mask[[row, token]] = true;
            }
        }
        let arrays = Arrays::default().with("ids", Array::I64(ids.into_dyn()));
        match texts.iter().all(|ids| ids.len() == tokens) {
            true => arrays,
            false => arrays.with("mask", Array::Bool(mask.into_dyn())),
        }
    }

    fn mask(&self, arrays: &Arrays, rngs: &mut [Rng]) -> Masked {
        let Some(mask) = self.special.mask else {
            return Masked { arrays: arrays.clone(), targets: Vec::new() };
        };
        let hiding = targets::Hiding { mask, ordinary: &self.ordinary, ratio: self.config.mask_ratio };
        targets::hide(arrays, rngs, &hiding, &self.name)
    }

    fn heads(&self) -> Vec<Head> {
        let head = Head { name: "token".to_owned(), values: Values::Classes(self.vocabulary) };
        self.special.mask.map(|_| head).into_iter().collect()
    }

    fn max_tokens(&self) -> usize {
        self.config.context
    }

    fn tokens(&self, item: &Item) -> usize {
        item.arrays.i64("ids").len()
    }

    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        let truncated = self.truncated.load(Ordering::Relaxed);
        if truncated > 0 {
            let (seen, context) = (self.seen.load(Ordering::Relaxed), self.config.context);
            remarks.push(format!("{truncated} of {seen} texts truncated to {context} tokens"));
        }
        let different = self.different.load(Ordering::Relaxed);
        if different > 0 {
            remarks.push(format!("{different} texts differ from those learned from at letters that are not read"));
        }
        remarks
    }
}

/// Of several captions, one.
fn one_caption(item: Item, rng: &mut Rng) -> Item {
    if !item.arrays.contains("captions") {
        return item;
    }
    let lengths = item.arrays.i64("lengths");
    let choice = rng.random_range(0..lengths.len());
    let ids = item.arrays.i64("captions").index_axis(Axis(0), choice);
    let ids = ids.slice_axis(Axis(0), (0..lengths[[choice]] as usize).into()).to_owned();
    let content = item.arrays.i64("contents")[[choice]] as u64;
    Item { arrays: Arrays::default().with("ids", Array::I64(ids)), content }
}

fn with_captions(arrays: Arrays, encoded: &[Encoded], pad: i64) -> Arrays {
    let longest = encoded.iter().map(|text| text.ids.len()).max().unwrap_or(0);
    let mut captions = Array2::from_elem([encoded.len(), longest], pad);
    for (row, text) in encoded.iter().enumerate() {
        for (token, &id) in text.ids.iter().enumerate() {
            captions[[row, token]] = id;
        }
    }
    let of =
        |value: &dyn Fn(&Encoded) -> i64| Array::I64(encoded.iter().map(value).collect::<Array1<i64>>().into_dyn());
    arrays
        .with("captions", Array::I64(captions.into_dyn()))
        .with("lengths", of(&|text| text.ids.len() as i64))
        .with("contents", of(&|text| text.content as i64))
}
