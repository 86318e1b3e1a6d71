//! Templates.

use quantc_ops::{Attr, AttrSpec, InputKind, OpRef, with_article};

use crate::ast::{CallTemplate, RecordTemplate, Template, VarKind};
use crate::expr::{Expr, Type};
use crate::parse::expr::expr;
use crate::parse::form::Form;
use crate::parse::pattern::check_arity;
use crate::parse::scope::{Scope, attr_literal, attribute, check_output, describe, literal, operator};
use crate::reader::{Kind, Sexp};
use crate::source::QpatError;

/// Parses a template; `optional` says whether it stands at an optional input, `repeated` whether it stands before `...`.
pub(super) fn template(at: &Sexp, optional: bool, repeated: bool, scope: &mut Scope) -> Result<Template, QpatError> {
    match &at.kind {
        Kind::Symbol(s) if s == "none" => Ok(Template::None),
        Kind::Int(_) | Kind::Float(_) => {
            Ok(Template::Const(Expr::Literal((at.number().unwrap_or(f64::NAN) as f32).into())))
        }
        Kind::Var(name) => {
            let id = scope.lookup(at, name)?;
            let var = &scope.vars[id];
            match var.kind {
                VarKind::Value => {}
                VarKind::Optional if optional => {}
                VarKind::Optional => {
                    return Err(at
                        .error(format!("`?{name}` may be absent, the input here may not"))
                        .hint(format!("bind it as `?{name}` in :match, without `optional`")));
                }
                kind => return Err(at.error(format!("`?{name}` is {}, no value", describe(kind, var.repeated)))),
            }
            if var.repeated != repeated {
                return Err(if repeated {
                    at.error(format!("`?{name}` is not repeated, it can't stand alone before `...`"))
                } else {
                    at.error(format!("`?{name}` is repeated")).hint(format!("write `?{name} ...`"))
                });
            }
            Ok(Template::Var(id))
        }
        Kind::List(items) => list(at, items, repeated, scope),
        _ => Err(at.expected("a template")),
    }
}

fn list(at: &Sexp, items: &[Sexp], repeated: bool, scope: &mut Scope) -> Result<Template, QpatError> {
    let Some((head, args)) = items.split_first() else { return Err(at.error("empty template")) };
    match head.symbol() {
        Some("const") => match args {
            [value] => Ok(Template::Const(typed(value, Type::NumberOrList, "`const`", repeated, scope)?)),
            _ => Err(at.error("`const` takes one expression").hint("(const (attr ?a eps))")),
        },
        Some("output") => match args {
            [number, of] => {
                let index = typed(number, Type::Number, "`output`", repeated, scope)?;
                let of = template(of, false, repeated, scope)?;
                if let Template::Call(call) = &of {
                    let known = if let Expr::Literal(Attr::Int(i)) = index { Some(i) } else { None };
                    check_output(at, number, call.op, known)?;
                }
                Ok(Template::Output { index, of: Box::new(of) })
            }
            _ => Err(at.error("`output` takes a number and a call")),
        },
        _ => call(at, head, args, repeated, scope),
    }
}

fn call(at: &Sexp, head: &Sexp, args: &[Sexp], repeated: bool, scope: &mut Scope) -> Result<Template, QpatError> {
    let op = operator(head)?;
    let form = Form::new(&at.span, args);
    let (inputs, rest) = match form.positional {
        [inputs @ .., last, dots] if dots.kind == Kind::Ellipsis => (inputs, Some(last)),
        inputs => (inputs, None),
    };
    check_arity(at, op, inputs, rest)?;
    let inputs = inputs
        .iter()
        .enumerate()
        .map(|(i, input)| {
            let optional = op.signature().inputs.get(i).is_some_and(|s| s.kind == InputKind::Optional);
            template(input, optional, repeated, scope)
        })
        .collect::<Result<_, _>>()?;
    let rest = rest.map(|r| template(r, false, true, scope)).transpose()?;
    let mut out = CallTemplate { op, inputs, rest, records: Vec::new(), fields: Vec::new() };
    for (name, key, values) in form.keywords() {
        let [value] = values else { return Err(key.error(format!("`:{name}` takes one value"))) };
        if *name == "attrs" {
            out.records = records(op, value, scope)?;
            continue;
        }
        let spec = attribute(op.signature(), name, key)?;
        let expr = match literal(value) {
            Some(attr) => Expr::Literal(attr_literal(op.signature(), spec, value, attr)?),
            None => {
                let what = format!("attribute `{}` of `{op}`", spec.name);
                typed(value, Type::of_attribute(spec), &what, repeated, scope)?
            }
        };
        out.fields.push((spec.name, expr));
    }
    check_required(at, &out, scope)?;
    Ok(Template::Call(Box::new(out)))
}

/// An expression of the type that `what` takes.
fn typed(at: &Sexp, wanted: Type, what: &str, repeated: bool, scope: &mut Scope) -> Result<Expr, QpatError> {
    let (expr, given) = expr(at, repeated, scope)?;
    if wanted.accepts(given) {
        return Ok(expr);
    }
    Err(at.error(format!("{what} takes {}, this is {}", wanted.name(), given.name())))
}

/// `?a`, `(only ?a f ..)`, `(without ?a f ..)`, `(merge R ..)`.
fn records(op: OpRef, at: &Sexp, scope: &mut Scope) -> Result<Vec<RecordTemplate>, QpatError> {
    let head = at.list().and_then(|l| l.split_first()).and_then(|(h, rest)| h.symbol().map(|h| (h, rest)));
    let mut out = Vec::new();
    match head {
        Some(("merge", parts)) => {
            for part in parts {
                out.extend(records(op, part, scope)?);
            }
            return Ok(out);
        }
        Some((word @ ("only" | "without"), [record, names @ ..])) => {
            let var = scope.lookup_kind(record, &[VarKind::Record], "a variable bound by `:attrs`")?;
            let mut listed = Vec::new();
            for name in names {
                let Some(text) = name.symbol() else { return Err(name.expected("the name of an attribute")) };
                for source in scope.vars[var].ops.clone() {
                    listed.push(attribute(source.signature(), text, name)?.name);
                }
            }
            let (only, without) = if word == "only" { (Some(listed), Vec::new()) } else { (None, listed) };
            out.push(RecordTemplate { var, only, without });
        }
        _ => {
            let var = scope.lookup_kind(at, &[VarKind::Record], "a record such as `?a` or `(merge ?a ?b)`")?;
            out.push(RecordTemplate { var, only: None, without: Vec::new() });
        }
    }
    for record in &out {
        for source in &scope.vars[record.var].ops {
            for spec in source.signature().attrs.iter().filter(|s| record.keeps(s)) {
                check_carried(op, *source, spec, at)?;
            }
        }
    }
    Ok(out)
}

/// An attribute of the matched call must exist, with the same kind and default, where the record is copied to.
fn check_carried(op: OpRef, source: OpRef, spec: &AttrSpec, at: &Sexp) -> Result<(), QpatError> {
    let hint = format!("leave it out with (without ?a {})", spec.name);
    let Some(target) = op.signature().attrs.iter().find(|s| s.name == spec.name) else {
        return Err(at.error(format!("`{op}` has no attribute `{}` of `{source}`", spec.name)).hint(hint));
    };
    if target.default.kind() != spec.default.kind() {
        return Err(at
            .error(format!(
                "attribute `{}` is {} in `{source}` and {} in `{op}`",
                spec.name,
                with_article(spec.default.kind()),
                with_article(target.default.kind())
            ))
            .hint(hint));
    }
    Ok(())
}

impl RecordTemplate {
    fn keeps(&self, spec: &AttrSpec) -> bool {
        self.only.as_ref().is_none_or(|o| o.contains(&spec.name)) && !self.without.contains(&spec.name)
    }
}

fn check_required(at: &Sexp, call: &CallTemplate, scope: &Scope) -> Result<(), QpatError> {
    for spec in call.op.signature().attrs.iter().filter(|s| s.default.is_required()) {
        let from_record = call.records.iter().any(|r| {
            scope.vars[r.var].ops.iter().all(|o| o.signature().attr_name(spec.name).is_some()) && r.keeps(spec)
        });
        if !from_record && !call.fields.iter().any(|(name, _)| *name == spec.name) {
            return Err(at
                .error(format!("`{}` needs the attribute `{}`", call.op, spec.name))
                .hint(format!("give it: `:{} ..`", spec.name)));
        }
    }
    Ok(())
}
