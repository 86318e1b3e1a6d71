//! Errors of running a plan.

use quantc_ops::OpError;
use quantc_tensor::{DType, TensorError, TensorType};

/// Why a plan could not be made or run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RunError {
    /// Another number of inputs than the plan has.
    #[error("the model takes {expected} inputs, {got} were given")]
    InputCount {
        /// Inputs of the plan.
        expected: usize,
        /// Inputs given.
        got: usize,
    },
    /// An input that is not of the type the plan was made for.
    #[error("input `{name}` is {got}, this plan was made for {expected}")]
    InputType {
        /// The input's name.
        name: String,
        /// The type of the plan.
        expected: Box<TensorType>,
        /// The type given.
        got: Box<TensorType>,
    },
    /// Memory for another number of outputs than the plan has.
    #[error("the model has {expected} outputs, memory for {got} was given")]
    OutputCount {
        /// Outputs of the plan.
        expected: usize,
        /// Tensors given.
        got: usize,
    },
    /// Memory of another type than the output.
    #[error("output `{name}` is {expected}, the tensor given for it is {got}")]
    OutputType {
        /// The output's name.
        name: String,
        /// Its type.
        expected: Box<TensorType>,
        /// The type given.
        got: Box<TensorType>,
    },
    /// A step that runs by reference evaluation failed.
    #[error("node `{node}`: {source}")]
    Op {
        /// The node.
        node: String,
        /// Why.
        source: OpError,
    },
    /// A value of another type than planned: the operator's type inference and evaluation disagree.
    #[error("node `{node}` gave {got} where {expected} was planned")]
    Produced {
        /// The node.
        node: String,
        /// The planned type.
        expected: Box<TensorType>,
        /// The actual type.
        got: Box<TensorType>,
    },
    /// An index outside the table it selects from.
    #[error("node `{node}`: index {index} is outside the {len} entries of the axis")]
    Index {
        /// The node.
        node: String,
        /// The index.
        index: i64,
        /// Entries.
        len: usize,
    },
    /// A tensor could not be read or built.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// Steps or placements that contradict each other: a bug of the lowering.
    #[error("invalid plan: step `{step}`: {message}")]
    Invalid {
        /// The step's node.
        step: String,
        /// Which rule is broken.
        message: String,
    },
    /// A dtype that the arena cannot hold.
    #[error("the runtime cannot store {0}")]
    DType(DType),
    /// The thread pool could not be started.
    #[error("could not start {threads} threads: {message}")]
    Threads {
        /// Threads asked for.
        threads: usize,
        /// The system's message.
        message: String,
    },
}
