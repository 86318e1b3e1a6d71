//! Symbolic tracing of models that are described in JSON or written as Rust modules, as torch.fx does it: the model is run
//! with proxies that record every call. Leaf modules become single calls, others are inlined.

mod error;
mod json;

use std::path::Path;

use quantc_ir::Graph;

pub use error::{ModuleRef, Position, TraceError, TraceErrorKind};

use crate::FrontendError;
use error::Kind;

/// Traces a description; weights come from the safetensors file it names or that lies beside it, else they are random.
///
/// # Errors
/// See [`TraceErrorKind`].
pub fn load(path: &Path) -> Result<Graph, FrontendError> {
    let file = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|e| TraceError::from(Kind::Io { file, message: e.to_string() }))?;
    parse(&text)
}

/// Traces a description that is in memory.
///
/// # Errors
/// See [`TraceErrorKind`].
pub fn parse(text: &str) -> Result<Graph, FrontendError> {
    let root = json::parse(text).map_err(|e| e.locate(text))?;
    Err(TraceError::form(root.at, "descriptions are not traced yet", "import an ONNX file").locate(text).into())
}
