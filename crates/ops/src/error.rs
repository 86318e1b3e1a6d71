//! Errors of operators. They name the problem; the graph adds the node.

use quantc_tensor::TensorError;

/// Why an operator could not be built, typed or evaluated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}{}", hint.as_ref().map(|h| format!(" (hint: {h})")).unwrap_or_default())]
pub struct OpError {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl OpError {
    /// An error without a hint.
    pub fn new(message: impl Into<String>) -> OpError {
        OpError { message: message.into(), hint: None }
    }

    /// The same error with a hint.
    pub fn with_hint(mut self, hint: impl Into<String>) -> OpError {
        self.hint = Some(hint.into());
        self
    }
}

impl From<TensorError> for OpError {
    fn from(e: TensorError) -> Self {
        OpError::new(e.to_string())
    }
}
