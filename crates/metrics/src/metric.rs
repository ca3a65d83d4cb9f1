use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Detail;

/// A number that says how good predictions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum Metric {
    /// Share of rows whose most probable class is the true one.
    Accuracy,
    /// Mean recall of the classes that occur.
    BalancedAccuracy,
    /// Share of rows whose true class is among the five most probable.
    Top5Accuracy,
    /// Area under the ROC curve: of the second of two classes, else the mean of each class against
    /// the rest, over the classes that have rows on both sides.
    Auroc,
    /// Average precision, likewise; of several labels their mean, also known as mAP.
    Auprc,
    /// F1 of the second of two classes, else the mean over the classes that occur or are predicted.
    F1,
    /// Mean squared error of the probabilities: of the second of two classes, else added over the
    /// classes (Brier 1950).
    Brier,
    /// Expected calibration error of the most probable class, 15 bins of equal width (Guo et al. 2017).
    Ece,
    /// Mean negative logarithm of the true class's probability.
    LogLoss,
    /// Cohen's kappa with quadratic weights.
    QuadraticKappa,
    /// Mean distance in grades between the most probable and the true one.
    GradeError,
    /// Mean absolute error.
    Mae,
    /// Root of the mean squared error.
    Rmse,
    /// Share of the variance that is explained.
    R2,
    /// Rank correlation; rows of equal value share the mean of their ranks.
    Spearman,
}

impl Metric {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 15] = [
        Self::Accuracy,
        Self::BalancedAccuracy,
        Self::Top5Accuracy,
        Self::Auroc,
        Self::Auprc,
        Self::F1,
        Self::Brier,
        Self::Ece,
        Self::LogLoss,
        Self::QuadraticKappa,
        Self::GradeError,
        Self::Mae,
        Self::Rmse,
        Self::R2,
        Self::Spearman,
    ];

    /// As it is written in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::BalancedAccuracy => "balanced accuracy",
            Self::Top5Accuracy => "top-5 accuracy",
            Self::Auroc => "AUROC",
            Self::Auprc => "AUPRC",
            Self::F1 => "F1",
            Self::Brier => "Brier",
            Self::Ece => "ECE",
            Self::LogLoss => "log loss",
            Self::QuadraticKappa => "quadratic kappa",
            Self::GradeError => "error in grades",
            Self::Mae => "MAE",
            Self::Rmse => "RMSE",
            Self::R2 => "R²",
            Self::Spearman => "Spearman",
        }
    }

    /// Whether more is better; less is, of errors.
    pub fn higher_is_better(self) -> bool {
        let errors = [Self::Brier, Self::Ece, Self::LogLoss, Self::GradeError, Self::Mae, Self::Rmse];
        !errors.contains(&self)
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<Metric> for &'static str {
    fn from(metric: Metric) -> Self {
        metric.name()
    }
}

impl TryFrom<String> for Metric {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        Self::ALL.into_iter().find(|metric| metric.name() == name).ok_or_else(|| format!("unknown metric `{name}`"))
    }
}

/// Predictions with the truth, of a number of rows.
pub trait Predictions: Sync {
    /// How many rows there are.
    fn rows(&self) -> usize;

    /// All metrics, where row `i` counts `counts[i]` times; nothing where one is not defined, as an
    /// AUROC of rows of one class.
    fn measure(&self, counts: &[u32]) -> Vec<(Metric, Option<f64>)>;

    /// What there is to look at beside the metrics, of all rows.
    fn detail(&self) -> Detail;
}
