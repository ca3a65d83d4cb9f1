use std::fmt;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::{Features, MaskTarget, Name};

/// Which earlier or later tokens a token may see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attention {
    /// All real tokens.
    #[default]
    Bidirectional,
    /// Itself and those before it.
    Causal,
}

/// What is done to a pass's input before the backbone reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Corruption {
    /// Nothing.
    #[default]
    None,
    /// Tokens of each modality are hidden at the ratio that the modality's configuration gives.
    Masked,
    /// The last modality's rows are taken from other samples, never from one of equal content.
    Mismatched,
}

/// Which samples of a batch a pass of several modalities reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Presence {
    /// Those in which all its modalities are present.
    #[default]
    All,
    /// Those in which any is. The tokens of what a sample lacks are hidden from its others, so that
    /// a missing modality is the same as one that the model does not have.
    Any,
}

/// One reading of a batch by the backbone: which modalities it sees, and how.
///
/// A batch goes through each distinct pass once, on the samples that [`Presence`] says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pass {
    /// The modalities, in the order in which their tokens stand.
    pub modalities: Vec<Name>,
    /// What is done to the input.
    pub corruption: Corruption,
    /// Which samples take part.
    pub presence: Presence,
}

impl Pass {
    /// The undisturbed pass of one modality.
    pub fn of(name: &Name) -> Self {
        Self::joint(std::slice::from_ref(name))
    }

    /// The undisturbed pass of several modalities together.
    pub fn joint(names: &[Name]) -> Self {
        Self { modalities: names.to_vec(), corruption: Corruption::None, presence: Presence::All }
    }

    /// The undisturbed pass of whatever there is of these modalities in a sample.
    pub fn any(names: &[Name]) -> Self {
        match names {
            // Of one modality it is the pass of that modality.
            [name] => Self::of(name),
            names => Self { presence: Presence::Any, ..Self::joint(names) },
        }
    }

    /// The same pass with its input disturbed.
    pub fn with(self, corruption: Corruption) -> Self {
        Self { corruption, ..self }
    }
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.modalities.iter().map(|name| &**name).collect();
        f.write_str(&names.join(if self.presence == Presence::Any { " or " } else { " + " }))?;
        match self.corruption {
            Corruption::None => Ok(()),
            Corruption::Masked => f.write_str(" masked"),
            Corruption::Mismatched => f.write_str(" mismatched"),
        }
    }
}

/// What goes into a pass of one batch, known on the host before the backbone runs.
#[derive(Clone, Debug)]
pub struct PassPlan {
    /// Which pass.
    pub pass: Pass,
    /// The samples of the batch that take part, ascending, in the order of the tensors' rows.
    pub rows: Vec<usize>,
    /// What is hidden from a masked pass.
    pub targets: Vec<MaskTarget>,
}

/// What a pass gave.
#[derive(Clone, Debug)]
pub struct PassOutput {
    /// What went in.
    pub plan: PassPlan,
    /// What the backbone returned; absent where embeddings alone were kept of a large batch that
    /// went through in pieces.
    pub features: Option<Features>,
    /// The vector in the space that modalities share, of length 1, `[rows, embedding]`; for
    /// undisturbed passes of one modality.
    pub embedding: Option<Tensor<2>>,
}

/// The outputs of a batch's passes. A pass that no sample takes part in is absent.
#[derive(Clone, Debug, Default)]
pub struct Outputs(pub Vec<PassOutput>);

impl Outputs {
    /// The output of one pass.
    pub fn get(&self, pass: &Pass) -> Option<&PassOutput> {
        self.0.iter().find(|output| output.plan.pass == *pass)
    }
}
