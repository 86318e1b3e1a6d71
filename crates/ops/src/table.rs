//! The table of operators: one row each.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::{OpRef, Operator};
use crate::{activation, quantize};

/// One row per operator.
static OPERATORS: &[&dyn Operator] = &[
    &activation::Relu,
    &quantize::QuantizePerTensor,
    &quantize::DequantizePerTensor,
    &quantize::DequantizePerChannel,
    &quantize::Observer,
];

fn index() -> &'static HashMap<&'static str, OpRef> {
    static INDEX: OnceLock<HashMap<&'static str, OpRef>> = OnceLock::new();
    INDEX.get_or_init(|| operators().map(|op| (op.name(), op)).collect())
}

/// Every operator, in the table's order.
pub fn operators() -> impl Iterator<Item = OpRef> {
    OPERATORS.iter().map(|op| OpRef(*op))
}

/// The operator of that name.
pub fn lookup(name: &str) -> Option<OpRef> {
    index().get(name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attrs, InputKind};

    #[test]
    fn names_are_unique_and_signatures_sound() {
        assert_eq!(index().len(), OPERATORS.len(), "two operators share a name");
        for op in operators() {
            let sig = op.signature();
            assert!(!sig.doc.is_empty(), "{op} has no doc");
            for (i, input) in sig.inputs.iter().enumerate() {
                let last = i + 1 == sig.inputs.len();
                assert!(last || input.kind != InputKind::Variadic, "{op}: variadic input before the last");
            }
            for attr in sig.attrs {
                assert!(!attr.doc.is_empty(), "{op}: attribute {} has no doc", attr.name);
                if let Some(value) = attr.default.value() {
                    let attrs = Attrs::new().with(attr.name, value).check(sig);
                    assert!(sig.attrs.iter().any(|a| a.default.is_required()) || attrs.is_ok_and(|a| a.is_empty()));
                }
            }
        }
    }
}
