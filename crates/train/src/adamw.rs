use std::collections::{BTreeMap, HashMap};

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    tensor::{Device, Tensor, TensorData},
};
use sensorium_contract::host_f32;
use sensorium_kernels::{AdamwMoments, AdamwOptions, adamw_step};
use sensorium_state::NamedTensor;

use crate::{Average, FlatGradients, OptimizerConfig, TrainError};

/// AdamW (Loshchilov and Hutter 2019) in PyTorch's form, over all parameters of a module.
///
/// A parameter without a gradient in a step stays as it is: no update, no decay, and its own count
/// of steps, which the bias corrections go by, does not advance. One whose learning rate is 0 has none
/// ([`AdamW::lock`]).
#[derive(Debug)]
pub struct AdamW {
    config: OptimizerConfig,
    parameters: Vec<Treatment>,
    places: HashMap<ParamId, usize>,
}

/// How one parameter is trained, and what the optimiser remembers of it.
#[derive(Debug)]
struct Treatment {
    name: String,
    shape: Vec<usize>,
    device: Device,
    rate_factor: f64,
    decay: f64,
    steps: u64,
    /// Absent before the first step; `[elements]` each.
    moments: Option<AdamwMoments<1>>,
}

impl AdamW {
    /// An optimiser for this module that has done no step.
    ///
    /// # Errors
    /// [`TrainError::Config`] if a group's pattern is not valid or matches no parameter.
    pub fn new<M: Module>(config: &OptimizerConfig, module: &M) -> Result<Self, TrainError> {
        let mut lister =
            Lister { path: Vec::new(), decay: config.weight_decay, parameters: Vec::new(), places: HashMap::new() };
        module.visit(&mut lister);
        let Lister { mut parameters, places, .. } = lister;
        for (place, group) in config.groups.iter().enumerate() {
            let key = || format!("optimizer.groups.{place}.match");
            let pattern = glob::Pattern::new(&group.pattern)
                .map_err(|error| TrainError::config(key(), format!("`{}`: {error}", group.pattern)))?;
            let mut matched = parameters.iter_mut().filter(|parameter| pattern.matches(&parameter.name)).peekable();
            if matched.peek().is_none() {
                return Err(TrainError::config(key(), format!("`{}` matches no parameter", group.pattern)));
            }
            for parameter in matched {
                parameter.rate_factor = group.lr;
                parameter.decay = group.weight_decay.unwrap_or(parameter.decay);
            }
        }
        Ok(Self { config: config.clone(), parameters, places })
    }

    /// How many numbers are trained: all but those of parameters whose learning rate is 0.
    pub fn trained(&self) -> usize {
        let trained = self.parameters.iter().filter(|parameter| parameter.rate_factor > 0.0);
        trained.map(|parameter| parameter.shape.iter().product::<usize>()).sum()
    }

    /// The module without gradients of the parameters whose learning rate is 0, so that they stay as they are, count in
    /// no norm, and no backward pass goes through what nothing else needs.
    pub fn lock<M: Module>(&self, module: M) -> M {
        module.map(&mut Locker(self))
    }

    /// The module after one step with learning rate `rate`, its gradients clipped to the
    /// configured norm. `average` takes in the new weights on the way.
    pub fn step<M: Module>(
        &mut self,
        module: M,
        gradients: FlatGradients,
        rate: f64,
        average: Option<&mut Average>,
    ) -> M {
        let norm = gradients.norm();
        let scale = match self.config.clip_norm {
            // As PyTorch's clip_grad_norm_, which keeps from dividing by zero in this way.
            Some(limit) => (limit / (norm + 1e-6)).min(1.0),
            None => 1.0,
        };
        module.map(&mut Stepper { optimizer: self, gradients, rate, scale, average })
    }

    /// Moments of all parameters that have had a step, named `<parameter>.first` and
    /// `<parameter>.second`.
    pub fn moments(&self) -> Vec<NamedTensor> {
        let moments = |parameter: &Treatment| {
            let named = |which: &str, tensor: &Tensor<1>| NamedTensor {
                name: format!("{}.{which}", parameter.name),
                shape: parameter.shape.clone(),
                values: host_f32(tensor.clone()),
            };
            let moments = parameter.moments.as_ref()?;
            Some([named("first", &moments.first), named("second", &moments.second)])
        };
        self.parameters.iter().filter_map(moments).flatten().collect()
    }

    /// Steps of each parameter that has had one.
    pub fn steps(&self) -> BTreeMap<String, u64> {
        let stepped = self.parameters.iter().filter(|parameter| parameter.steps > 0);
        stepped.map(|parameter| (parameter.name.clone(), parameter.steps)).collect()
    }

    /// Takes up what [`AdamW::moments`] and [`AdamW::steps`] gave.
    ///
    /// # Errors
    /// What does not fit the module.
    pub fn restore(
        &mut self,
        moments: &BTreeMap<String, NamedTensor>,
        steps: &BTreeMap<String, u64>,
    ) -> Result<(), String> {
        let mut taken = 0;
        for parameter in &mut self.parameters {
            parameter.steps = steps.get(&parameter.name).copied().unwrap_or(0);
            parameter.moments = None;
            if parameter.steps > 0 {
                let first = parameter.moment("first", moments)?;
                let second = parameter.moment("second", moments)?;
                parameter.moments = Some(AdamwMoments { first, second });
                taken += 1;
            }
        }
        match taken == steps.len() {
            true => Ok(()),
            false => Err(format!("{} parameters have a state, the model knows {taken} of them", steps.len())),
        }
    }
}

impl Treatment {
    fn moment(&self, which: &str, moments: &BTreeMap<String, NamedTensor>) -> Result<Tensor<1>, String> {
        let name = format!("{}.{which}", self.name);
        let moment = moments.get(&name).ok_or_else(|| format!("`{name}` is missing"))?;
        if moment.shape != self.shape {
            return Err(format!("`{name}`: expected shape {:?}, found {:?}", self.shape, moment.shape));
        }
        let data = TensorData::new(moment.values.clone(), [moment.values.len()]);
        Ok(Tensor::from_data(data, &self.device))
    }
}

struct Lister {
    path: Vec<String>,
    decay: f64,
    parameters: Vec<Treatment>,
    places: HashMap<ParamId, usize>,
}

impl ModuleVisitor for Lister {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.places.insert(param.id, self.parameters.len());
        self.parameters.push(Treatment {
            name: self.path.join("."),
            shape: param.lazy_shape().to_vec(),
            device: param.lazy_device().inner(),
            rate_factor: 1.0,
            decay: if D >= 2 { self.decay } else { 0.0 },
            steps: 0,
            moments: None,
        });
    }
}

struct Locker<'a>(&'a AdamW);

impl ModuleMapper for Locker<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let AdamW { parameters, places, .. } = self.0;
        match places.get(&param.id).is_some_and(|&place| parameters[place].rate_factor == 0.0) {
            true => param.set_require_grad(false),
            false => param,
        }
    }
}

struct Stepper<'a> {
    optimizer: &'a mut AdamW,
    gradients: FlatGradients,
    rate: f64,
    scale: f64,
    average: Option<&'a mut Average>,
}

impl Stepper<'_> {
    fn options(&self, parameter: &Treatment) -> AdamwOptions {
        let config = &self.optimizer.config;
        AdamwOptions {
            learning_rate: self.rate * parameter.rate_factor,
            beta1: config.betas[0],
            beta2: config.betas[1],
            epsilon: config.epsilon,
            decay: parameter.decay,
            gradient_scale: self.scale,
            step: parameter.steps as usize + 1,
        }
    }

    /// The only place that changes a weight.
    fn update(&mut self, id: ParamId, weights: Tensor<1>) -> Tensor<1> {
        let Some(&place) = self.optimizer.places.get(&id) else { return weights };
        let Some(gradient) = self.gradients.remove(id) else { return weights };
        let options = self.options(&self.optimizer.parameters[place]);
        let parameter = &mut self.optimizer.parameters[place];
        let stepped = adamw_step(weights, gradient, parameter.moments.take(), options);
        parameter.moments = Some(stepped.moments);
        parameter.steps += 1;
        stepped.parameter
    }
}

impl ModuleMapper for Stepper<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let shape = tensor.dims();
        let elements = tensor.shape().num_elements();
        let (tracked, strategy) = (tensor.is_require_grad(), tensor.gradient_checkpointing_strategy());
        let weights = self.update(id, tensor.inner().reshape([elements]));
        if let Some(average) = &mut self.average {
            average.take_in(id, &weights);
        }
        let mut tensor = weights.reshape(shape);
        if let Some(strategy) = strategy {
            tensor =
                Tensor::from_inner(tensor).with_gradient_checkpointing_strategy(strategy).set_require_grad(tracked);
        }
        Param::from_mapped_value(id, tensor, mapper)
    }
}
