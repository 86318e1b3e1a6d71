//! Errors of quantization.

use quantc_interp::InterpError;
use quantc_ir::IrError;

use crate::custom_config::CustomConfigError;
use crate::observer::ObserverError;
use crate::qconfig_mapping::MappingError;

/// Where calibration data have an infinity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfiniteInput {
    /// The input.
    pub input: String,
    /// Batch, from 0.
    pub batch: usize,
    /// Element in row-major order, from 0.
    pub element: usize,
}

impl std::fmt::Display for InfiniteInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "input `{}`, batch {}, element {} of the batch", self.input, self.batch, self.element)
    }
}

/// What can go wrong while a model is quantized.
#[derive(Debug, thiserror::Error)]
pub enum QuantError {
    /// The graph is not valid.
    #[error(transparent)]
    Ir(#[from] IrError),
    /// Running the model on calibration data failed.
    #[error("calibration: {0}")]
    Interp(#[from] InterpError),
    /// An observer refused its data.
    #[error("calibration: the value `{value}`: {source}")]
    Observer {
        /// The value it watches.
        value: String,
        /// Why.
        source: ObserverError,
    },
    /// A NaN in the calibration data.
    #[error(
        "NaN in the calibration data: input `{input}`, batch {batch}, element {element} of the batch (hint: remove or repair that sample)"
    )]
    NaNInput {
        /// The input.
        input: String,
        /// Batch, from 0.
        batch: usize,
        /// Element in row-major order, from 0.
        element: usize,
    },
    /// A NaN inside the model, from a batch of calibration data with an infinity.
    #[error(
        "calibration: the value `{value}` has a NaN, and the calibration data have an infinity: {infinity} (hint: infinities cancel to NaN; remove or repair that sample)"
    )]
    NaNFromInfinity {
        /// The observed value.
        value: String,
        /// The first infinity.
        infinity: InfiniteInput,
    },
    /// A weight cannot be quantized.
    #[error("the weight `{name}`: {message}")]
    Weight {
        /// The parameter.
        name: String,
        /// Why.
        message: String,
    },
    /// Rewriting failed.
    #[error(transparent)]
    Rewrite(#[from] Box<quantc_rewrite::RewriteError>),
    /// A custom configuration can't be used.
    #[error(transparent)]
    CustomConfig(Box<CustomConfigError>),
    /// The mapping can't be used.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// Static quantization without data.
    #[error(
        "no calibration data: static quantization needs at least one sample (hint: --calibration FILE.npy, or --mode dynamic)"
    )]
    NoCalibrationData,
    /// The operator table lacks an operator that quantization inserts.
    #[error("this build has no operator `{0}`")]
    MissingOperator(&'static str),
}

// Boxed, so that a result stays small.
impl From<CustomConfigError> for QuantError {
    fn from(error: CustomConfigError) -> QuantError {
        QuantError::CustomConfig(Box::new(error))
    }
}
