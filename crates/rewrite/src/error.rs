//! Errors of rewriting.

use quantc_interp::InterpError;
use quantc_ir::IrError;

/// Why a graph could not be rewritten.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The result is not a valid graph.
    #[error("rewriting gave an invalid graph: {0}")]
    Graph(#[from] IrError),
    /// A constant could not be evaluated.
    #[error("while folding constants: {0}")]
    Fold(#[from] InterpError),
    /// Rules made two values equal that have contradicting types.
    #[error(
        "rules equate values of different types ({types}) in phase {phase} (hint: one of these rules is unsound: {rules})"
    )]
    Unsound {
        /// The types.
        types: String,
        /// The phase.
        phase: &'static str,
        /// The rules that applied.
        rules: String,
    },
    /// Nothing in the e-graph computes an output: a bug of the engine.
    #[error("no term was found for an output of the graph")]
    NoTerm,
}
