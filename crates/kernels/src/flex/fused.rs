//! How a hand-written operation takes part in Burn's dispatch and autodiff.

use std::fmt::Debug;

use burn::{
    backend::{
        Autodiff, BackendTensor, DispatchAutodiffContext, DispatchDevice, DispatchTensor, DispatchTensorKind, Flex,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::NoCheckpointing},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        tensor::FloatTensor,
    },
    tensor::{DType, Tensor, kind::Basic},
};
use burn_flex::FlexTensor;

use super::buffer::contiguous;

/// An operation on `N` contiguous tensors of f32 that knows its own backward pass.
pub(crate) trait Fused<const N: usize>: Clone + Debug + Send + 'static {
    /// What the backward pass needs beside the inputs and the operation itself.
    type Saved: Clone + Debug + Send + 'static;

    /// The output, and with `keep` what the backward pass needs.
    fn forward(&self, inputs: &[FlexTensor; N], keep: bool) -> (FlexTensor, Option<Self::Saved>);

    /// The gradients of the inputs that are `wanted`, from that of the output.
    fn backward(
        self,
        inputs: [FlexTensor; N],
        saved: Self::Saved,
        gradient: FlexTensor,
        wanted: [bool; N],
    ) -> [Option<FlexTensor>; N];
}

/// Whether a tensor is where fused operations run: on the CPU backend, of f32.
pub(crate) fn accepts<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.dtype() == DType::F32 && on_flex(tensor)
}

/// Whether a tensor is on the CPU backend.
pub(crate) fn on_flex<const D: usize, K: Basic>(tensor: &Tensor<D, K>) -> bool {
    match tensor.device().as_dispatch() {
        DispatchDevice::Flex(_) => true,
        DispatchDevice::Autodiff(_) => matches!(tensor.device().inner().as_dispatch(), DispatchDevice::Flex(_)),
        #[allow(unreachable_patterns)] // Other backends are there with other features.
        _ => false,
    }
}

/// The primitive of an integer or truth tensor of the CPU backend.
pub(crate) fn flex_primitive<const D: usize, K: Basic>(tensor: Tensor<D, K>) -> Option<FlexTensor> {
    match tensor.into_dispatch().kind {
        DispatchTensorKind::Flex(BackendTensor::Int(tensor) | BackendTensor::Bool(tensor)) => Some(contiguous(tensor)),
        _ => None,
    }
}

/// The primitive of a float tensor that [`accepts`] has accepted and that is not on an autodiff device.
pub(crate) fn to_flex<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    Input::of(tensor.into_dispatch()).into_plain()
}

/// A float tensor of the CPU backend.
pub(crate) fn from_flex<const D: usize>(tensor: FlexTensor) -> Tensor<D> {
    let kind = DispatchTensorKind::Flex(BackendTensor::Float(tensor));
    Tensor::from_dispatch(DispatchTensor { kind, autodiff: DispatchAutodiffContext::Disabled })
}

type AutodiffFlex = Autodiff<Flex>;

enum Input {
    Plain(FlexTensor),
    Tracked(FloatTensor<AutodiffFlex>),
}

impl Input {
    fn of(tensor: DispatchTensor) -> Self {
        match tensor.kind {
            DispatchTensorKind::Flex(BackendTensor::Float(tensor)) => Self::Plain(tensor),
            DispatchTensorKind::Autodiff(tensor) => match *tensor {
                DispatchTensorKind::Flex(BackendTensor::Autodiff(tensor)) => Self::Tracked(tensor),
                // `accepts` has seen the device.
                _ => unreachable!("a tensor of another backend"),
            },
            _ => unreachable!("a tensor of another backend"),
        }
    }

    fn into_plain(self) -> FlexTensor {
        match self {
            Self::Plain(tensor) => tensor,
            Self::Tracked(tensor) => tensor.into_primitive(),
        }
    }

    fn into_tracked(self) -> FloatTensor<AutodiffFlex> {
        match self {
            Self::Plain(tensor) => FloatTensor::<AutodiffFlex>::new(tensor),
            Self::Tracked(tensor) => tensor,
        }
    }
}

/// Runs the operation on tensors that [`accepts`] has accepted, recorded for the backward pass if
/// any of them is on an autodiff device.
pub(crate) fn run<O: Fused<N>, const N: usize, const D: usize>(operation: O, inputs: [DispatchTensor; N]) -> Tensor<D> {
    let none = DispatchAutodiffContext::Disabled;
    let context = inputs.iter().fold(none, |context, input| context.merge(input.autodiff));
    let inputs = inputs.map(Input::of);
    let kind = if context == none {
        let inputs = inputs.map(|input| contiguous(input.into_plain()));
        DispatchTensorKind::Flex(BackendTensor::Float(operation.forward(&inputs, false).0))
    } else {
        let output = record(operation, inputs.map(Input::into_tracked));
        DispatchTensorKind::Autodiff(Box::new(DispatchTensorKind::Flex(BackendTensor::Autodiff(output))))
    };
    Tensor::from_dispatch(DispatchTensor { kind, autodiff: context })
}

#[derive(Debug)]
struct Step<O>(std::marker::PhantomData<O>);

#[derive(Clone, Debug)]
struct State<O, S, const N: usize> {
    operation: O,
    inputs: [FlexTensor; N],
    saved: S,
}

impl<O: Fused<N>, const N: usize> Backward<Flex, N> for Step<O> {
    type State = State<O, O::Saved, N>;

    fn backward(self, ops: Ops<Self::State, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = contiguous(gradients.consume::<Flex>(&ops.node));
        let State { operation, inputs, saved } = ops.state;
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let found = operation.backward(inputs, saved, gradient, wanted);
        for (parent, gradient) in ops.parents.into_iter().zip(found) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                gradients.register::<Flex>(parent.id, gradient);
            }
        }
    }
}

fn record<O: Fused<N>, const N: usize>(
    operation: O,
    inputs: [FloatTensor<AutodiffFlex>; N],
) -> FloatTensor<AutodiffFlex> {
    let nodes = inputs.each_ref().map(|input| input.node());
    let inputs = inputs.map(|input| contiguous(input.into_primitive()));
    // The strategy matters to operations that can be recomputed alone; these save their own state.
    match Step::<O>(std::marker::PhantomData).prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let (output, saved) = operation.forward(&inputs, true);
            // `forward` with `keep` always gives it.
            let saved = saved.unwrap_or_else(|| unreachable!("nothing was kept for the backward pass"));
            prepared.finish(State { operation, inputs, saved }, output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(operation.forward(&inputs, false).0),
    }
}
