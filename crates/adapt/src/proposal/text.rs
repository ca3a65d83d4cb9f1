//! How a column of texts becomes tokens, and how many.

use sensorium_cases::{Column, Writing};
use sensorium_contract::{Modality, Pool, Sample, Value};
use sensorium_modalities::text::{Letters, TextConfig, TextModality, TokenizerConfig, TokenizerKind, Training};

use super::FEW;

/// Characters of all training texts for each piece of a word that is learned.
const CHARACTERS: usize = 100;

/// A tokenizer as large as these texts can teach, and as many tokens as they have; `rows` is how many cases there are to
/// learn from, of which `texts` are some.
pub(super) fn text(column: &Column, writing: Writing, rows: usize, texts: &[Value]) -> TextConfig {
    let (kind, vocabulary, most) = match writing {
        Writing::Prose => (TokenizerKind::WordPiece, (rows * column.length / CHARACTERS).clamp(120, 8000), 256),
        Writing::Molecule => (TokenizerKind::Smiles, 512, 160),
        Writing::Sequence => (TokenizerKind::Character, 512, 320),
    };
    let lowercase = kind == TokenizerKind::WordPiece;
    let differ = writing == Writing::Sequence && !column.differing.is_empty();
    let config = TextConfig {
        field: column.name.clone(),
        tokenizer: TokenizerConfig::Train(Training { kind, vocabulary, lowercase, min_frequency: 2 }),
        context: most,
        pool: Pool::Mean,
        // Few texts are learned by heart, word by word.
        token_dropout: if writing == Writing::Prose && rows < FEW { 0.3 } else { 0.0 },
        letters: differ.then(|| Letters { of: column.example.clone(), at: column.differing.clone() }),
        ..TextConfig::default()
    };
    let context = longest(&config, texts).unwrap_or(most).clamp(8, most);
    TextConfig { context, ..config }
}

/// Tokens of the longest text; nothing if there is none that can be read.
fn longest(config: &TextConfig, texts: &[Value]) -> Option<usize> {
    let unbounded = TextConfig { context: usize::MAX, ..config.clone() };
    let modality =
        TextModality::fit(unbounded, &mut texts.iter().filter_map(|text| Some(text.as_text()?.into_owned())));
    let modality = modality.ok()?;
    let tokens = |text: &Value| {
        let fields = [(config.field.clone(), text.clone())].into();
        Some(modality.tokens(&modality.decode(&Sample { key: String::new(), fields }).ok()??))
    };
    texts.iter().filter_map(tokens).max()
}
