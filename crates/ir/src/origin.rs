//! Where a call came from.

use std::fmt;
use std::sync::Arc;

/// The origin of a call in the source model. It survives every pass; a fused node keeps the origins of all its members.
/// `QConfigMapping` matches on it (PyTorch FX `node_name_to_scope`, `nn_module_stack`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Path of the containing module, `layer1.0.conv1`; empty for the root.
    pub module_path: Arc<str>,
    /// Type of that module, `Conv2d`.
    pub module_type: Arc<str>,
    /// Operator in the source: ONNX operator type, or the functional's name.
    pub source_op: Arc<str>,
    /// Index among the calls of that operator in that module.
    pub index: u32,
    /// The numeric debug handle of the call, if one was given (PyTorch `numeric_debug_handle`): it tells which values of two versions of
    /// a graph are the same.
    pub handle: Option<u32>,
}

impl Origin {
    /// An origin from its parts.
    pub fn new(module_path: &str, module_type: &str, source_op: &str, index: u32) -> Origin {
        Origin {
            module_path: Arc::from(module_path),
            module_type: Arc::from(module_type),
            source_op: Arc::from(source_op),
            index,
            handle: None,
        }
    }

    /// The same origin with a numeric debug handle.
    #[must_use]
    pub fn with_handle(self, handle: u32) -> Origin {
        Origin { handle: Some(handle), ..self }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}({}, {})", self.module_path, self.module_type, self.source_op, self.index)?;
        self.handle.map_or(Ok(()), |handle| write!(f, " @{handle}"))
    }
}
