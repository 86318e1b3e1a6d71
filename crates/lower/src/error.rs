//! Errors of lowering.

use quantc_interp::InterpError;
use quantc_ir::IrError;
use quantc_kernels::conv::GeometryError;
use quantc_ops::OpError;
use quantc_runtime::RunError;
use quantc_tensor::{TensorError, TensorType};

/// Why a graph could not be lowered for some input shapes.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LowerError {
    /// An input the graph does not have, or none for one that it has.
    #[error("input `{name}`: {message} (hint: the model needs: {expected})")]
    Input {
        /// The input.
        name: String,
        /// What is wrong.
        message: String,
        /// The graph's inputs.
        expected: String,
    },
    /// A shape that depends on values known only when the model runs.
    #[error(
        "node `{node}` ({op}): its type {ty} is not known before the model runs (hint: export the model with fixed shapes)"
    )]
    UnknownShape {
        /// The node.
        node: String,
        /// Its operator.
        op: String,
        /// What is known.
        ty: Box<TensorType>,
    },
    /// More memory than a plan may take.
    #[error(
        "the plan needs {bytes} bytes for its values, at most {limit} are allowed (hint: run smaller batches, or is a size of the model wrong?)"
    )]
    TooLarge {
        /// Bytes needed.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A parameter that was declared without a value.
    #[error("parameter `{param}` has no value, node `{node}` needs it (hint: are the weights beside the model?)")]
    ParamWithoutValue {
        /// The parameter.
        param: String,
        /// A user.
        node: String,
    },
    /// A node that contradicts itself.
    #[error("node `{node}`: {message}")]
    Node {
        /// The node.
        node: String,
        /// What is wrong.
        message: String,
    },
    /// The graph is not valid for these shapes.
    #[error("{0}")]
    Graph(#[source] Box<IrError>),
    /// A constant could not be evaluated.
    #[error("{0}")]
    Constant(#[source] Box<InterpError>),
    /// The plan is not consistent: a bug.
    #[error(transparent)]
    Plan(#[from] RunError),
}

/// What can go wrong while one node is lowered; the node is added to it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    #[error(transparent)]
    Op(#[from] OpError),
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    #[error("{0}")]
    Other(String),
    #[error(transparent)]
    Lower(#[from] Box<LowerError>),
}

impl NodeError {
    pub(crate) fn at(self, node: &str) -> LowerError {
        match self {
            NodeError::Lower(e) => *e,
            other => LowerError::Node { node: node.to_owned(), message: other.to_string() },
        }
    }
}

impl From<InterpError> for LowerError {
    fn from(e: InterpError) -> Self {
        LowerError::Constant(Box::new(e))
    }
}

impl From<IrError> for LowerError {
    fn from(e: IrError) -> Self {
        LowerError::Graph(Box::new(e))
    }
}
