//! Entries of a mapping, and the types they name.

use std::fmt;

use quantc_ir::{Node, Origin};
use quantc_pattern::torch_names::{self, Kind, TorchName};

use super::Order;

/// The type that an entry names.
#[derive(Clone, Debug)]
pub(super) struct ObjectType {
    name: String,
    /// What the name is in PyTorch.
    torch: Option<&'static TorchName>,
}

impl PartialEq for ObjectType {
    fn eq(&self, other: &ObjectType) -> bool {
        self.name == other.name
    }
}

impl fmt::Display for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// How an entry's type is that of a call; the lower, the sooner it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Named {
    /// The class of the module that makes the call, which beats the function's name (measured in PyTorch).
    ModuleType,
    /// Our operator.
    Operator,
    /// The operator of the source.
    SourceOperator,
    /// A function or method of PyTorch that stands for our operator.
    TorchFunction,
}

impl ObjectType {
    pub(super) fn new(name: &str) -> ObjectType {
        ObjectType { name: name.to_owned(), torch: torch_names::find(name) }
    }

    /// The name as it was given.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a name of PyTorch's.
    pub(super) fn is_torch(&self) -> bool {
        self.torch.is_some()
    }

    /// Whether it is the class of a module.
    pub(super) fn is_module_type(&self, module_type: &str) -> bool {
        !module_type.is_empty()
            && (self.name == module_type || self.torch.and_then(TorchName::module_type) == Some(module_type))
    }

    /// Whether and how it names a call, the class of its module left aside.
    pub(super) fn names_operator(&self, node: &Node, origin: Option<&Origin>) -> Option<Named> {
        let op = node.call().map_or("", |(op, _)| op.name());
        let source = origin.map_or("", |o| &*o.source_op);
        if self.name == op {
            return Some(Named::Operator);
        }
        if self.name == source {
            return Some(Named::SourceOperator);
        }
        let function = self.torch.filter(|t| t.kind != Kind::Module && t.operator() == Some(op))?;
        // The source says which function it called, if it knows PyTorch's names.
        let called = source.contains('.').then(|| torch_names::find(source)).flatten();
        let of_module = origin.is_some_and(|o| calls_itself(&o.module_type, op));
        (called.is_none_or(|c| c == function) && !of_module).then_some(Named::TorchFunction)
    }

    /// Whether and how it names a call.
    pub(super) fn names(&self, node: &Node, origin: Option<&Origin>) -> Option<Named> {
        if origin.is_some_and(|o| self.is_module_type(&o.module_type)) {
            return Some(Named::ModuleType);
        }
        self.names_operator(node, origin)
    }
}

/// Whether the operator is what a class of PyTorch's modules is there for: its call is the module's, no function that it calls.
fn calls_itself(module_type: &str, op: &str) -> bool {
    let of_type = |row: &&TorchName| row.module_type() == Some(module_type) && row.is_plain();
    torch_names::all().iter().find(of_type).is_some_and(|row| row.operator() == Some(op))
}

/// An entry of a mapping, without its QConfig.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Entry<'m> {
    Global,
    ObjectType(&'m ObjectType),
    ModuleNameRegex(&'m str),
    ModuleName(&'m str),
    Order(&'m Order),
}

/// As reports print it.
impl fmt::Display for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Entry::Global => f.write_str("global"),
            Entry::ObjectType(name) => write!(f, "object_type {name}"),
            Entry::ModuleNameRegex(regex) => write!(f, "module_name_regex {regex}"),
            Entry::ModuleName(name) => write!(f, "module_name {name}"),
            Entry::Order(Order { module_name, object_type, index }) => {
                write!(f, "module_name_object_type_order ({module_name}, {object_type}, {index})")
            }
        }
    }
}
