use std::collections::BTreeMap;

use sensorium_backbone::TransformerConfig;
use sensorium_contract::Name;
use sensorium_modalities::ModalityConfig;
use sensorium_model::{ModelConfig, Projection, Topology};
use sensorium_train::{GroupConfig, OptimizerConfig, ScheduleConfig, TrainConfig, Warmup};

use crate::Training;

/// Tokens of a text from which on a step costs so much that many small ones are better than few large ones.
const LONG: usize = 200;

/// How large a model a table of this size can teach.
pub(super) struct Size {
    rows: usize,
    cells_alone: bool,
    media: bool,
    long: bool,
}

impl Size {
    pub fn of(modalities: &BTreeMap<Name, ModalityConfig>, rows: usize) -> Self {
        let cells = |config: &ModalityConfig| matches!(config, ModalityConfig::Table(_));
        let media = |config: &ModalityConfig| matches!(config, ModalityConfig::Image(_) | ModalityConfig::Audio(_));
        let long = |config: &ModalityConfig| matches!(config, ModalityConfig::Text(text) if text.context > LONG);
        let any = |is: &dyn Fn(&ModalityConfig) -> bool| modalities.values().any(is);
        Self { rows, cells_alone: modalities.values().all(cells), media: any(&media), long: any(&long) }
    }

    /// One small trunk for all.
    pub fn model(&self) -> ModelConfig {
        let trunk = self.trunk();
        ModelConfig { embedding: trunk.width, projection: Projection::Linear, topology: Topology::Shared { trunk } }
    }

    /// As large as the table can teach from nothing.
    pub fn trunk(&self) -> TransformerConfig {
        let (layers, width, heads) = match (self.cells_alone, self.rows) {
            (true, 0..5000) => (2, 64, 4),
            (true, _) => (3, 96, 4),
            (false, 0..5000) => (3, 96, 4),
            (false, _) => (4, 128, 4),
        };
        TransformerConfig { layers, width, heads, hidden_ratio: 2.0, ..TransformerConfig::default() }
    }

    pub fn train(&self, starts: bool, training: Training) -> TrainConfig {
        let batch = match self.rows {
            _ if self.long => 16,
            0..500 => 32,
            500..4000 => 64,
            _ => 128,
        };
        let learning_rate = match (starts, training) {
            (true, Training::Full) => 3e-4,
            _ if self.rows < 1000 => 5e-4,
            _ => 1e-3,
        };
        let steps_per_epoch = (self.rows / batch).max(1) as u64;
        // Small tables are gone through more often; the best checkpoint counts, not the last.
        // Pictures and sounds are learned from pixels and waves, which takes longer than names of things.
        let most = if self.media { 80 } else { 20 };
        let epochs = (40_000 / self.rows.max(1) as u64).clamp(6, most);
        let steps = epochs * steps_per_epoch;
        TrainConfig {
            steps: Some(steps),
            batch,
            optimizer: OptimizerConfig {
                learning_rate,
                betas: [0.9, 0.98],
                weight_decay: 0.1,
                groups: Vec::<GroupConfig>::new(),
                ..OptimizerConfig::default()
            },
            schedule: ScheduleConfig { warmup: Warmup::Share(0.1), ..ScheduleConfig::default() },
            ema: Some(0.99),
            evaluate_every: Some((steps / 40).max(1)),
            checkpoint_every: Some((steps / 4).max(1)),
            patience: Some(16),
            best: Some("validation/loss".to_owned()),
            ..TrainConfig::default()
        }
    }
}
