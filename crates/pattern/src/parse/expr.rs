//! Expressions of conditions and templates, with their types.

use std::sync::Arc;

use quantc_ir::Graph;
use quantc_ops::names::suggest;

use crate::ast::VarKind;
use crate::expr::{Arg, Env, Expr, FUNCTIONS, Function, Type, find_function};
use crate::parse::scope::{Scope, attribute, check_word, describe, literal};
use crate::reader::{Kind, Sexp};
use crate::source::QpatError;

const VALUES: &[VarKind] = &[VarKind::Value, VarKind::Optional];

/// Parses an expression and gives its type; `repeated` is true where repeated variables may stand for one repetition.
pub(super) fn expr(at: &Sexp, repeated: bool, scope: &mut Scope) -> Result<(Expr, Type), QpatError> {
    if let Some(value) = literal(at) {
        let ty = Type::of(&value);
        return Ok((Expr::Literal(value), ty));
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
            Ok((Expr::Field(id), scope.fields.get(&id).copied().unwrap_or(Type::Number)))
        }
        Kind::List(items) => call(at, items, repeated, scope),
        _ => Err(at.expected("an expression")),
    }
}

/// Parses a condition: an expression that is true or false, and not false whatever is matched.
pub(super) fn condition(at: &Sexp, scope: &mut Scope) -> Result<Expr, QpatError> {
    match expr(at, false, scope)? {
        (expr, Type::Bool) if never(&expr) => Err(at
            .error("this condition never holds")
            .hint("what is defined here would have no effect: take it out, or ask about what is matched")),
        (expr, Type::Bool) => Ok(expr),
        (_, ty) => Err(at
            .error(format!("a condition is true or false, this is {}", ty.name()))
            .hint("compare it: (= (rank ?x) 4), (> (dim ?x 0) 1), (given (ints ?x))")),
    }
}

/// Whether a condition is false whatever its variables stand for.
fn never(condition: &Expr) -> bool {
    let mut variables = false;
    condition.variables(&mut |_| variables = true);
    match condition {
        Expr::Call(function, args) if function.name == "and" => args.iter().any(never),
        Expr::Call(function, args) if function.name == "or" => args.iter().all(never),
        // Nothing in it asks about a graph.
        _ => !variables && !Env::new(&Graph::new(""), &Vec::new()).holds(condition),
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

fn call(at: &Sexp, items: &[Sexp], repeated: bool, scope: &mut Scope) -> Result<(Expr, Type), QpatError> {
    let Some((head, args)) = items.split_first() else { return Err(at.error("empty expression")) };
    let Some(name) = head.symbol() else { return Err(head.expected("a function")) };
    if name == "attr" {
        return attr(at, args, repeated, scope);
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
    // What `Same` stands for in this call: the type of the first argument that has it.
    let mut same = None;
    let mut parsed = Vec::new();
    for (i, arg) in args.iter().enumerate() {
        let (declared, (expr, ty)) = match function.args[i.min(least - 1)] {
            Arg::Value => {
                let id = scope.lookup_kind(arg, VALUES, "a variable bound to a value")?;
                check_repeated(arg, id, repeated, scope)?;
                parsed.push(Expr::Value(id));
                continue;
            }
            Arg::Expr(declared) => (declared, expr(arg, repeated, scope)?),
            Arg::Each(declared) => match each(arg, scope)? {
                (expr, Some(ty)) => (declared, (expr, ty)),
                // A repeated value has no type of its own: it can only be counted.
                (expr, None) if function.name == "count" => {
                    parsed.push(expr);
                    continue;
                }
                (_, None) => {
                    let error = arg.error(format!("{} is a value, `{name}` takes an expression", arg.describe()));
                    return Err(error.hint(format!("({name} (dtype {}))", arg.describe().trim_matches('`'))));
                }
            },
        };
        check_type(arg, function, declared, ty, &mut same)?;
        parsed.push(expr);
    }
    if matches!(name, "=" | "/=" | "in") {
        check_words(args, &parsed, scope)?;
    }
    let result = if function.result == Type::Same { same.unwrap_or(Type::Number) } else { function.result };
    Ok((Expr::Call(function, parsed), result))
}

/// Of a comparison with an attribute that is a word out of a list: the words it is compared with are in the list.
fn check_words(args: &[Sexp], parsed: &[Expr], scope: &Scope) -> Result<(), QpatError> {
    let choices = |expr: &Expr| match expr {
        Expr::Field(id) => scope.words.get(id).copied(),
        Expr::Attr(id, name) => {
            let mut specs = scope.vars[*id].ops.iter().flat_map(|op| op.signature().attrs);
            specs.find(|spec| spec.name == &**name)?.default.choices()
        }
        _ => None,
    };
    let Some((of, choices)) = args.iter().zip(parsed).find_map(|(arg, e)| Some((arg, choices(e)?))) else {
        return Ok(());
    };
    for (arg, expr) in args.iter().zip(parsed) {
        if let Expr::Literal(value) = expr {
            check_word(arg, value, choices, || of.describe())?;
        }
    }
    Ok(())
}

/// `(attr ?record name)`.
fn attr(at: &Sexp, args: &[Sexp], repeated: bool, scope: &mut Scope) -> Result<(Expr, Type), QpatError> {
    let [record, field] = args else {
        return Err(at.error("`attr` takes a record and a name").hint("(attr ?a groups)"));
    };
    let id = scope.lookup_kind(record, &[VarKind::Record], "a variable bound by `:attrs`")?;
    check_repeated(record, id, repeated, scope)?;
    let Some(name) = field.symbol() else { return Err(field.expected("the name of an attribute")) };
    let mut ty = Type::Number;
    for op in &scope.vars[id].ops {
        ty = Type::of_attribute(attribute(op.signature(), name, field)?);
    }
    Ok((Expr::Attr(id, Arc::from(name)), ty))
}

fn check_type(
    at: &Sexp,
    function: &Function,
    declared: Type,
    given: Type,
    same: &mut Option<Type>,
) -> Result<(), QpatError> {
    let name = function.name;
    if !declared.accepts(given) {
        return Err(at
            .error(format!("`{name}` takes {} here, this is {}", declared.name(), given.name()))
            .hint(format!("{name}: {}", function.doc)));
    }
    if declared == Type::Same {
        let first = *same.get_or_insert(given);
        if first != given {
            return Err(at
                .error(format!("`{name}` of {} and {}", first.name(), given.name()))
                .hint(format!("{name}: {}", function.doc)));
        }
    }
    Ok(())
}

/// An argument of `list`, `all`, `count` or `first`, which also may be a repeated value itself: that has no type.
fn each(at: &Sexp, scope: &mut Scope) -> Result<(Expr, Option<Type>), QpatError> {
    if let Kind::Var(name) = &at.kind {
        let id = scope.lookup(at, name)?;
        if VALUES.contains(&scope.vars[id].kind) {
            return Ok((Expr::Value(id), None));
        }
    }
    expr(at, true, scope).map(|(expr, ty)| (expr, Some(ty)))
}
