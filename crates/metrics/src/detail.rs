use serde::{Deserialize, Serialize};

use crate::{Bin, Confusion};

/// What there is to look at beside the metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Detail {
    /// Of [`crate::Classes`] and [`crate::Grades`].
    Classes(ClassDetail),
    /// Of [`crate::Labels`].
    Labels(LabelDetail),
    /// Of [`crate::Numbers`].
    Numbers(NumberDetail),
}

/// Of classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassDetail {
    /// Each class.
    pub classes: Vec<ClassScores>,
    /// What was taken for what.
    pub confusion: Confusion,
    /// Share of the most frequent class: the accuracy of who always says it.
    pub majority: f64,
    /// Whether confidence tells how often the most probable class is right.
    pub reliability: Vec<Bin>,
    /// Of the second of two classes, else of the most frequent ones against the rest.
    pub curves: Vec<Curve>,
}

/// Of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// Its name.
    pub name: String,
    /// Rows of which it is the truth.
    pub rows: u64,
    /// Share of the rows taken for it that are of it.
    pub precision: Option<f64>,
    /// Share of its rows that were found.
    pub recall: Option<f64>,
    /// Their harmonic mean.
    pub f1: Option<f64>,
}

/// A ROC curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// The positive class.
    pub class: String,
    /// The area below.
    pub auroc: f64,
    /// `[false positive rate, true positive rate]`, from (0, 0) to (1, 1); corners alone.
    pub points: Vec<[f64; 2]>,
}

/// Of labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelDetail {
    /// Each label.
    pub labels: Vec<LabelScores>,
    /// Whether probabilities tell how often labels are on, of all labels together.
    pub reliability: Vec<Bin>,
}

/// Of one label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelScores {
    /// Its name.
    pub name: String,
    /// Rows in which it is on.
    pub rows: u64,
    /// Area under its ROC curve.
    pub auroc: Option<f64>,
    /// Its average precision.
    pub auprc: Option<f64>,
    /// F1 at a probability of one half.
    pub f1: Option<f64>,
}

/// Of numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NumberDetail {
    /// `[truth, prediction]`, of rows evenly from all over the data.
    pub points: Vec<[f64; 2]>,
}
