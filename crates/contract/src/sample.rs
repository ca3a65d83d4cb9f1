use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

/// One raw field of a sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A file's bytes: a picture, a sound.
    Bytes(Arc<[u8]>),
    /// Text. Booleans are the texts `true` and `false`.
    Text(String),
    /// A number. A cell of a text table is a number if it is written as JSON writes one.
    Number(f64),
    /// Several values of one field: captions of one picture, pictures of one case.
    List(Vec<Value>),
}

impl Value {
    /// The value as text; a number in its shortest form, nothing for bytes and lists.
    pub fn as_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Number(number) => Some(Cow::Owned(number.to_string())),
            Self::Bytes(_) | Self::List(_) => None,
        }
    }

    /// The names of several labels: a list's, or those between semicolons of a text; nothing for bytes.
    pub fn labels(&self) -> Option<Vec<String>> {
        match self {
            Self::Bytes(_) => None,
            Self::List(values) => values.iter().map(|value| Some(value.as_text()?.trim().to_owned())).collect(),
            single => {
                let text = single.as_text()?;
                Some(text.split(';').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
            }
        }
    }

    /// What kind of value this is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bytes(_) => "bytes",
            Self::Text(_) => "text",
            Self::Number(_) => "a number",
            Self::List(_) => "a list",
        }
    }
}

/// A key and named raw fields, any of which may be absent.
///
/// The same content gives the same sample whatever the layout of the files it came from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Identifies the sample within its data set.
    pub key: String,
    /// Raw fields by name. An absent value has no entry.
    pub fields: BTreeMap<String, Value>,
}
