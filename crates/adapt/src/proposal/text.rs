//! How a column of texts becomes tokens, and how many.

use sensorium_cases::{Column, Writing};
use sensorium_contract::{Modality, Name, Pool, Sample, Value};
use sensorium_modalities::text::{Letters, TextConfig, TextModality, TokenizerConfig, TokenizerKind, Training};

use super::FEW;

/// Characters of prose that stand for a token where only the beginning of a text is read.
const CHARACTERS: usize = 4;

/// A tokenizer as large as so many training cases can teach, and how much of a text is read; `texts` are some of them.
pub(super) fn text(column: &Column, writing: Writing, rows: usize, texts: &[Value]) -> TextConfig {
    let few = writing == Writing::Prose && rows < FEW;
    let differ = writing == Writing::Sequence && !column.differing.is_empty();
    let (kind, vocabulary, most) = match writing {
        Writing::Prose if few => (TokenizerKind::WordPiece, (rows / 4).max(120), 128),
        Writing::Prose => (TokenizerKind::WordPiece, (rows / 4).min(8000), 256),
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
    let context = match writing {
        // And the more so the more of them is read.
        Writing::Prose if few => column.length / CHARACTERS + 2,
        Writing::Prose => tokens(&config, texts).into_iter().max().unwrap_or(most),
        _ if differ => column.differing.len() + 2,
        _ => column.length + 2,
    };
    TextConfig { context: context.clamp(8, most), ..config }
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
