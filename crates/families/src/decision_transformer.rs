//! Decision Transformer (Chen et al. 2021, "Decision Transformer: Reinforcement Learning via Sequence Modeling"):
//! agrees with `DecisionTransformerModel`.
//!
//! GPT-2's trunk over three tokens a step (the return still to come, the state, the action), which all carry the
//! step's position; what stands at a state predicts the action.

use burn::{
    module::Module,
    tensor::{Bool, Device, Tensor},
};
use sensorium_backbone::{Draw, Embedding, Linear, Norm, NormKind, Transformer, TransformerConfig};
use sensorium_contract::{Attention, Seed};
use serde::Deserialize;

use crate::{
    FamilyError,
    config::{Act, check, hidden_ratio, positive},
    gpt2::BLOCK,
    network::{Answers, Family, Found, Inputs, Layout, Published},
};

/// `DecisionTransformerConfig`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct DecisionTransformerConfig {
    state_dim: usize,
    act_dim: usize,
    hidden_size: usize,
    max_ep_len: usize,
    action_tanh: bool,
    vocab_size: usize,
    n_positions: usize,
    n_layer: usize,
    n_head: usize,
    n_inner: Option<usize>,
    activation_function: Act,
    layer_norm_epsilon: f64,
    scale_attn_weights: bool,
    scale_attn_by_inverse_layer_idx: bool,
    add_cross_attention: bool,
}

impl Default for DecisionTransformerConfig {
    fn default() -> Self {
        Self {
            state_dim: 17,
            act_dim: 4,
            hidden_size: 128,
            max_ep_len: 4096,
            action_tanh: true,
            vocab_size: 1,
            n_positions: 1024,
            n_layer: 3,
            n_head: 1,
            n_inner: None,
            activation_function: Act::Relu,
            layer_norm_epsilon: 1e-5,
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
            add_cross_attention: false,
        }
    }
}

/// Tokens of a step: return, state, action.
const KINDS: usize = 3;

impl DecisionTransformerConfig {
    fn check(&self) -> Result<(), String> {
        positive(&[
            ("state_dim", self.state_dim),
            ("act_dim", self.act_dim),
            ("hidden_size", self.hidden_size),
            ("max_ep_len", self.max_ep_len),
            ("vocab_size", self.vocab_size),
            ("n_positions", self.n_positions),
        ])?;
        let refused = [
            ("scale_attn_by_inverse_layer_idx", self.scale_attn_by_inverse_layer_idx),
            ("add_cross_attention", self.add_cross_attention),
        ];
        if let Some((key, _)) = refused.iter().find(|(_, on)| *on) {
            return Err(format!("`{key}`: only false is known here"));
        }
        check(&self.trunk())
    }

    fn trunk(&self) -> TransformerConfig {
        TransformerConfig {
            layers: self.n_layer,
            width: self.hidden_size,
            heads: self.n_head,
            hidden_ratio: self.n_inner.map_or(4.0, |hidden| hidden_ratio(hidden, self.hidden_size)),
            attention: Attention::Causal,
            activation: self.activation_function.into(),
            epsilon: self.layer_norm_epsilon,
            score_scale: (!self.scale_attn_weights).then_some(1.0),
            ..TransformerConfig::default()
        }
    }
}

/// What turns a trajectory into tokens, the trunk, and what it predicts.
#[derive(Module, Debug)]
pub struct DecisionTransformer {
    /// `[1, width]`
    returns: Linear,
    /// `[state_dim, width]`
    states: Linear,
    /// `[act_dim, width]`
    actions: Linear,
    /// Of a step in its episode, `[max_ep_len, width]`.
    steps: Embedding,
    norm: Norm,
    /// GPT-2's positions, of which every token has the first, `[positions, width]`.
    positions: Embedding,
    /// GPT-2's words, which nothing reads; they are published, so they go out again.
    words: Embedding,
    trunk: Transformer,
    /// `[width, 1]`
    predict_return: Linear,
    /// `[width, state_dim]`
    predict_state: Linear,
    /// `[width, act_dim]`
    predict_action: Linear,
    #[module(skip)]
    action_tanh: bool,
}

/// A trajectory of steps.
struct Trajectory {
    /// `[rows, steps, 1]`
    returns: Tensor<3>,
    /// `[rows, steps, state_dim]`
    states: Tensor<3>,
    /// `[rows, steps, act_dim]`
    actions: Tensor<3>,
    /// Each step's position in its episode, embedded, `[rows, steps, width]`.
    steps: Tensor<3>,
    /// True where a token is real, `[rows, KINDS · steps]`.
    mask: Option<Tensor<2, Bool>>,
}

impl DecisionTransformer {
    fn read(&self, inputs: &Inputs<'_>) -> Result<Trajectory, FamilyError> {
        let ids = inputs.ids("timesteps", self.steps.values())?;
        let [rows, steps] = ids.dim().into();
        let floats = |name: &str, layer: &Linear| {
            let values = inputs.floats::<3>(name)?;
            let [features, _] = layer.weight.dims();
            match values.dims() {
                found if found == [rows, steps, features] => Ok(values),
                found => {
                    let problem = format!("expected shape {:?}, found {found:?}", [rows, steps, features]);
                    Err(FamilyError::input(name, problem))
                }
            }
        };
        let mask = inputs
            .mask("attention_mask", [rows, steps])?
            .map(|mask| mask.reshape([rows, steps, 1]).expand([rows, steps, KINDS]).reshape([rows, steps * KINDS]));
        Ok(Trajectory {
            returns: floats("returns_to_go", &self.returns)?,
            states: floats("states", &self.states)?,
            actions: floats("actions", &self.actions)?,
            steps: self.steps.forward(inputs.tensor(&ids)),
            mask,
        })
    }
}

impl Family for DecisionTransformer {
    type Config = DecisionTransformerConfig;

    fn check(config: &DecisionTransformerConfig) -> Result<(), String> {
        config.check()
    }

    fn published(_config: &DecisionTransformerConfig) -> Published {
        Published::default()
    }

    fn layout(config: &DecisionTransformerConfig, _found: &Found) -> Layout {
        let width = config.hidden_size;
        let mut layout = Layout::default();
        layout.linear("returns", "embed_return", [1, width], true);
        layout.linear("states", "embed_state", [config.state_dim, width], true);
        layout.linear("actions", "embed_action", [config.act_dim, width], true);
        layout.embedding("steps", "embed_timestep", config.max_ep_len, width);
        layout.norm("norm", "embed_ln", width, NormKind::Layer);
        layout.embedding("positions", "encoder.wpe", config.n_positions, width);
        layout.embedding("words", "encoder.wte", config.vocab_size, width);
        layout.blocks("trunk", "encoder.h.{}", &config.trunk(), &BLOCK);
        layout.norm("trunk.norm", "encoder.ln_f", width, NormKind::Layer);
        layout.linear("predict_return", "predict_return", [width, 1], true);
        layout.linear("predict_state", "predict_state", [width, config.state_dim], true);
        layout.linear("predict_action", "predict_action.0", [width, config.act_dim], true);
        layout
    }

    fn new(config: &DecisionTransformerConfig, _found: &Found, device: &Device) -> Self {
        let (width, seed, draw) = (config.hidden_size, Seed::new(0), Draw::Normal(0.02));
        let linear = |inputs, outputs| Linear::new(inputs, outputs, draw, seed, device);
        let table = |values| Embedding::new(values, width, draw, seed, device);
        Self {
            returns: linear(1, width),
            states: linear(config.state_dim, width),
            actions: linear(config.act_dim, width),
            steps: table(config.max_ep_len),
            // The configuration's epsilon is of the trunk alone.
            norm: Norm::new(NormKind::Layer, width, 1e-5, seed, device),
            positions: table(config.n_positions),
            words: table(config.vocab_size),
            trunk: Transformer::new(&config.trunk(), seed, device),
            predict_return: linear(width, 1),
            predict_state: linear(width, config.state_dim),
            predict_action: linear(width, config.act_dim),
            action_tanh: config.action_tanh,
        }
    }

    fn forward(&self, inputs: &Inputs<'_>) -> Result<Answers, FamilyError> {
        let Trajectory { returns, states, actions, steps, mask } = self.read(inputs)?;
        let [rows, count, width] = steps.dims();
        let tokens = [self.returns.forward(returns), self.states.forward(states), self.actions.forward(actions)];
        let tokens = tokens.map(|token| token + steps.clone()); // [rows, steps, width] each
        let x = Tensor::stack::<4>(tokens.to_vec(), 2).reshape([rows, count * KINDS, width]);
        let first = self.positions.weight.val().narrow(0, 0, 1).reshape([1, 1, width]);
        let x = self.trunk.run(self.norm.forward(x) + first, mask.as_ref(), None); // [rows, KINDS · steps, width]
        let by_kind = x.clone().reshape([rows, count, KINDS, width]);
        let at = |kind: usize| by_kind.clone().narrow(2, kind, 1).reshape([rows, count, width]);
        let (at_state, at_action) = (at(1), at(2));
        let action = self.predict_action.forward(at_state);
        Ok(Answers::default()
            .with("return_preds", self.predict_return.forward(at_action.clone()))
            .with("state_preds", self.predict_state.forward(at_action))
            .with("action_preds", if self.action_tanh { action.tanh() } else { action })
            .with("last_hidden_state", x))
    }
}
