//! What can be wrong with a quantized tensor, or with what is asked of it.

use super::QDType;
use crate::{DType, QScheme, TensorError};

/// An error of quantized tensors.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QuantizedError {
    /// The method needs parameters of another scheme.
    #[error("{method} needs {needed} parameters, the tensor is {got} (hint: dequantize it first)")]
    Scheme {
        /// The method.
        method: &'static str,
        /// The tensor's scheme.
        got: QScheme,
        /// The kind that would do.
        needed: &'static str,
    },
    /// What is to be quantized is no f32 tensor.
    #[error("only f32 tensors are quantized, this is {0} (hint: convert it to f32)")]
    Input(DType),
    /// A zero point outside the range of the type.
    #[error("the zero point {zero_point} is not in {}..={}, the range of {dtype}", dtype.range().0, dtype.range().1)]
    ZeroPoint {
        /// The zero point.
        zero_point: i64,
        /// The element type.
        dtype: QDType,
    },
    /// A real zero point that is no number, or where only an integer in the type's range can stay.
    #[error("the zero point {0} {1}")]
    RealZeroPoint(f32, &'static str),
    /// A scale that no value can be divided by in f32.
    #[error("the scale {0} is not a positive f32 number with a finite reciprocal")]
    Scale(f64),
    /// Parameters of another type than PyTorch takes.
    #[error("{what} must be {wanted}, not {got}")]
    Parameter {
        /// Scales or zero points.
        what: &'static str,
        /// What they may be.
        wanted: &'static str,
        /// What they are.
        got: DType,
    },
    /// A number of scales or zero points that is not that of the channels.
    #[error("{got} {what} for {expected} channels")]
    Channels {
        /// Scales or zero points.
        what: &'static str,
        /// How many there are.
        got: usize,
        /// How many channels there are.
        expected: usize,
    },
    /// A dimension that the tensor does not have.
    #[error("dimension {dim} is outside a tensor of {rank} dimensions")]
    Dimension {
        /// As given; negative ones count from the end.
        dim: i64,
        /// Dimensions of the tensor.
        rank: usize,
    },
    /// A dimension given twice.
    #[error("dimension {0} is given twice")]
    Twice(i64),
    /// An index outside its dimension.
    #[error("index {index} is outside dimension {dim} of size {size}")]
    Index {
        /// As given; negative ones count from the end.
        index: i64,
        /// The dimension.
        dim: usize,
        /// Its size.
        size: usize,
    },
    /// A shape that the tensor cannot take.
    #[error("{method} of a tensor of shape {from:?} to {to:?}: {reason}")]
    Shape {
        /// The method.
        method: &'static str,
        /// The tensor's shape.
        from: Vec<usize>,
        /// The shape asked for.
        to: Vec<i64>,
        /// Why not.
        reason: &'static str,
    },
    /// Shapes that do not broadcast.
    #[error("shapes {0:?} and {1:?} cannot be broadcast together")]
    Broadcast(Vec<usize>, Vec<usize>),
    /// A shape of more elements than can be meant.
    #[error("a tensor of shape {0:?} is too large (hint: is a size wrong?)")]
    TooLarge(Vec<usize>),
    /// A reduction of no elements.
    #[error("{0} of no elements")]
    Empty(&'static str),
    /// More elements than there are.
    #[error("the top {k} of {size} elements")]
    TopK {
        /// How many were asked for.
        k: usize,
        /// How many there are.
        size: usize,
    },
    /// Elements of another type.
    #[error("a {from} tensor can't be copied into a {into} tensor")]
    CopyDType {
        /// The source's type.
        from: QDType,
        /// The destination's type.
        into: QDType,
    },
    /// Parameters of another scheme.
    #[error("a {from} tensor can't be copied into a {into} tensor")]
    CopyScheme {
        /// The source's scheme.
        from: QScheme,
        /// The destination's scheme.
        into: QScheme,
    },
    /// A plain tensor has the wrong type or number of elements.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}
