//! Variables while a rule or backend pattern is checked, and what patterns, templates and expressions share.

use std::collections::HashMap;
use std::sync::Arc;

use quantc_ops::names::suggest;
use quantc_ops::{Attr, AttrSpec, Float, OpRef, Signature, with_article};
use quantc_tensor::DType;

use crate::ast::{Var, VarId, VarKind};
use crate::expr::Type;
use crate::reader::{Kind, Sexp};
use crate::source::{QpatError, Span};

/// The variables seen so far.
#[derive(Default)]
pub(super) struct Scope {
    pub(super) vars: Vec<Var>,
    /// Where each was first seen.
    pub(super) spans: Vec<Span>,
    /// Whether each is used outside the pattern.
    pub(super) used: Vec<bool>,
    /// For a variable bound to an attribute, what the attribute is.
    pub(super) fields: HashMap<VarId, Type>,
    /// For one bound to a word out of a list, the list.
    pub(super) words: HashMap<VarId, &'static [&'static str]>,
}

impl Scope {
    /// A variable occurring in the pattern.
    pub(super) fn bind(&mut self, at: &Sexp, name: &str, kind: VarKind, repeated: bool) -> Result<VarId, QpatError> {
        let Some(id) = self.vars.iter().position(|v| &*v.name == name) else {
            self.vars.push(Var { name: Arc::from(name), kind, repeated, ops: Vec::new() });
            self.spans.push(at.span.clone());
            self.used.push(false);
            return Ok(self.vars.len() - 1);
        };
        let var = &mut self.vars[id];
        // An optional input compared with a plain one is present.
        let compatible = var.kind == kind
            || matches!((var.kind, kind), (VarKind::Value, VarKind::Optional) | (VarKind::Optional, VarKind::Value));
        if !compatible || var.repeated != repeated {
            return Err(at.error(format!(
                "`?{name}` is {} at {} and {} here",
                describe(var.kind, var.repeated),
                self.spans[id],
                describe(kind, repeated)
            )));
        }
        if kind == VarKind::Value {
            var.kind = VarKind::Value;
        }
        Ok(id)
    }

    /// A variable bound to an attribute of that type.
    pub(super) fn bind_field(&mut self, at: &Sexp, name: &str, ty: Type, repeated: bool) -> Result<VarId, QpatError> {
        let id = self.bind(at, name, VarKind::Field, repeated)?;
        match self.fields.insert(id, ty) {
            Some(before) if before != ty => {
                let (was, is, there) = (before.name(), ty.name(), &self.spans[id]);
                Err(at.error(format!("`?{name}` is {was} at {there} and {is} here")))
            }
            _ => Ok(id),
        }
    }

    /// A variable used in a condition or template.
    pub(super) fn lookup(&mut self, at: &Sexp, name: &str) -> Result<VarId, QpatError> {
        let Some(id) = self.vars.iter().position(|v| &*v.name == name) else {
            let error = at.error(format!("`?{name}` is not bound by :match"));
            return Err(match suggest(name, self.vars.iter().map(|v| &*v.name)) {
                Some(hint) => error.hint(hint),
                None => error,
            });
        };
        self.used[id] = true;
        Ok(id)
    }

    /// The variable an S-expression names, of one of the given kinds.
    pub(super) fn lookup_kind(&mut self, at: &Sexp, kinds: &[VarKind], what: &str) -> Result<VarId, QpatError> {
        let Kind::Var(name) = &at.kind else { return Err(at.expected(what)) };
        let id = self.lookup(at, name)?;
        let var = &self.vars[id];
        if !kinds.contains(&var.kind) {
            return Err(at.error(format!("expected {what}, `?{name}` is {}", describe(var.kind, var.repeated))));
        }
        Ok(id)
    }
}

pub(super) fn describe(kind: VarKind, repeated: bool) -> &'static str {
    match (kind, repeated) {
        (VarKind::Value, false) => "a value",
        (VarKind::Optional, false) => "an optional value",
        (VarKind::Record, false) => "an attribute record",
        (VarKind::Field, false) => "an attribute",
        (VarKind::Node, false) => "a call",
        (VarKind::Value | VarKind::Optional, true) => "a repeated value",
        (VarKind::Record, true) => "a repeated attribute record",
        (VarKind::Field, true) => "a repeated attribute",
        (VarKind::Node, true) => "a repeated call",
    }
}

/// The operator of that name.
pub(super) fn operator(at: &Sexp) -> Result<OpRef, QpatError> {
    let Some(name) = at.symbol() else { return Err(at.expected("an operator")) };
    quantc_ops::lookup(name).ok_or_else(|| {
        let error = at.error(format!("there is no operator `{name}`"));
        match suggest(name, quantc_ops::operators().map(|o| o.name())) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    })
}

/// The attribute of that name.
pub(super) fn attribute(sig: &'static Signature, name: &str, at: &Sexp) -> Result<&'static AttrSpec, QpatError> {
    sig.attrs.iter().find(|s| s.name == name).ok_or_else(|| {
        let error = at.error(format!("`{}` has no attribute `{name}`", sig.name));
        match suggest(name, sig.attrs.iter().map(|s| s.name)) {
            Some(hint) => error.hint(hint),
            None => error.hint("it has none"),
        }
    })
}

/// A literal: number, word, string, dtype or list.
pub(super) fn literal(at: &Sexp) -> Option<Attr> {
    match &at.kind {
        Kind::Int(v) => Some(Attr::Int(*v)),
        Kind::Float(v) => Some(Attr::from(*v as f32)),
        Kind::Str(s) => Some(Attr::Str(s.clone())),
        Kind::Symbol(s) => match s.as_str() {
            "true" => Some(Attr::Bool(true)),
            "false" => Some(Attr::Bool(false)),
            other => other.parse::<DType>().ok().map(Attr::DType),
        },
        Kind::Vector(items) => {
            if let Some(ints) = items.iter().map(|i| if let Kind::Int(v) = i.kind { Some(v) } else { None }).collect() {
                return Some(Attr::Ints(ints));
            }
            items.iter().map(|i| i.number().map(|v| Float(v as f32))).collect::<Option<Vec<_>>>().map(Attr::Floats)
        }
        _ => None,
    }
}

/// A literal as the value of an attribute.
pub(super) fn attr_literal(sig: &Signature, spec: &AttrSpec, at: &Sexp, value: Attr) -> Result<Attr, QpatError> {
    use quantc_ops::AttrDefault as D;
    let value = match (&spec.default, value) {
        (D::Float(_) | D::RequiredFloat, Attr::Int(v)) => Attr::from(v as f32),
        (D::Floats(_) | D::RequiredFloats, Attr::Ints(v)) => {
            Attr::Floats(v.into_iter().map(|v| Float(v as f32)).collect())
        }
        (_, value) => value,
    };
    if !spec.default.accepts(&value) {
        return Err(at.error(format!(
            "attribute `{}` of `{}` is {}, not {}",
            spec.name,
            sig.name,
            with_article(spec.default.kind()),
            with_article(value.kind())
        )));
    }
    if let Some(choices) = spec.default.choices() {
        check_word(at, &value, choices, || format!("attribute `{}` of `{}`", spec.name, sig.name))?;
    }
    Ok(value)
}

/// Fails if a value is a word that `what` can't be.
pub(super) fn check_word(
    at: &Sexp,
    value: &Attr,
    choices: &[&str],
    what: impl FnOnce() -> String,
) -> Result<(), QpatError> {
    match value {
        Attr::Str(word) if !choices.contains(&word.as_str()) => {
            let error = at.error(format!("{} can't be {word:?}", what()));
            Err(match suggest(word, choices.iter().copied().filter(|c| !c.is_empty())) {
                Some(hint) => error.hint(hint),
                None => error,
            })
        }
        _ => Ok(()),
    }
}

/// Fails if `(output I ..)` at `at` asks an operator for an output that it has not: number `known`, if that is known, which stands
/// at `number`.
pub(super) fn check_output(at: &Sexp, number: &Sexp, op: OpRef, known: Option<i64>) -> Result<(), QpatError> {
    match (op.outputs(), known) {
        (Some(1), _) => {
            let error = at.error(format!("`{op}` has one output"));
            Err(error.hint(format!("`({op} ..)` is its value; `output` is for calls with several")))
        }
        (Some(n), Some(i)) if usize::try_from(i).is_ok_and(|i| i >= n) => {
            Err(number.error(format!("`{op}` has no output {i}")).hint(format!("it has the outputs 0 to {}", n - 1)))
        }
        _ => Ok(()),
    }
}
