use std::{collections::BTreeMap, fs, path::PathBuf};

use burn::tensor::Device;
use sensorium_contract::{Array, Arrays, Item, Modality, Name, Pool, Sample, Seed, Truth, Value};

use super::*;

const TEXTS: [&str; 8] = [
    "a cat sits on a mat",
    "a dog sits on a log",
    "the cat and the dog sit together",
    "Une perruche Adélaïde",
    "Ein großer Frosch",
    "a very long text about cats and dogs that sit on mats and logs and on each other, and so on",
    "カエルの絵",
    "one more text about a frog",
];
const KINDS: [TokenizerKind; 4] =
    [TokenizerKind::Bpe, TokenizerKind::WordPiece, TokenizerKind::Byte, TokenizerKind::Character];

fn config(kind: TokenizerKind) -> TextConfig {
    let training = Training { kind, vocabulary: 400, ..Training::default() };
    TextConfig { tokenizer: TokenizerConfig::Train(training), ..TextConfig::default() }
}

fn fitted(config: TextConfig, texts: &[&str]) -> TextModality {
    TextModality::fit(config, &mut texts.iter().map(|text| (*text).to_owned())).unwrap()
}

fn sample(value: Value) -> Sample {
    Sample { key: "key".to_owned(), fields: BTreeMap::from([("text".to_owned(), value)]) }
}

fn item(modality: &TextModality, text: &str) -> Item {
    modality.decode(&sample(Value::Text(text.to_owned()))).unwrap().unwrap()
}

fn ids(item: &Item) -> Vec<i64> {
    item.arrays.i64("ids").iter().copied().collect()
}

fn encoder(modality: &TextModality) -> TextEncoder {
    let name = Name::new("text");
    TextEncoder::new(modality.config(), modality.vocabulary(), &name, 16, Seed::new(3), &Device::flex())
}

fn values(encoder: &TextEncoder, arrays: &Arrays) -> Vec<Vec<f32>> {
    let values = encoder.tokens(arrays, &Device::flex()).values;
    let [rows, tokens, width] = values.dims();
    let flat = values.into_data().try_to_vec::<f32>().unwrap();
    assert_eq!(flat.len(), rows * tokens * width);
    flat.chunks(tokens * width).map(<[f32]>::to_vec).collect()
}

#[test]
fn texts_come_back() {
    for kind in KINDS {
        let modality = fitted(TextConfig { context: 200, ..config(kind) }, &TEXTS);
        for text in TEXTS {
            let ids = ids(&item(&modality, text));
            assert_eq!((ids[0], ids[ids.len() - 1]), (2, 3), "{kind}: {text}");
            let back = modality.text(&ids).unwrap();
            match kind {
                TokenizerKind::WordPiece => {
                    let plain = |text: &str| text.replace([' ', ','], "");
                    assert_eq!(plain(&back), plain(text), "{kind}");
                }
                _ => assert_eq!(back, text, "{kind}"),
            }
        }
    }
}

#[test]
fn unseen_text_is_unknown_only_where_the_alphabet_ends() {
    for kind in KINDS {
        let modality = fitted(config(kind), &TEXTS[..3]);
        let unknown = ids(&item(&modality, "ж")).contains(&1);
        assert_eq!(unknown, matches!(kind, TokenizerKind::WordPiece | TokenizerKind::Character), "{kind}");
    }
}

#[test]
fn the_same_texts_give_the_same_tokenizer_in_any_order() {
    let reversed: Vec<&str> = TEXTS.iter().rev().copied().collect();
    for kind in KINDS {
        let modality = fitted(config(kind), &TEXTS);
        let json = modality.tokenizer_json();
        // Several times: hash maps differ in their order from one to the next.
        for _ in 0..20 {
            assert_eq!(fitted(config(kind), &reversed).tokenizer_json(), json, "{kind}");
        }
        let loaded = TextModality::load(config(kind), &json).unwrap();
        assert_eq!(loaded.tokenizer_json(), json);
        assert_eq!(loaded.vocabulary(), modality.vocabulary());
        for text in TEXTS {
            assert_eq!(item(&loaded, text), item(&modality, text), "{kind}");
        }
        assert!(modality.vocabulary() <= 400);
        if kind == TokenizerKind::Byte {
            assert_eq!(modality.vocabulary(), 261);
        }
    }
}

#[test]
fn small_letters_on_demand() {
    let training = Training { lowercase: true, vocabulary: 300, ..Training::default() };
    let small = fitted(TextConfig { tokenizer: TokenizerConfig::Train(training), ..TextConfig::default() }, &TEXTS);
    assert_eq!(ids(&item(&small, "A CAT")), ids(&item(&small, "a cat")));
    let exact = fitted(config(TokenizerKind::Character), &["CCOcn"]);
    assert_ne!(ids(&item(&exact, "C")), ids(&item(&exact, "c")));
}

#[test]
fn long_texts_keep_their_last_token() {
    let modality = fitted(TextConfig { context: 6, ..config(TokenizerKind::Character) }, &TEXTS);
    let short = ids(&item(&modality, "cat"));
    let long = ids(&item(&modality, "catdogs"));
    assert_eq!((short.len(), long.len()), (5, 6));
    assert_eq!(long[..4], short[..4]);
    assert_eq!(long[5], 3);
    assert_eq!(modality.remarks(), ["1 of 2 texts truncated to 6 tokens"]);
}

#[test]
fn of_variants_the_letters_that_differ_are_read() {
    let letters = |at: &[usize]| Some(Letters { of: "MKTAYI".into(), at: at.to_vec() });
    let variants = TextConfig { letters: letters(&[1, 4]), ..config(TokenizerKind::Character) };
    let modality = fitted(variants.clone(), &["MKTAYI", "MRTAWI"]);
    let plain = fitted(config(TokenizerKind::Character), &["KY", "RW"]);
    assert_eq!(modality.vocabulary(), plain.vocabulary());
    for (whole, read) in [("MKTAYI", "KY"), (" MRTAWI ", "RW"), ("MKTAWI", "KW"), ("CRTAYC", "RY")] {
        assert_eq!(ids(&item(&modality, whole)), ids(&item(&plain, read)), "{whole}");
    }
    assert_eq!(modality.remarks(), ["1 texts differ from those learned from at letters that are not read"]);
    let sample = sample(Value::Text("MKTA".into()));
    let fault = modality.decode(&sample).unwrap_err().to_string();
    assert!(fault.contains("expected 6 letters, as in those that were learned from, found 4"), "{fault}");
    for wrong in [&[][..], &[4, 1], &[6]] {
        let config = TextConfig { letters: letters(wrong), ..variants.clone() };
        let error = TextModality::fit(config, &mut ["MKTAYI".to_owned()].into_iter()).unwrap_err().to_string();
        assert!(error.contains("letters.at"), "{error}");
    }
}

#[test]
fn special_tokens_in_a_text_are_text() {
    let modality = fitted(config(TokenizerKind::Bpe), &TEXTS);
    let ids = ids(&item(&modality, "[EOS] a cat [MASK]"));
    assert!(ids[1..ids.len() - 1].iter().all(|&id| id > 4), "{ids:?}");
}

#[test]
fn blank_and_absent_texts_lack_the_modality() {
    let modality = fitted(config(TokenizerKind::Bpe), &TEXTS);
    let blank = [Value::Text(" \n".to_owned()), Value::List(vec![]), Value::List(vec![Value::Text(String::new())])];
    for value in blank {
        assert_eq!(modality.decode(&sample(value)).unwrap(), None);
    }
    assert_eq!(modality.decode(&Sample::default()).unwrap(), None);
    let number = modality.decode(&sample(Value::Number(4.0))).unwrap().unwrap();
    assert_eq!(number, item(&modality, "4"));
    let bytes = modality.decode(&sample(Value::Bytes("a cat".as_bytes().into()))).unwrap().unwrap();
    assert_eq!(bytes, item(&modality, "a cat"));
    let fault = modality.decode(&sample(Value::Bytes([0xff, 0xfe].as_slice().into()))).unwrap_err();
    assert_eq!((fault.field.as_str(), fault.reason), ("text", "text is not UTF-8"));
    let nested = modality.decode(&sample(Value::List(vec![Value::List(vec![])]))).unwrap_err();
    assert_eq!(nested.reason, "field is not text");
}

#[test]
fn tokens_are_hidden_by_chance_while_training() {
    let hidden = |token_dropout| {
        let modality = fitted(TextConfig { token_dropout, ..config(TokenizerKind::Bpe) }, &TEXTS);
        let item = item(&modality, TEXTS[0]);
        let whole = ids(&item);
        let mut hidden = vec![0; whole.len()];
        for step in 0..400 {
            let seen = ids(&modality.augment(item.clone(), &mut Seed::new(step).rng()));
            assert_eq!(seen.len(), whole.len());
            hidden
                .iter_mut()
                .zip(seen.iter().zip(&whole))
                .for_each(|(count, (seen, id))| *count += i32::from(seen != id));
        }
        hidden
    };
    assert!(hidden(0.0).iter().all(|&count| count == 0));
    let often = hidden(0.25);
    let [first, inner @ .., last] = &often[..] else { panic!("{often:?}") };
    assert_eq!((*first, *last), (0, 0), "what begins and ends a text stays");
    assert!(inner.iter().all(|count| (60..=140).contains(count)), "{often:?}");
    let wrong = TextConfig { token_dropout: 1.0, ..config(TokenizerKind::Bpe) };
    let error = TextModality::fit(wrong, &mut TEXTS.iter().map(|text| (*text).to_owned())).unwrap_err();
    assert!(error.to_string().contains("token_dropout"), "{error}");
}

#[test]
fn one_of_several_captions_is_drawn() {
    let modality = fitted(config(TokenizerKind::Bpe), &TEXTS);
    let captions = Value::List(TEXTS[..3].iter().map(|text| Value::Text((*text).to_owned())).collect());
    let several = modality.decode(&sample(captions)).unwrap().unwrap();
    let singles: Vec<Item> = TEXTS[..3].iter().map(|text| item(&modality, text)).collect();
    assert_eq!((ids(&several), several.content), (ids(&singles[0]), singles[0].content));
    let mut drawn = [0; 3];
    for step in 0..300 {
        let item = modality.augment(several.clone(), &mut Seed::new(step).rng());
        drawn[singles.iter().position(|single| *single == item).unwrap()] += 1;
    }
    assert!(drawn.iter().all(|&count| count > 70), "{drawn:?}");
    let one = singles[1].clone();
    assert_eq!(modality.augment(one.clone(), &mut Seed::new(0).rng()), one);
}

#[test]
fn rows_are_independent_of_padding_and_order() {
    let modality = fitted(config(TokenizerKind::Bpe), &TEXTS);
    let items: Vec<Item> = TEXTS.iter().map(|text| item(&modality, text)).collect();
    let encoder = encoder(&modality);
    let batch = modality.collate(&items);
    let mask = batch.bool("mask");
    let together = values(&encoder, &batch);
    let turned = values(&encoder, &modality.collate(&items.iter().rev().cloned().collect::<Vec<_>>()));
    for (row, item) in items.iter().enumerate() {
        let alone = modality.collate(std::slice::from_ref(item));
        assert!(!alone.contains("mask"), "a row alone needs no padding");
        let alone = values(&encoder, &alone);
        assert_eq!(together[row][..alone[0].len()], alone[0]);
        assert_eq!(turned[items.len() - 1 - row], together[row]);
        let real: Vec<bool> = mask.index_axis(ndarray::Axis(0), row).iter().copied().collect();
        assert_eq!(real.iter().filter(|&&real| real).count(), ids(item).len());
        assert!(real[..ids(item).len()].iter().all(|&real| real));
    }
}

#[test]
fn hidden_tokens_are_recorded() {
    let modality = fitted(config(TokenizerKind::Bpe), &TEXTS).named(&Name::new("caption"));
    let items: Vec<Item> = TEXTS.iter().map(|text| item(&modality, text)).collect();
    let batch = modality.collate(&items);
    let mut rngs: Vec<_> = (0..8).map(|row| Seed::new(5).number(row).rng()).collect();
    let masked = modality.mask(&batch, &mut rngs);
    let [target] = &masked.targets[..] else { panic!("{:?}", masked.targets) };
    assert_eq!((&*target.modality, target.head), ("caption", 0));
    let Truth::Classes(truth) = &target.truth else { panic!("{:?}", target.truth) };
    for ((&row, &token), &truth) in target.rows.iter().zip(&target.tokens).zip(truth) {
        assert_eq!(batch.i64("ids")[[row, token]], truth);
        assert!(truth > 4);
    }
    let rows: std::collections::BTreeSet<usize> = target.rows.iter().copied().collect();
    assert_eq!(rows.len(), 8, "at least one a row");
    assert_eq!(masked.arrays.bool("mask"), batch.bool("mask"));
}

#[test]
fn gradients_reach_what_a_batch_uses() {
    let modality = fitted(config(TokenizerKind::Bpe), &TEXTS);
    let device = Device::flex().autodiff();
    let encoder =
        TextEncoder::new(modality.config(), modality.vocabulary(), &Name::new("text"), 8, Seed::new(3), &device);
    let batch = modality.collate(&[item(&modality, TEXTS[0]), item(&modality, TEXTS[1])]);
    let gradients = encoder.tokens(&batch, &device).values.powi_scalar(2).sum().backward();
    let embedding = encoder.embedding.weight.val().grad(&gradients).unwrap().abs().sum_dim(1);
    let moved: Vec<f32> = embedding.into_data().try_to_vec().unwrap();
    let used = batch.i64("ids");
    for (id, moved) in moved.iter().enumerate() {
        assert_eq!(*moved > 0.0, used.iter().any(|&used| used == id as i64), "{id}");
    }
    assert!(encoder.positions.as_ref().unwrap().val().grad(&gradients).is_some());
}

/// As the tokenizers library writes BERT's.
fn bert_like() -> String {
    let tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "##s", "dog"];
    let vocab: serde_json::Map<_, _> = tokens.iter().zip(0..).map(|(t, id)| ((*t).to_owned(), id.into())).collect();
    serde_json::json!({
        "version": "1.0",
        "truncation": { "max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right" },
        "padding": null,
        "added_tokens": [],
        "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                        "strip_accents": null, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": null,
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                   "max_input_chars_per_word": 100, "vocab": vocab },
    })
    .to_string()
}

#[test]
fn a_given_tokenizer_is_used_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokenizer.json");
    fs::write(&file, bert_like()).unwrap();
    let config = TextConfig { tokenizer: TokenizerConfig::File(file.clone()), ..TextConfig::default() };
    let modality = TextModality::fit(config.clone(), &mut std::iter::empty()).unwrap();
    assert_eq!(ids(&item(&modality, "A cat, dogs cats")), [2, 5, 6, 1, 8, 7, 6, 7, 3]);
    assert_eq!(modality.vocabulary(), 9);
    assert_eq!(modality.heads().len(), 1);
    assert_eq!(modality.tokenizer_json(), bert_like());

    fs::write(&file, bert_like().replace("[MASK]", "[GONE]")).unwrap();
    let modality = TextModality::fit(config.clone(), &mut std::iter::empty()).unwrap();
    assert!(modality.heads().is_empty());
    let batch = modality.collate(&[item(&modality, "a cat")]);
    let masked = modality.mask(&batch, &mut [Seed::new(0).rng()]);
    assert!(masked.targets.is_empty() && masked.arrays == batch);

    fs::write(&file, bert_like().replace("[CLS]", "[GONE]")).unwrap();
    let error = TextModality::fit(config.clone(), &mut std::iter::empty()).unwrap_err().to_string();
    assert!(error.contains("begins a text") && error.contains("tokenizer.json"), "{error}");
    let mean = TextConfig { pool: Pool::Mean, ..config };
    let modality = TextModality::fit(mean, &mut std::iter::empty()).unwrap();
    assert_eq!(ids(&item(&modality, "a cat")), [5, 6, 3]);
}

#[test]
fn a_wrong_tokenizer_is_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokenizer.json");
    let config = TextConfig { tokenizer: TokenizerConfig::File(file.clone()), ..TextConfig::default() };
    let error = || TextModality::fit(config.clone(), &mut std::iter::empty()).unwrap_err();
    assert!(matches!(error(), TextError::Read { .. }));
    assert!(error().to_string().contains("tokenizer.json"), "{}", error());
    for text in ["", "{}", "not json", &bert_like()[..300], &bert_like().replace("\"vocab\"", "\"vocal\"")] {
        fs::write(&file, text).unwrap();
        assert!(matches!(error(), TextError::Damaged { .. }), "{text}");
        assert!(error().to_string().contains("tokenizer.json"), "{}", error());
    }
    let error = TextModality::load(config, "{}").unwrap_err().to_string();
    assert!(error.contains("the model's tokenizer.json"), "{error}");
}

#[test]
fn what_cannot_be_learned_is_an_error() {
    let error = |config, texts: &[&str]| {
        TextModality::fit(config, &mut texts.iter().map(|text| (*text).to_owned())).unwrap_err().to_string()
    };
    assert!(error(config(TokenizerKind::Bpe), &[]).contains("no sample has the field `text`"));
    assert!(error(config(TokenizerKind::WordPiece), &["", " "]).contains("no text"));
    let training = Training { vocabulary: 100, ..Training::default() };
    let small = TextConfig { tokenizer: TokenizerConfig::Train(training), ..TextConfig::default() };
    assert!(error(small, &TEXTS).contains("at least 261 entries, found 100"));
    assert!(error(TextConfig { context: 2, ..TextConfig::default() }, &TEXTS).contains("`context`"));
}

#[test]
fn captions_in_four_languages() {
    let shared = std::env::var_os("SENSORIUM_SHARED").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared").into());
    let Ok(mut files) = fs::read_dir(shared.join("stamps")) else {
        println!("skipped: no {}", shared.join("stamps").display());
        return;
    };
    let lines = files.find_map(|file| {
        let path = file.ok()?.path();
        (path.extension()? == "jsonl").then(|| fs::read_to_string(path).ok())?
    });
    let mut captions = Vec::new();
    for line in lines.unwrap().lines() {
        let row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        let texts = row.iter().filter(|(name, _)| name.starts_with("caption"));
        captions.extend(texts.filter_map(|(_, value)| value.as_str().map(|text| text.trim().to_owned())));
    }
    assert!(captions.len() > 1000 && captions.iter().any(|caption| !caption.is_ascii()));
    let training = Training { vocabulary: 2000, ..Training::default() };
    let config = TextConfig { tokenizer: TokenizerConfig::Train(training), context: 200, ..TextConfig::default() };
    let modality = TextModality::fit(config, &mut captions.iter().cloned()).unwrap();
    assert_eq!(modality.vocabulary(), 2000);
    let mut tokens = 0;
    for caption in &captions {
        let ids = ids(&item(&modality, caption));
        tokens += ids.len();
        assert_eq!(modality.text(&ids).unwrap(), *caption);
    }
    // Learned pieces, not bytes: several characters a token.
    let characters: usize = captions.iter().map(|caption| caption.chars().count()).sum();
    assert!(tokens * 2 < characters, "{tokens} tokens for {characters} characters");
    assert!(modality.remarks().is_empty());
    let bytes =
        Item { arrays: Arrays::default().with("ids", Array::I64(ndarray::arr1(&[2, 3]).into_dyn())), content: 0 };
    assert_eq!(modality.collate(&[bytes]).i64("ids").shape(), [1, 2]);
}

#[test]
fn molecules_are_read_atom_by_atom() {
    let config: TextConfig =
        serde_json::from_str(r#"{"tokenizer": {"train": "smiles", "vocabulary": 40}, "context": 32}"#).unwrap();
    let molecules = ["ClCCBr", "c1cc[nH]c1", "C%12CC%12", "CC(=O)O"];
    let text = TextModality::fit(config, &mut molecules.into_iter().map(str::to_owned)).unwrap();
    let tokens = |smiles: &str| {
        let fields = [("text".to_owned(), Value::Text(smiles.to_owned()))].into();
        let item = text.decode(&Sample { key: String::new(), fields }).unwrap().unwrap();
        item.arrays.i64("ids").iter().copied().collect::<Vec<i64>>()
    };
    // One token each, between the first and the last of every text.
    for (smiles, atoms) in [("ClCCBr", 4), ("c1cc[nH]c1", 7), ("C%12CC%12", 5), ("CC(=O)O", 7)] {
        assert_eq!(tokens(smiles).len(), atoms + 2, "{smiles}");
    }
    assert_ne!(tokens("C")[1], tokens("Cl")[1]);
}

/// The library panics at some files that end too early.
#[test]
fn a_tokenizer_cut_short_is_an_error_wherever_it_ends() {
    let modality = fitted(config(TokenizerKind::Bpe), &["a smiling face", "a cat"]);
    let json = modality.tokenizer_json();
    for end in (0..json.trim_end().len()).step_by(13) {
        let error = TextModality::load(modality.config().clone(), json.get(..end).unwrap_or_default());
        assert!(matches!(error, Err(TextError::Damaged { .. })), "{end} bytes");
    }
}
