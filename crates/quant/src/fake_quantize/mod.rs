//! Fake quantization: values quantized and dequantized while a model trains, with a gradient
//! (torch.ao.quantization.fake_quantize).

mod functional;
mod fused;
mod module;

use crate::observer::ObserverError;

pub use functional::{FakeQuantized, ZeroPoints, fake_quantize_per_channel_affine, fake_quantize_per_tensor_affine};
pub use module::{FakeQuantize, disable_fake_quant, disable_observer, enable_fake_quant, enable_observer};

/// What can go wrong in fake quantization.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FakeQuantizeError {
    /// The observer refused the values or the spec.
    #[error(transparent)]
    Observer(#[from] ObserverError),
    /// The spec does not fit the module.
    #[error("{class}: {reason}")]
    Spec {
        /// The module's class.
        class: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A scale that nothing can be divided by.
    #[error("fake quantization: the scale {scale} is not positive and finite")]
    Scale {
        /// The scale.
        scale: f32,
    },
    /// An empty integer range.
    #[error("fake quantization: quant_min {quant_min} is above quant_max {quant_max}")]
    Range {
        /// Lowest value.
        quant_min: i32,
        /// Highest value.
        quant_max: i32,
    },
    /// Values, shape and channels do not fit.
    #[error(
        "fake quantization: a tensor of shape {shape:?} with {scales} scales for the channels of axis {axis} (hint: observe it first)"
    )]
    Channels {
        /// The shape given.
        shape: Vec<usize>,
        /// The channel axis.
        axis: usize,
        /// How many scales there are.
        scales: usize,
    },
    /// A gradient of another size.
    #[error("fake quantization: {got} gradients for {values} values")]
    Gradient {
        /// How many values there are.
        values: usize,
        /// How many gradients were given.
        got: usize,
    },
    /// Nothing to compute parameters from.
    #[error("{class}: nothing was observed yet (hint: enable_observer, or load a state)")]
    NotObserved {
        /// The module's class.
        class: &'static str,
    },
}
