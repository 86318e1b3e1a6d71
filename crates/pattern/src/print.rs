//! Patterns, templates and expressions as the text they were read from, up to layout.

use std::fmt::{self, Write as _};

use quantc_ops::{Attr, OpRef};

use crate::ast::{CallPat, CallTemplate, FieldPat, IndexPat, Pat, Pattern, RecordTemplate, Rule, Template, Var, VarId};
use crate::backend::BackendPatternConfig;
use crate::expr::Expr;

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&pat(&self.root, &|v| name(&self.vars, v)))
    }
}

impl Rule {
    /// The conditions as text.
    pub fn conditions_text(&self) -> Vec<String> {
        conditions(&self.conditions, &self.pattern.vars)
    }

    /// The template as text.
    pub fn template_text(&self) -> String {
        template(&self.template, &|v| name(&self.pattern.vars, v))
    }
}

impl BackendPatternConfig {
    /// The pattern as text. In a backend, attributes that are not mentioned may be anything, so this is not written.
    pub fn pattern_text(&self) -> String {
        self.pattern.to_string().replace(&format!(" {ANY_ATTRIBUTES}"), "")
    }
}

const ANY_ATTRIBUTES: &str = ":attrs _";

/// Conditions as text.
pub fn conditions(conditions: &[Expr], vars: &[Var]) -> Vec<String> {
    conditions.iter().map(|c| expr(c, &|v| name(vars, v))).collect()
}

fn name(vars: &[Var], var: VarId) -> String {
    format!("?{}", vars.get(var).map_or("", |v| &v.name))
}

/// How a variable is written.
pub(crate) type Names<'a> = &'a dyn Fn(VarId) -> String;

pub(crate) fn pat(at: &Pat, names: Names<'_>) -> String {
    match at {
        Pat::Any => "_".to_owned(),
        Pat::Var(v) => names(*v),
        Pat::Optional(v) => format!("(optional {})", names(*v)),
        Pat::None => "none".to_owned(),
        Pat::Scalar(v) => v.to_string(),
        Pat::Near(v) => format!("(near {v})"),
        Pat::Call(call) => call_pat(call, names),
        Pat::Either(pats) => match &pats[..] {
            [Pat::Call(a), Pat::Call(b)] if swapped(a, b) => format!("(commutative {})", call_pat(a, names)),
            _ => joined("either", pats.iter().map(|p| pat(p, names))),
        },
        Pat::Output { index: IndexPat::Exactly(i), of } => format!("(output {i} {})", pat(of, names)),
        Pat::Output { index: IndexPat::Bind(v), of } => format!("(output {} {})", names(*v), pat(of, names)),
    }
}

/// Whether the calls differ in the order of their first two inputs only.
fn swapped(a: &CallPat, b: &CallPat) -> bool {
    let mut b = b.clone();
    if b.inputs.len() >= 2 {
        b.inputs.swap(0, 1);
    }
    *a == b
}

fn call_pat(call: &CallPat, names: Names<'_>) -> String {
    let mut parts = vec![ops(&call.ops)];
    parts.extend(call.inputs.iter().map(|i| pat(i, names)));
    if let Some(rest) = &call.rest {
        parts.push(format!("{} ...", pat(rest, names)));
    }
    for (field, value) in &call.fields {
        parts.push(match value {
            FieldPat::Equals(attr) => format!(":{field} {attr}"),
            FieldPat::Bind(v) => format!(":{field} {}", names(*v)),
        });
    }
    match call.attrs {
        Some(v) => parts.push(format!(":attrs {}", names(v))),
        None if !call.others_default && call.ops.iter().any(|o| !o.signature().attrs.is_empty()) => {
            parts.push(ANY_ATTRIBUTES.to_owned());
        }
        None => {}
    }
    if let Some(v) = call.label {
        parts.push(format!(":as {}", names(v)));
    }
    format!("({})", parts.join(" "))
}

fn ops(ops: &[OpRef]) -> String {
    let names: Vec<&str> = ops.iter().map(|o| o.name()).collect();
    if names.len() == 1 { names[0].to_owned() } else { format!("[{}]", names.join(" ")) }
}

fn joined(head: &str, parts: impl Iterator<Item = String>) -> String {
    let mut out = format!("({head}");
    for part in parts {
        // Writing to a string cannot fail.
        let _ = write!(out, " {part}");
    }
    out + ")"
}

pub(crate) fn expr(at: &Expr, names: Names<'_>) -> String {
    match at {
        Expr::Literal(value) => value.to_string(),
        Expr::Field(v) | Expr::Value(v) => names(*v),
        Expr::Attr(v, field) => format!("(attr {} {field})", names(*v)),
        Expr::Call(function, args) => joined(function.name, args.iter().map(|a| expr(a, names))),
    }
}

pub(crate) fn template(at: &Template, names: Names<'_>) -> String {
    match at {
        Template::Var(v) => names(*v),
        Template::None => "none".to_owned(),
        Template::Const(Expr::Literal(value @ (Attr::Int(_) | Attr::Float(_)))) => value.to_string(),
        Template::Const(value) => format!("(const {})", expr(value, names)),
        Template::Output { index, of } => format!("(output {} {})", expr(index, names), template(of, names)),
        Template::Call(call) => call_template(call, names),
    }
}

fn call_template(call: &CallTemplate, names: Names<'_>) -> String {
    let mut parts = vec![call.op.name().to_owned()];
    parts.extend(call.inputs.iter().map(|i| template(i, names)));
    if let Some(rest) = &call.rest {
        parts.push(format!("{} ...", template(rest, names)));
    }
    match &call.records[..] {
        [] => {}
        [one] => parts.push(format!(":attrs {}", record(one, names))),
        many => parts.push(format!(":attrs {}", joined("merge", many.iter().map(|r| record(r, names))))),
    }
    parts.extend(call.fields.iter().map(|(field, value)| format!(":{field} {}", expr(value, names))));
    format!("({})", parts.join(" "))
}

fn record(at: &RecordTemplate, names: Names<'_>) -> String {
    let var = names(at.var);
    let listed = |word: &str, fields: &[&str]| format!("({word} {var} {})", fields.join(" "));
    match &at.only {
        Some(only) => listed("only", only),
        None if at.without.is_empty() => var,
        None => listed("without", &at.without),
    }
}
