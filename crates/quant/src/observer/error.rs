//! What can go wrong in an observer.

/// An error of an observer; the caller adds which node it watches.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ObserverError {
    /// A value that is not a number.
    #[error(
        "{observer}: the tensor has a NaN at element {index}; NaN has no place in a range (look at the calibration data and at the float model's own output for them)"
    )]
    NaN {
        /// The observer's class.
        observer: &'static str,
        /// Row-major index of the first NaN.
        index: usize,
    },
    /// Data and shape do not fit.
    #[error("{observer}: {len} values do not fill a tensor of shape {shape:?}")]
    Shape {
        /// The observer's class.
        observer: &'static str,
        /// Values given.
        len: usize,
        /// Shape given.
        shape: Vec<usize>,
    },
    /// The tensor does not have the channel axis.
    #[error(
        "{observer}: a tensor of shape {shape:?} has no axis {ch_axis}; set ch_axis to one it has, or use a per-tensor observer"
    )]
    NoChannelAxis {
        /// The observer's class.
        observer: &'static str,
        /// The axis wanted.
        ch_axis: usize,
        /// Shape given.
        shape: Vec<usize>,
    },
    /// The number of channels changed between tensors.
    #[error("{observer}: a tensor has {got} channels on axis {ch_axis}, the ones before had {expected}")]
    ChannelCount {
        /// The observer's class.
        observer: &'static str,
        /// The channel axis.
        ch_axis: usize,
        /// Channels of the earlier tensors.
        expected: usize,
        /// Channels of this tensor.
        got: usize,
    },
    /// The width of the range overflows.
    #[error(
        "{observer}: the range {min:e} to {max:e} is too wide for an f32 scale; the float model's values have run away"
    )]
    RangeTooWide {
        /// The observer's class.
        observer: &'static str,
        /// Smallest value.
        min: f32,
        /// Largest value.
        max: f32,
    },
    /// Arguments that contradict each other.
    #[error("{observer}: {reason}")]
    Spec {
        /// The observer's class.
        observer: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// No exact merge.
    #[error("{observer} cannot be merged with {other}: {reason}")]
    NotMergeable {
        /// The observer's class.
        observer: &'static str,
        /// The other's class.
        other: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// The observer computes no parameters.
    #[error(
        "{observer} computes no scale and zero point (hint: an observer such as min_max for values that are to be quantized)"
    )]
    NoQParams {
        /// The observer's class.
        observer: &'static str,
    },
    /// The zero points of the scheme are floats.
    #[error(
        "{observer}: the scheme per_channel_affine_float_qparams has float zero points, integer ones are wanted here"
    )]
    FloatZeroPoints {
        /// The observer's class.
        observer: &'static str,
    },
    /// The zero points of the scheme are integers.
    #[error("{observer}: only the scheme per_channel_affine_float_qparams has float zero points")]
    IntegerZeroPoints {
        /// The observer's class.
        observer: &'static str,
    },
}
