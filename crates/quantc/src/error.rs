//! The facade's errors: one message with a cause and, where there is one, a hint.

use std::path::{Path, PathBuf};

/// Anything that can go wrong between a model file and a result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file could not be written; nothing was left behind.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what its name or use says.
    #[error("{path}: {message}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// Data that do not fit the model, or an option that does not fit the data.
    #[error("{0}")]
    Data(String),
    /// An ONNX model that can't be imported.
    #[error(transparent)]
    Onnx(Box<quantc_frontend::onnx::OnnxError>),
    /// A model description that can't be traced.
    #[error(transparent)]
    Trace(Box<quantc_frontend::trace::TraceError>),
    /// A pattern file that can't be used.
    #[error(transparent)]
    Pattern(Box<quantc_pattern::PatternError>),
    /// File tests that can't be run.
    #[error(transparent)]
    FileTest(Box<quantc_testkit::FileTestError>),
    /// Rewriting failed.
    #[error(transparent)]
    Rewrite(Box<quantc_rewrite::RewriteError>),
    /// Quantizing failed.
    #[error(transparent)]
    Quant(Box<quantc_quant::QuantError>),
    /// The eager workflow refused the model.
    #[error(transparent)]
    Eager(Box<quantc_quant::eager::EagerError>),
    /// Reference execution failed.
    #[error(transparent)]
    Interp(Box<quantc_interp::InterpError>),
    /// Lowering failed.
    #[error(transparent)]
    Lower(Box<quantc_lower::LowerError>),
    /// Execution failed.
    #[error(transparent)]
    Runtime(Box<quantc_runtime::RunError>),
    /// A graph is not valid.
    #[error(transparent)]
    Ir(Box<quantc_ir::IrError>),
    /// `QUANTC_ISA` names a tier that can't run.
    #[error("QUANTC_ISA: {0}")]
    Isa(#[from] quantc_kernels::isa::IsaError),
}

impl Error {
    /// An error about the content of a file.
    pub fn file(path: &Path, message: impl Into<String>) -> Error {
        Error::File { path: path.to_owned(), message: message.into() }
    }
}

// Boxed, so that a result stays small: these errors carry names, types and shapes.
macro_rules! boxed {
    ($($variant:ident($error:ty);)*) => {$(
        impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Error::$variant(Box::new(error))
            }
        }
    )*};
}
boxed! {
    Onnx(quantc_frontend::onnx::OnnxError);
    Trace(quantc_frontend::trace::TraceError);
    Pattern(quantc_pattern::PatternError);
    FileTest(quantc_testkit::FileTestError);
    Rewrite(quantc_rewrite::RewriteError);
    Quant(quantc_quant::QuantError);
    Eager(quantc_quant::eager::EagerError);
    Interp(quantc_interp::InterpError);
    Lower(quantc_lower::LowerError);
    Runtime(quantc_runtime::RunError);
    Ir(quantc_ir::IrError);
}
