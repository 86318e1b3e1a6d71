//! Errors of ONNX import: one message each, with the file, the node, its operator, the opset and a hint.

use quantc_ir::IrError;
use quantc_ops::OpError;

/// Why a file could not be imported.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}{kind}", path.as_ref().map(|p| format!("{p}: ")).unwrap_or_default())]
pub struct OnnxError {
    /// The file, if the model came from one.
    pub path: Option<String>,
    /// The cause.
    pub kind: Box<OnnxErrorKind>,
}

/// The cause of an [`OnnxError`].
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OnnxErrorKind {
    /// The file could not be read.
    #[error("can't read the file: {0}")]
    Io(String),
    /// The bytes are no ONNX model.
    #[error("not an ONNX model: {reason} (hint: {hint})")]
    NotOnnx {
        /// What is wrong with them.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// An operator set version outside the supported ones.
    #[error(
        "opset {version} is not supported (hint: export the model with an opset between {} and {})",
        super::OPSETS.start(),
        super::OPSETS.end()
    )]
    Opset {
        /// The version in the file.
        version: i64,
    },
    /// Operators without an import; all of the file at once.
    #[error(
        "{} not supported in opset {opset}: {} (hint: export the model without {})",
        if ops.len() == 1 { "1 operator type is".to_owned() } else { format!("{} operator types are", ops.len()) },
        ops.join(", "),
        if ops.len() == 1 { "it" } else { "them" }
    )]
    UnsupportedOps {
        /// The standard operators' opset.
        opset: i64,
        /// Each with how often it occurs and where first.
        ops: Vec<String>,
    },
    /// A constant of the file.
    #[error("initializer `{name}`: {source}")]
    Initializer {
        /// The constant.
        name: String,
        /// What is wrong.
        source: TensorProtoError,
    },
    /// An input or output of the model.
    #[error("{role} `{name}`: {message} (hint: {hint})")]
    Interface {
        /// `input` or `output`.
        role: &'static str,
        /// Its name.
        name: String,
        /// What is wrong.
        message: String,
        /// What to do.
        hint: String,
    },
    /// A node.
    #[error("node `{node}` ({op}, opset {opset}): {source}")]
    Node {
        /// Its name, or that of its first output.
        node: String,
        /// Its operator.
        op: String,
        /// The standard operators' opset.
        opset: i64,
        /// What is wrong.
        source: Box<NodeError>,
    },
}

/// What is wrong with a node.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NodeError {
    /// An attribute, or one of its values, is not supported.
    #[error("{name}={value} is not supported (hint: {hint})")]
    Attribute {
        /// The attribute.
        name: String,
        /// Its value.
        value: String,
        /// What to do.
        hint: String,
    },
    /// An attribute is missing.
    #[error(
        "the attribute `{0}` is missing (hint: the file does not follow the ONNX standard; check it with onnx.checker)"
    )]
    MissingAttribute(String),
    /// An input is missing.
    #[error(
        "its input {index} ({name}) is missing (hint: the file does not follow the ONNX standard; check it with onnx.checker)"
    )]
    MissingInput {
        /// Which.
        index: usize,
        /// Its name in the standard.
        name: String,
    },
    /// An input that nothing computes before the node.
    #[error("nothing before it computes its input `{name}` (hint: {hint})")]
    UndefinedInput {
        /// The value.
        name: String,
        /// What to do.
        hint: String,
    },
    /// An input that has to be a constant is not.
    #[error(
        "its input `{name}` must be a constant (hint: simplify the model, for instance with onnxsim, or export it with fixed shapes)"
    )]
    NotConstant {
        /// The input's name in the standard.
        name: String,
    },
    /// A shape that must be known is not.
    #[error("the shape of its input must be known, it is {shape} (hint: export the model with fixed shapes)")]
    UnknownShape {
        /// What is known of it.
        shape: String,
    },
    /// A constant in an attribute.
    #[error("{0}")]
    Tensor(#[from] TensorProtoError),
    /// Shapes or types that do not fit.
    #[error("{message} (hint: {hint})")]
    Mismatch {
        /// What does not fit.
        message: String,
        /// What to do.
        hint: String,
    },
    /// An operator of ours rejected the call.
    #[error("{0}")]
    Op(#[from] OpError),
}

impl NodeError {
    /// An attribute value that is not supported.
    pub(crate) fn attribute(name: &str, value: impl ToString, hint: &str) -> NodeError {
        NodeError::Attribute { name: name.to_owned(), value: value.to_string(), hint: hint.to_owned() }
    }

    /// Shapes or values that contradict each other.
    pub(crate) fn mismatch(message: impl Into<String>) -> NodeError {
        NodeError::Mismatch {
            message: message.into(),
            hint: "the model is not consistent; check it with onnx.checker".to_owned(),
        }
    }
}

impl From<IrError> for NodeError {
    fn from(e: IrError) -> Self {
        match e {
            IrError::Op { source, .. } => NodeError::Op(source),
            other => NodeError::mismatch(other.to_string()),
        }
    }
}

/// What is wrong with a constant.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TensorProtoError {
    /// The element type is not supported.
    #[error(
        "element type {0} is not supported (hint: use float, float16, double, int8, uint8, int16, int32, int64 or bool)"
    )]
    DataType(String),
    /// A negative or overflowing size.
    #[error("dimensions {0:?} are not a shape (hint: the file is damaged)")]
    Dims(Vec<i64>),
    /// Fewer or more data than the dimensions say.
    #[error(
        "{got} {unit} of data do not fill {dims:?} of {dtype}, which needs {want} (hint: {})",
        if *got == 0 { "the file was saved without its weights" } else { "the file is damaged or truncated" }
    )]
    Size {
        /// What there is.
        got: usize,
        /// `bytes` or `elements`.
        unit: &'static str,
        /// The shape.
        dims: Vec<i64>,
        /// The element type.
        dtype: String,
        /// What it needs.
        want: usize,
    },
    /// Data in another file that can't be used.
    #[error("external data `{location}`: {message} (hint: {hint})")]
    External {
        /// The file named.
        location: String,
        /// What is wrong.
        message: String,
        /// What to do.
        hint: String,
    },
}
