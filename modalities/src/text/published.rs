//! Texts as published models want them: their own tokenizer, which says itself what begins and ends a text.

use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::Array1;
use sensorium_contract::{Array, Fault, Value};
use tokenizers::{Tokenizer, TruncationParams};

use super::TextError;
use crate::{patches::content, published::Reader};

/// A published model's tokenizer, cutting texts to what the model reads.
#[derive(Debug)]
pub struct Words {
    tokenizer: Tokenizer,
    context: usize,
    /// Fills every text up to the context.
    fill: Option<i64>,
    seen: AtomicUsize,
    cut: AtomicUsize,
}

impl Words {
    /// Texts of at most `context` tokens, those that begin and end them included; shorter ones are filled up with
    /// `fill`, if there is one.
    ///
    /// # Errors
    /// If the context has no room for a text.
    pub fn new(mut tokenizer: Tokenizer, context: usize, fill: Option<i64>) -> Result<Self, TextError> {
        let truncation = TruncationParams { max_length: context, ..TruncationParams::default() };
        let small = |_| TextError::Config {
            key: "context",
            expected: "more than a text's own tokens",
            found: context.to_string(),
        };
        tokenizer.with_truncation(Some(truncation)).map_err(small)?;
        tokenizer.with_padding(None);
        Ok(Self { tokenizer, context, fill, seen: AtomicUsize::new(0), cut: AtomicUsize::new(0) })
    }

    /// The tokens of a text.
    ///
    /// # Errors
    /// If it cannot be tokenized.
    pub fn ids(&self, field: &str, text: &str) -> Result<Vec<i64>, Fault> {
        let failed = |error: tokenizers::Error| Fault::new(field, "text cannot be tokenized", error);
        let encoding = self.tokenizer.encode(text, true).map_err(failed)?;
        self.seen.fetch_add(1, Ordering::Relaxed);
        self.cut.fetch_add(usize::from(!encoding.get_overflowing().is_empty()), Ordering::Relaxed);
        let mut ids: Vec<i64> = encoding.get_ids().iter().map(|&id| i64::from(id)).collect();
        if let Some(fill) = self.fill {
            ids.resize(self.context, fill);
        }
        Ok(ids)
    }

    /// What fills every text up to the context.
    pub fn fill(&self) -> Option<i64> {
        self.fill
    }

    /// As many tokens as there can be, the greatest id of the vocabulary among them.
    pub fn longest(&self) -> Vec<i64> {
        let greatest = self.tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
        let mut ids = self.ids("", &"a ".repeat(self.context)).unwrap_or_default();
        ids.resize(self.context, ids.last().copied().unwrap_or(0));
        if let Some(second) = ids.get_mut(1) {
            *second = greatest.into();
        }
        ids
    }
}

impl Reader for Words {
    /// Of several texts the first.
    fn read(&self, field: &str, value: &Value) -> Result<Option<(Array, u64)>, Fault> {
        let text = match value {
            Value::List(texts) => return texts.iter().find_map(|text| self.read(field, text).transpose()).transpose(),
            Value::Bytes(bytes) => {
                let text = std::str::from_utf8(bytes).map_err(|error| Fault::new(field, "text is not UTF-8", error))?;
                text.into()
            }
            other => match other.as_text() {
                Some(text) => text,
                None => return Err(Fault::new(field, "field is not text", format!("found {}", other.kind()))),
            },
        };
        if text.trim().is_empty() {
            return Ok(None);
        }
        let ids = Array1::from(self.ids(field, &text)?).into_dyn();
        Ok(Some((Array::I64(ids), content(text.as_bytes()))))
    }

    fn max_tokens(&self) -> usize {
        self.context
    }

    fn remarks(&self) -> Vec<String> {
        let (seen, cut) = (self.seen.load(Ordering::Relaxed), self.cut.load(Ordering::Relaxed));
        let remark = || format!("{cut} of {seen} texts truncated to {} tokens", self.context);
        (cut > 0).then(remark).into_iter().collect()
    }
}
