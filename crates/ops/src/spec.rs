//! Short forms for writing signatures.

use crate::{AttrDefault, AttrSpec, InputKind, InputSpec};

/// An input that must be given.
pub(crate) const fn required(name: &'static str) -> InputSpec {
    InputSpec { name, kind: InputKind::Required }
}

/// An input that may be left out.
pub(crate) const fn optional(name: &'static str) -> InputSpec {
    InputSpec { name, kind: InputKind::Optional }
}

/// Any number of inputs.
pub(crate) const fn variadic(name: &'static str) -> InputSpec {
    InputSpec { name, kind: InputKind::Variadic }
}

/// An attribute.
pub(crate) const fn attr(name: &'static str, default: AttrDefault, doc: &'static str) -> AttrSpec {
    AttrSpec { name, default, doc }
}
