//! Expressions of conditions and templates.

use std::sync::Arc;

use crate::ast::VarKind;
use crate::expr::{Arg, Expr, FUNCTIONS, find_function};
use crate::parse::scope::{Scope, attribute, describe, literal};
use crate::reader::{Kind, Sexp};
use crate::source::{QpatError, suggest};

const VALUES: &[VarKind] = &[VarKind::Value, VarKind::Optional];

/// Parses an expression; `repeated` is true where repeated variables may stand for one repetition.
pub(super) fn expr(at: &Sexp, repeated: bool, scope: &mut Scope) -> Result<Expr, QpatError> {
    if let Some(value) = literal(at) {
        return Ok(Expr::Literal(value));
    }
    match &at.kind {
        Kind::Var(name) => {
            let id = scope.lookup(at, name)?;
            let var = &scope.vars[id];
            if var.kind != VarKind::Field {
                let error = at.error(format!("`?{name}` is {}, no number", describe(var.kind, var.repeated)));
                return Err(error.hint("(scalar ?x), (dtype ?x), (attr ?a name), ... give facts about it"));
            }
            check_repeated(at, id, repeated, scope)?;
            Ok(Expr::Field(id))
        }
        Kind::List(items) => call(at, items, repeated, scope),
        _ => Err(at.expected("an expression")),
    }
}

fn check_repeated(at: &Sexp, id: usize, repeated: bool, scope: &Scope) -> Result<(), QpatError> {
    if scope.vars[id].repeated && !repeated {
        return Err(at
            .error(format!("`?{}` is repeated", scope.vars[id].name))
            .hint("use it in (list ..), (all ..) or (first ..), or before `...`"));
    }
    Ok(())
}

fn call(at: &Sexp, items: &[Sexp], repeated: bool, scope: &mut Scope) -> Result<Expr, QpatError> {
    let Some((head, args)) = items.split_first() else { return Err(at.error("empty expression")) };
    let Some(name) = head.symbol() else { return Err(head.expected("a function")) };
    if name == "attr" {
        let [record, field] = args else {
            return Err(at.error("`attr` takes a record and a name").hint("(attr ?a groups)"));
        };
        let id = scope.lookup_kind(record, &[VarKind::Record], "a variable bound by `:attrs`")?;
        check_repeated(record, id, repeated, scope)?;
        let Some(field_name) = field.symbol() else { return Err(field.expected("the name of an attribute")) };
        for op in &scope.vars[id].ops {
            attribute(op.signature(), field_name, field)?;
        }
        return Ok(Expr::Attr(id, Arc::from(field_name)));
    }
    let Some(function) = find_function(name) else {
        let error = head.error(format!("there is no function `{name}`"));
        return Err(match suggest(name, FUNCTIONS.iter().map(|f| f.name).chain(["attr"])) {
            Some(hint) => error.hint(hint),
            None => error,
        });
    };
    let least = function.args.len();
    if args.len() < least || (args.len() > least && !function.variadic) {
        let some = if function.variadic { "at least " } else { "" };
        return Err(at
            .error(format!("`{name}` takes {some}{least} arguments, {} are given", args.len()))
            .hint(format!("{name}: {}", function.doc)));
    }
    let parsed = args
        .iter()
        .enumerate()
        .map(|(i, arg)| match function.args[i.min(least - 1)] {
            Arg::Value => {
                let id = scope.lookup_kind(arg, VALUES, "a variable bound to a value")?;
                check_repeated(arg, id, repeated, scope)?;
                Ok(Expr::Value(id))
            }
            Arg::Expr => expr(arg, repeated, scope),
            Arg::Each => each(arg, scope),
        })
        .collect::<Result<_, _>>()?;
    Ok(Expr::Call(function, parsed))
}

/// An argument of `list`, `all`, `count` or `first`, which also may be a repeated value itself.
fn each(at: &Sexp, scope: &mut Scope) -> Result<Expr, QpatError> {
    match &at.kind {
        Kind::Var(name) => {
            let id = scope.lookup(at, name)?;
            Ok(if VALUES.contains(&scope.vars[id].kind) { Expr::Value(id) } else { Expr::Field(id) })
        }
        _ => expr(at, true, scope),
    }
}
