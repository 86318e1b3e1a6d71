//! Errors of the graph.

use quantc_ops::OpError;

/// A graph that cannot be built, is not valid, or a text that is no graph.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum IrError {
    /// A call that does not type.
    #[error("node `{node}` ({op}): {source}")]
    Op {
        /// The node.
        node: String,
        /// Its operator.
        op: String,
        /// Why.
        source: OpError,
    },
    /// The graph breaks an invariant.
    #[error("invalid graph: node `{node}`: {message}")]
    Invalid {
        /// The node.
        node: String,
        /// Which invariant.
        message: String,
    },
    /// A parameter that does not exist.
    #[error("no parameter `{0}`")]
    NoParam(String),
    /// The text form could not be parsed.
    #[error("{line}:{column}: {message}")]
    Parse {
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What was expected.
        message: String,
    },
}
