//! How a column of texts becomes tokens, and how many.

use std::collections::BTreeSet;

use sensorium_cases::{Column, Writing, is_unspaced};
use sensorium_contract::{Modality, Name, Pool, Sample, Value};
use sensorium_modalities::text::{Letters, TextConfig, TextModality, TokenizerConfig, TokenizerKind, Training};

use super::FEW;

/// Characters of prose that stand for a token where only the beginning of a text is read.
const CHARACTERS: usize = 4;
/// Tokens that are read of every text.
const LEAST: usize = 8;
/// Pieces of words that a small vocabulary holds beside the single letters.
const WORDS: usize = 40;

/// A tokenizer as large as so many training cases can teach, and how much of a text is read; `texts` are some of them.
pub(super) fn text(column: &Column, writing: Writing, rows: usize, texts: &[Value]) -> TextConfig {
    let few = writing == Writing::Prose && rows < FEW;
    let differ = writing == Writing::Sequence && !column.differing.is_empty();
    let (kind, vocabulary, most) = match writing {
        Writing::Prose => {
            let least = (letters(texts) + WORDS).max(120);
            (TokenizerKind::WordPiece, (rows / 4).max(least).min(8000), if few { 128 } else { 256 })
        }
        Writing::Molecule => (TokenizerKind::Smiles, 512, 160),
        Writing::Sequence => (TokenizerKind::Character, 512, 320),
    };
    let lowercase = kind == TokenizerKind::WordPiece;
    let config = TextConfig {
        field: column.name.clone(),
        tokenizer: TokenizerConfig::Train(Training { kind, vocabulary, lowercase, min_frequency: 2 }),
        context: most,
        pool: Pool::Mean,
        // Few texts are learned by heart, word by word.
        token_dropout: if few { 0.3 } else { 0.0 },
        letters: differ.then(|| Letters { of: column.example.clone(), at: column.differing.clone() }),
        ..TextConfig::default()
    };
    let longest = || tokens(&config, texts).into_iter().max().unwrap_or(most);
    let context = match writing {
        // And the more so the more of them is read.
        Writing::Prose if few && !is_unspaced(&column.example) => {
            let (beginning, longest) = ((column.length / CHARACTERS + 2).max(LEAST), longest());
            if longest > beginning + beginning / 4 { beginning } else { longest }
        }
        Writing::Prose => longest(),
        _ if differ => column.differing.len() + 2,
        _ => column.length + 2,
    };
    TextConfig { context: context.clamp(LEAST, most), ..config }
}

/// Different letters.
fn letters(texts: &[Value]) -> usize {
    let texts = texts.iter().filter_map(Value::as_text);
    texts.flat_map(|text| text.to_lowercase().chars().collect::<Vec<_>>()).collect::<BTreeSet<char>>().len()
}

/// What a user should know where texts of the modality `name` are not read to their end.
pub(super) fn cut(name: &Name, config: &TextConfig, texts: &[Value]) -> Option<String> {
    let TextConfig { field, context, .. } = config;
    let tokens = tokens(config, texts);
    let longer = tokens.iter().filter(|&tokens| tokens > context).count();
    let longest = tokens.iter().max().filter(|_| longer > 0)?;
    let share = (100 * longer).div_ceil(tokens.len());
    Some(format!(
        "of column `{field}` the first {context} tokens are read; {share} % of its texts have more, up to {longest} \
         (`--set modalities.{name}.context={longest}` reads them to the end)"
    ))
}

/// Tokens of each text that can be read, to its end.
fn tokens(config: &TextConfig, texts: &[Value]) -> Vec<usize> {
    let unbounded = TextConfig { context: usize::MAX, ..config.clone() };
    let mut learned = texts.iter().filter_map(|text| Some(text.as_text()?.into_owned()));
    let Ok(modality) = TextModality::fit(unbounded, &mut learned) else { return Vec::new() };
    let tokens = |text: &Value| {
        let fields = [(config.field.clone(), text.clone())].into();
        Some(modality.tokens(&modality.decode(&Sample { key: String::new(), fields }).ok()??))
    };
    texts.iter().filter_map(tokens).collect()
}

#[cfg(test)]
mod tests {
    use sensorium_cases::{Cases, Roles};
    use sensorium_samples::{Dataset, SourceConfig};

    use super::*;

    /// The configuration of a column of these texts, where there are so many training cases.
    fn config(rows: usize, note: impl Fn(usize) -> String) -> (TextConfig, Option<String>) {
        let notes: Vec<String> = (0..40).map(note).collect();
        let folder = tempfile::tempdir().unwrap();
        let lines: String = notes.iter().enumerate().map(|(row, note)| format!("{note},{}\n", row % 2)).collect();
        std::fs::write(folder.path().join("cases.csv"), format!("note,ill\n{lines}")).unwrap();
        let data = Dataset::open(&[SourceConfig::new("cases.csv")], folder.path()).unwrap();
        let cases = Cases::look(&data, "ill", &Roles::default()).unwrap();
        let column = cases.columns.iter().find(|column| column.name == "note").unwrap();
        assert_eq!(column.kind.to_string(), "text", "{}", column.reason);
        let texts: Vec<Value> = notes.into_iter().map(Value::Text).collect();
        let config = text(column, Writing::Prose, rows, &texts);
        let cut = cut(&Name::new("text"), &config, &texts);
        (config, cut)
    }

    #[test]
    fn of_few_texts_the_beginning_is_read_and_it_is_said() {
        let rare = |row: usize| (0..12).map(|n| format!("q{}x{}", row * 31 + n, n * row)).collect::<Vec<_>>().join(" ");
        let (few, cut) = config(100, rare);
        assert!(few.context < 40 && few.token_dropout > 0.0, "{few:?}");
        assert!(cut.unwrap().starts_with(&format!("of column `note` the first {} tokens", few.context)));
        let (many, cut) = config(3000, rare);
        assert!(many.context > few.context && many.token_dropout == 0.0 && cut.is_none(), "{many:?}");
    }

    #[test]
    fn nothing_is_cut_off_for_a_token_or_two() {
        let (config, cut) = config(100, |row| format!("seen on day {row}: a fever"));
        assert_eq!(cut, None, "{config:?}");
    }

    #[test]
    fn what_is_written_without_blanks_is_read_letter_by_letter() {
        let (config, cut) = config(100, |row| {
            let letters = (0..20).map(|n| char::from_u32(0x4e00 + (row * 20 + n) as u32).unwrap());
            letters.chain("发烧".chars()).collect()
        });
        let TokenizerConfig::Train(Training { vocabulary, .. }) = config.tokenizer else { panic!("{config:?}") };
        assert_eq!((config.context, vocabulary, cut), (24, 842, None));
    }
}
