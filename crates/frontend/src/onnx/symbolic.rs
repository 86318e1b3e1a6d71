//! Integer vectors known in terms of symbolic dimensions, such as the `[N, -1]` that exporters compute from an input's shape
//! to reshape another value: with them most such arithmetic becomes a plain attribute.

use std::collections::HashMap;
use std::sync::Arc;

use quantc_ir::ValueRef;
use quantc_tensor::{DType, Dim, Tensor};

use super::importer::{Importer, Val};

/// One element: a number, or the size of a symbolic dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SymInt {
    Known(i64),
    Symbol(Arc<str>),
    Unknown,
}

impl From<&Dim> for SymInt {
    fn from(dim: &Dim) -> Self {
        match dim {
            Dim::Known(n) => SymInt::Known(*n as i64),
            Dim::Symbol(s) => SymInt::Symbol(s.clone()),
            Dim::Unknown => SymInt::Unknown,
        }
    }
}

/// What is known of the integer vectors (and scalars: vectors of one) in the graph.
#[derive(Default)]
pub(crate) struct Symbolic(HashMap<ValueRef, Vec<SymInt>>);

impl Importer {
    /// The elements of an integer scalar or vector, as far as they are known.
    pub(crate) fn sym_ints(&self, val: Val) -> Option<Vec<SymInt>> {
        if let Some(t) = self.constant(val) {
            let small = t.rank() <= 1 && t.numel() <= 64 && t.dtype().is_int();
            return small.then(|| t.to_i64_vec().into_iter().map(SymInt::Known).collect());
        }
        match val {
            Val::Node(v) => self.symbolic.0.get(&v).cloned(),
            Val::Const(_) => None,
        }
    }

    /// The integers of a computed scalar or vector, if every element is known.
    pub(crate) fn known_ints(&self, val: Val) -> Option<Tensor> {
        let Val::Node(v) = val else { return None };
        let known = |e: &SymInt| if let SymInt::Known(n) = e { Some(*n) } else { None };
        let elements: Vec<i64> = self.symbolic.0.get(&v)?.iter().map(known).collect::<Option<_>>()?;
        let ty = self.ty(val);
        let shape = if ty.shape.rank() == 0 { Vec::new() } else { vec![elements.len()] };
        Some(Tensor::from_vec(&shape, elements).ok()?.cast(ty.dtype))
    }

    /// Notes what a value's elements are.
    pub(crate) fn set_sym_ints(&mut self, val: Val, elements: Vec<SymInt>) {
        if let Val::Node(v) = val {
            self.symbolic.0.insert(v, elements);
        }
    }

    /// Follows elements through the operators that only move them.
    pub(crate) fn track(&mut self, op: &str, inputs: &[Option<Val>], outputs: &[Val]) {
        let &[output] = outputs else { return };
        let ty = self.ty(output);
        if !matches!(ty.dtype, DType::I64 | DType::I32) || ty.shape.rank() > 1 {
            return;
        }
        let first = inputs.first().copied().flatten();
        let source = |i: usize| inputs.get(i).copied().flatten().and_then(|v| self.sym_ints(v));
        let elements = match op {
            "shape" => first.map(|v| self.ty(v).shape.0.iter().map(SymInt::from).collect()),
            "unsqueeze" | "squeeze" | "to" | "reshape" => source(0),
            "gather" => source(0).and_then(|all| {
                let indices = inputs.get(1).copied().flatten().and_then(|v| self.const_ints(v))?;
                let len = all.len() as i64;
                let pick = |i: &i64| all.get(usize::try_from(if *i < 0 { i + len } else { *i }).ok()?).cloned();
                indices.iter().map(pick).collect()
            }),
            "cat" => inputs.iter().enumerate().map(|(i, _)| source(i)).collect::<Option<Vec<_>>>().map(|v| v.concat()),
            _ => None,
        };
        let expected = match ty.shape.0.first() {
            None => Some(1),
            Some(d) => d.known(),
        };
        // Of one unknown element in a shape the size is inferred.
        let elements = elements.or_else(|| Some(vec![SymInt::Unknown; expected?]));
        if let Some(elements) = elements.filter(|e| expected.is_none_or(|n| n == e.len())) {
            self.set_sym_ints(output, elements);
        }
    }
}
