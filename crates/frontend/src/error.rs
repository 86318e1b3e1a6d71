//! The error of every way in.

use crate::onnx::OnnxError;
use crate::trace::TraceError;

/// Why a model could not be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FrontendError {
    /// An ONNX file.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// A model description.
    #[error(transparent)]
    Trace(#[from] TraceError),
}
