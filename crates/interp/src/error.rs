//! Errors of running a graph.

use quantc_ops::OpError;
use quantc_tensor::TensorType;

/// Why a graph could not be run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InterpError {
    /// An input of the graph was not given.
    #[error("input `{name}`: {ty} is missing (hint: the model needs: {expected})")]
    MissingInput {
        /// The input.
        name: String,
        /// Its type.
        ty: Box<TensorType>,
        /// Every input of the model.
        expected: String,
    },
    /// A given input is none of the graph's.
    #[error("the model has no input `{name}` (hint: it has: {expected})")]
    UnknownInput {
        /// The name given.
        name: String,
        /// Every input of the model.
        expected: String,
    },
    /// An input was given twice.
    #[error("input `{name}` is given twice")]
    DuplicateInput {
        /// The input.
        name: String,
    },
    /// An input's element type or shape is not what the model needs.
    #[error("input `{name}` is {got}, the model needs {expected} (hint: {hint})")]
    InputType {
        /// The input.
        name: String,
        /// What was given.
        got: Box<TensorType>,
        /// What the graph declares.
        expected: Box<TensorType>,
        /// What to do.
        hint: String,
    },
    /// A symbolic dimension has two sizes.
    #[error(
        "dimension `{symbol}` is {first} in input `{first_input}` and {second} in input `{second_input}` (hint: inputs that \
         share a symbolic dimension need the same size there)"
    )]
    Symbol {
        /// The dimension.
        symbol: String,
        /// Its size in the first input.
        first: usize,
        /// The first input.
        first_input: String,
        /// Its size in the other.
        second: usize,
        /// The other input.
        second_input: String,
    },
    /// A parameter is only declared.
    #[error("parameter `{param}` has no value, node `{node}` needs it (hint: are the weights beside the model?)")]
    ParamWithoutValue {
        /// The parameter.
        param: String,
        /// A node that uses it.
        node: String,
    },
    /// A call that could not be evaluated.
    #[error("node `{node}` ({op}){origin}: {source}")]
    Eval {
        /// The node.
        node: String,
        /// Its operator.
        op: String,
        /// Its origins: empty, or ` from ...`.
        origin: String,
        /// Why.
        source: OpError,
    },
    /// A call gave something else than the graph says.
    #[error(
        "node `{node}` ({op}){origin}: output {output} is {got}, the graph says {expected} (hint: the shapes declared in the model do \
         not fit these inputs)"
    )]
    OutputType {
        /// The node.
        node: String,
        /// Its operator.
        op: String,
        /// Its origins: empty, or ` from ...`.
        origin: String,
        /// Which output.
        output: usize,
        /// What was computed.
        got: Box<TensorType>,
        /// What the graph says.
        expected: Box<TensorType>,
    },
    /// The graph has no outputs yet, or breaks another invariant.
    #[error("the graph can't be run: {message}")]
    Graph {
        /// What is wrong.
        message: String,
    },
}
