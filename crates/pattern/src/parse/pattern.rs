//! Patterns.

use quantc_ops::{InputKind, OpRef};

use crate::ast::{CallPat, FieldPat, IndexPat, Pat, Pattern, VarId, VarKind};
use crate::expr::Type;
use crate::parse::form::Form;
use crate::parse::scope::{Scope, attr_literal, attribute, check_output, literal, operator};
use crate::reader::{Kind, Sexp};
use crate::source::QpatError;

/// How patterns of this kind of definition read.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Style {
    /// In a rule: attributes not mentioned must have their default.
    Rule,
    /// In a backend: attributes not mentioned may be anything.
    Backend,
}

pub(super) fn pattern(at: &Sexp, style: Style, scope: &mut Scope) -> Result<Pattern, QpatError> {
    let root = pat(at, style, false, scope)?;
    // A pattern that is nothing but a variable would match everything.
    if !matches!(root, Pat::Call(_) | Pat::Either(_) | Pat::Output { .. }) {
        return Err(at.expected("a call at the root of the pattern"));
    }
    Ok(Pattern { root, vars: scope.vars.clone() })
}

fn pat(at: &Sexp, style: Style, repeated: bool, scope: &mut Scope) -> Result<Pat, QpatError> {
    match &at.kind {
        Kind::Symbol(s) if s == "_" => Ok(Pat::Any),
        Kind::Symbol(s) if s == "none" => Ok(Pat::None),
        Kind::Var(name) => Ok(Pat::Var(scope.bind(at, name, VarKind::Value, repeated)?)),
        Kind::Int(_) | Kind::Float(_) => Ok(Pat::Scalar(at.number().unwrap_or(f64::NAN) as f32)),
        Kind::List(items) => list(at, items, style, repeated, scope),
        Kind::Symbol(s) => Err(at
            .error(format!("`{s}` is no pattern"))
            .hint(format!("`?{s}` is a variable, `({s} ...)` a call, `_` matches anything"))),
        _ => Err(at.expected("a pattern")),
    }
}

fn list(at: &Sexp, items: &[Sexp], style: Style, repeated: bool, scope: &mut Scope) -> Result<Pat, QpatError> {
    let Some((head, args)) = items.split_first() else { return Err(at.error("empty pattern")) };
    match head.symbol() {
        Some("optional") => match args {
            [Sexp { kind: Kind::Var(name), .. }] => {
                Ok(Pat::Optional(scope.bind(&args[0], name, VarKind::Optional, repeated)?))
            }
            _ => Err(at.error("`optional` takes one variable").hint("(optional ?bias)")),
        },
        Some("near") => match args {
            [n] if n.number().is_some() => Ok(Pat::Near(n.number().unwrap_or(f64::NAN) as f32)),
            _ => Err(at.error("`near` takes one number").hint("(near 1.41421356)")),
        },
        Some("either") => either(at, args, style, repeated, scope),
        Some("commutative") => commutative(at, args, style, repeated, scope),
        Some("output") => match args {
            [number, of] => {
                let (index, known) = match &number.kind {
                    Kind::Int(i) if *i >= 0 => (IndexPat::Exactly(*i as u32), Some(*i)),
                    Kind::Var(name) => (IndexPat::Bind(scope.bind_field(number, name, Type::Number, repeated)?), None),
                    _ => return Err(number.expected("the number of an output or a variable")),
                };
                let of = pat(of, style, repeated, scope)?;
                of.root_ops().into_iter().try_for_each(|op| check_output(at, number, op, known))?;
                Ok(Pat::Output { index, of: Box::new(of) })
            }
            _ => Err(at.error("`output` takes a number and a call").hint("(output 0 (split ?x :attrs ?a))")),
        },
        _ => call(at, head, args, style, repeated, scope),
    }
}

fn either(at: &Sexp, args: &[Sexp], style: Style, repeated: bool, scope: &mut Scope) -> Result<Pat, QpatError> {
    if args.len() < 2 {
        return Err(at.error("`either` takes at least two patterns"));
    }
    let pats: Vec<Pat> = args.iter().map(|a| pat(a, style, repeated, scope)).collect::<Result<_, _>>()?;
    let first = bound_vars(&pats[0]);
    for (arg, p) in args.iter().zip(&pats).skip(1) {
        let vars = bound_vars(p);
        if let Some(var) = vars.iter().find(|v| !first.contains(v)).or_else(|| first.iter().find(|v| !vars.contains(v)))
        {
            return Err(arg.error(format!(
                "every alternative must bind the same variables; `?{}` is in one only",
                scope.vars[*var].name
            )));
        }
    }
    Ok(Pat::Either(pats))
}

fn commutative(at: &Sexp, args: &[Sexp], style: Style, repeated: bool, scope: &mut Scope) -> Result<Pat, QpatError> {
    let hint = "(commutative (add ?x ?y)) matches both operand orders";
    let [inner] = args else { return Err(at.error("`commutative` takes one call").hint(hint)) };
    match pat(inner, style, repeated, scope)? {
        Pat::Call(call) if call.inputs.len() >= 2 => {
            if let Some(op) = call.ops.iter().find(|op| !COMMUTATIVE.contains(&op.name())) {
                return Err(inner.error(format!("the order of the inputs of `{op}` matters")).hint(hint));
            }
            // Each order is an alternative of its own, and those inside it are there twice.
            if call.inputs.iter().map(size).sum::<usize>() > MAX_SIZE {
                return Err(at
                    .error("too many `commutative` and `either` inside one another")
                    .hint("are the orders needed at every level?"));
            }
            let mut swapped = call.clone();
            swapped.inputs.swap(0, 1);
            Ok(Pat::Either(vec![Pat::Call(call), Pat::Call(swapped)]))
        }
        _ => Err(inner.error("`commutative` takes a call with two inputs").hint(hint)),
    }
}

/// Operators whose first two inputs may change places.
const COMMUTATIVE: &[&str] =
    &["add", "mul", "maximum", "minimum", "equal", "not_equal", "logical_and", "logical_or", "logical_xor"];

/// Parts of a pattern with all its alternatives.
const MAX_SIZE: usize = 8192;

fn size(pat: &Pat) -> usize {
    1 + match pat {
        Pat::Any | Pat::Var(_) | Pat::Optional(_) | Pat::None | Pat::Scalar(_) | Pat::Near(_) => 0,
        Pat::Either(pats) => pats.iter().map(size).sum(),
        Pat::Output { of, .. } => size(of),
        Pat::Call(call) => call.inputs.iter().map(size).sum::<usize>() + call.rest.as_ref().map_or(0, size),
    }
}

/// The variables below a pattern, sorted.
pub(super) fn bound_vars(pat: &Pat) -> Vec<VarId> {
    let mut vars = Vec::new();
    occurrences(pat, &mut |v| vars.push(v));
    vars.sort_unstable();
    vars.dedup();
    vars
}

/// Calls `f` for each occurrence of a variable; of alternatives only the first counts.
pub(super) fn occurrences(pat: &Pat, f: &mut impl FnMut(VarId)) {
    match pat {
        Pat::Var(v) | Pat::Optional(v) => f(*v),
        Pat::Any | Pat::None | Pat::Scalar(_) | Pat::Near(_) => {}
        Pat::Either(pats) => occurrences(&pats[0], f),
        Pat::Output { index, of } => {
            if let IndexPat::Bind(v) = index {
                f(*v);
            }
            occurrences(of, f);
        }
        Pat::Call(call) => {
            let fields =
                call.fields.iter().filter_map(|(_, p)| if let FieldPat::Bind(v) = p { Some(*v) } else { None });
            for v in call.attrs.into_iter().chain(call.label).chain(fields) {
                f(v);
            }
            for input in call.inputs.iter().chain(&call.rest) {
                occurrences(input, f);
            }
        }
    }
}

fn call(
    at: &Sexp,
    head: &Sexp,
    args: &[Sexp],
    style: Style,
    repeated: bool,
    scope: &mut Scope,
) -> Result<Pat, QpatError> {
    let ops: Vec<OpRef> = match &head.kind {
        Kind::Vector(items) if !items.is_empty() => items.iter().map(operator).collect::<Result<_, _>>()?,
        _ => vec![operator(head)?],
    };
    let form = Form::new(&at.span, args);
    let (inputs, rest) = match form.positional {
        [inputs @ .., last, dots] if dots.kind == Kind::Ellipsis => (inputs, Some(last)),
        inputs => (inputs, None),
    };
    for op in &ops {
        check_arity(at, *op, inputs, rest)?;
    }
    let inputs = inputs.iter().map(|i| pat(i, style, repeated, scope)).collect::<Result<_, _>>()?;
    let rest = match rest {
        Some(r) if repeated => return Err(r.error("`...` inside `...` is not possible")),
        Some(r) => Some(pat(r, style, true, scope)?),
        None => None,
    };
    let mut call = CallPat {
        ops,
        inputs,
        rest,
        attrs: None,
        fields: Vec::new(),
        others_default: style == Style::Rule,
        label: None,
    };
    for (name, key, values) in form.keywords() {
        let [value] = values else { return Err(key.error(format!("`:{name}` takes one value"))) };
        match (*name, &value.kind) {
            ("attrs", Kind::Var(var)) => {
                let id = scope.bind(value, var, VarKind::Record, repeated)?;
                scope.vars[id].ops = call.ops.clone();
                call.attrs = Some(id);
                call.others_default = false;
            }
            ("attrs", Kind::Symbol(any)) if any == "_" => call.others_default = false,
            ("attrs", _) => return Err(value.expected("a variable such as `?a`, or `_` for any attributes")),
            ("as", Kind::Var(var)) => call.label = Some(scope.bind(value, var, VarKind::Node, repeated)?),
            ("as", _) => return Err(value.expected("a variable such as `?conv`")),
            _ => {
                let field = field(&call.ops, name, key, value, repeated, scope)?;
                call.fields.push(field);
            }
        }
    }
    if call.others_default {
        check_mentioned(at, &call)?;
    }
    Ok(Pat::Call(Box::new(call)))
}

/// An attribute without a default that nobody mentions would never match.
fn check_mentioned(at: &Sexp, call: &CallPat) -> Result<(), QpatError> {
    for op in &call.ops {
        for spec in op.signature().attrs.iter().filter(|s| s.default.is_required()) {
            if !call.fields.iter().any(|(name, _)| *name == spec.name) {
                return Err(at
                    .error(format!("attribute `{}` of `{op}` has no default and must be mentioned", spec.name))
                    .hint(format!("`:attrs ?a` binds every attribute, `:{} ?v` this one", spec.name)));
            }
        }
    }
    Ok(())
}

fn field(
    ops: &[OpRef],
    name: &str,
    key: &Sexp,
    value: &Sexp,
    repeated: bool,
    scope: &mut Scope,
) -> Result<(&'static str, FieldPat), QpatError> {
    let mut spec = attribute(ops[0].signature(), name, key)?;
    for op in ops {
        spec = attribute(op.signature(), name, key)?;
    }
    if let Kind::Var(var) = &value.kind {
        let id = scope.bind_field(value, var, Type::of_attribute(spec), repeated)?;
        if let Some(choices) = spec.default.choices() {
            scope.words.insert(id, choices);
        }
        return Ok((spec.name, FieldPat::Bind(id)));
    }
    let attr = literal(value).ok_or_else(|| value.expected("a literal or a variable"))?;
    Ok((spec.name, FieldPat::Equals(attr_literal(ops[0].signature(), spec, value, attr)?)))
}

/// Holds the inputs of a pattern, template or term to a signature.
pub(super) fn check_arity(at: &Sexp, op: OpRef, inputs: &[Sexp], rest: Option<&Sexp>) -> Result<(), QpatError> {
    let specs = op.signature().inputs;
    let variadic = specs.last().is_some_and(|s| s.kind == InputKind::Variadic);
    let shown: Vec<String> = specs
        .iter()
        .map(|s| match s.kind {
            InputKind::Required => s.name.to_owned(),
            InputKind::Optional => format!("{}?", s.name),
            InputKind::Variadic => format!("{} ...", s.name),
        })
        .collect();
    let hint = format!("({op} {})", shown.join(" "));
    if let Some(rest) = rest.filter(|_| !variadic) {
        return Err(rest.error(format!("`{op}` takes no repeated input")).hint(hint));
    }
    if !variadic && inputs.len() > specs.len() {
        let text = format!("`{op}` takes at most {} inputs, {} are given", specs.len(), inputs.len());
        return Err(at.error(text).hint(hint));
    }
    for (i, spec) in specs.iter().enumerate() {
        let required = spec.kind == InputKind::Required;
        match inputs.get(i) {
            None if required => {
                return Err(at.error(format!("`{op}` needs its input `{}`", spec.name)).hint(hint));
            }
            Some(input) if required && is_absent(input) => {
                return Err(input.error(format!("input `{}` of `{op}` is not optional", spec.name)).hint(hint));
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_absent(input: &Sexp) -> bool {
    input.symbol() == Some("none") || input.list().and_then(|l| l.first()).and_then(Sexp::symbol) == Some("optional")
}
