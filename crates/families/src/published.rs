//! The forms in which a checkpoint's tensor names are found, brought to one.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Layout, tensors::TensorFiles};

/// What is particular about how a family's checkpoints are published.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// What stands before the base model's names in a checkpoint with a head (`bert.`), and is missing in that
    /// of the base model alone.
    pub prefix: &'static str,
    /// Parts of names in older files, and what they are called now.
    pub renames: Vec<(&'static str, &'static str)>,
    /// Copies of a tied tensor, and the tensor.
    pub copies: Vec<(&'static str, &'static str)>,
    /// Beginnings (without the prefix) and endings of names that are known and not needed, with a reason.
    pub left_out: Vec<(&'static str, &'static str)>,
}

/// Names that are no parameters, in any family.
const BUFFERS: [(&str, &str); 7] = [
    (".position_ids", "a buffer that counts positions"),
    (".token_type_ids", "a buffer of zeros"),
    (".inv_freq", "a buffer of rotary positions, computed from the configuration"),
    (".attn.bias", "a buffer that holds the causal mask"),
    (".attn.masked_bias", "a buffer that holds the causal mask's value"),
    (".num_batches_tracked", "a buffer of batch normalisation"),
    (".relative_position_index", "a buffer that counts positions"),
];

/// Names in any family's older files, and what they are called now; of the whole last parts.
const ENDINGS: [(&str, &str); 4] = [
    (".gamma", ".weight"),
    (".beta", ".bias"),
    (".weight_g", ".parametrizations.weight.original0"),
    (".weight_v", ".parametrizations.weight.original1"),
];

/// A tensor of the file that the model does not use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its name in the file.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// The names of a checkpoint's tensors in today's form.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Today's name, without the prefix, and the name in the file.
    names: BTreeMap<String, String>,
    prefix: &'static str,
}

/// How a checkpoint's tensors fit a layout.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fit {
    /// Published name of each tensor of the layout, and its name in the file.
    pub places: BTreeMap<String, String>,
    pub left_out: Vec<LeftOut>,
    pub problems: Vec<String>,
}

impl Found {
    pub(crate) fn new(files: &TensorFiles, published: &Published) -> Self {
        let entry = |name: &String| {
            let today = today(name, published);
            (today.strip_prefix(published.prefix).unwrap_or(&today).to_owned(), name.clone())
        };
        Self { names: files.places.keys().map(entry).collect(), prefix: published.prefix }
    }

    /// Whether the checkpoint has the tensor of this name, with or without the family's prefix.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn get(&self, name: &str) -> Option<&String> {
        self.names.get(name.strip_prefix(self.prefix).unwrap_or(name))
    }

    /// Finds the layout's tensors, and says what is missing, of another shape, left out or unknown.
    pub(crate) fn fit(&self, layout: &Layout, files: &TensorFiles, published: &Published) -> Fit {
        let mut fit = Fit::default();
        let mut used = BTreeSet::new();
        for (name, expected) in layout.pieces() {
            let Some(theirs) = self.get(name) else {
                fit.problems.push(format!("tensor `{name}` is missing"));
                continue;
            };
            let found = &files.places[theirs].shape;
            if found != expected {
                fit.problems.push(format!("tensor `{theirs}`: expected shape {expected:?}, found {found:?}"));
            }
            used.insert(theirs);
            fit.places.insert(name.to_owned(), theirs.clone());
        }
        for (name, theirs) in self.names.iter().filter(|(_, theirs)| !used.contains(theirs)) {
            match published.reason(name) {
                Some(reason) => fit.left_out.push(LeftOut { name: theirs.clone(), reason }),
                None => fit.problems.push(format!("tensor `{theirs}` is unknown")),
            }
        }
        fit
    }

    /// The file's names of a copy that is there and of the tensor that it copies.
    pub(crate) fn copies(&self, published: &Published) -> Vec<[String; 2]> {
        let both = |(copy, original): &(&str, &str)| Some([self.get(copy)?.clone(), self.get(original)?.clone()]);
        published.copies.iter().filter_map(both).collect()
    }
}

impl Published {
    /// Why a tensor that the layout does not name may be there.
    fn reason(&self, name: &str) -> Option<String> {
        let bare = |other: &str| other.strip_prefix(self.prefix).unwrap_or(other).to_owned();
        if let Some((_, original)) = self.copies.iter().find(|(copy, _)| bare(copy) == name) {
            return Some(format!("a copy of `{original}`"));
        }
        let dotted = format!(".{name}");
        let buffer = BUFFERS.iter().find(|(ending, _)| dotted.ends_with(ending));
        let known = || self.left_out.iter().find(|(part, _)| name.starts_with(part) || name.ends_with(part));
        buffer.or_else(known).map(|(_, reason)| (*reason).to_owned())
    }
}

/// The name that the library gives today.
fn today(name: &str, published: &Published) -> String {
    let ending = ENDINGS.iter().find_map(|(old, new)| Some(format!("{}{new}", name.strip_suffix(old)?)));
    let name = ending.unwrap_or_else(|| name.to_owned());
    published.renames.iter().fold(name, |name, (old, new)| name.replace(old, new))
}
