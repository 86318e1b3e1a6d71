//! Rules and their examples.

use std::collections::HashMap;
use std::sync::Arc;

use quantc_ops::names::suggest;
use quantc_ops::{Attr, Attrs, InputKind};
use quantc_tensor::{DType, Dim, Shape, TensorType};

use crate::ast::{Example, ExampleInput, Pattern, Phase, Rule, RuleClass, Template, Term};
use crate::parse::expr::condition;
use crate::parse::form::{DOC_HINT, Form, Kernels, for_each_row, keep, keep_all};
use crate::parse::pattern::{Style, check_arity, occurrences, pattern};
use crate::parse::scope::{Scope, attr_literal, attribute, check_output, literal, operator};
use crate::parse::template::template;
use crate::reader::{Kind, Sexp};
use crate::source::QpatError;

/// Elements of an input of an example: it is evaluated, many times.
const MAX_EXAMPLE: usize = 1 << 20;

pub(super) const KEYWORDS: &[&str] = &["for", "doc", "class", "match", "when", "replace", "example", "inputs"];

const REQUIRED: &[(&str, &str)] = &[
    ("doc", DOC_HINT),
    ("class", CLASSES),
    ("match", "the pattern: :match (relu (conv2d ?x ?w ?b :attrs ?a))"),
    ("replace", "the template: :replace (linear ?x ?w ?b)"),
    ("example", ":inputs (x f32[2,3]) :example (relu (relu x)) => (relu x)"),
];

const CLASSES: &str = "one of exact, int-exact, (real TOLERANCE), (approximate TOLERANCE)";

/// The rules of one `(rule ...)` form: one per row of `:for`.
pub(super) fn rules(
    at: &Sexp,
    args: &[Sexp],
    phase: Phase,
    kernels: &Kernels<'_>,
) -> Result<Vec<Rule>, Vec<QpatError>> {
    let form = Form::new(&at.span, args);
    let name = match form.positional {
        [name] => name.symbol().ok_or_else(|| vec![name.expected("the rule's name")])?,
        _ => return Err(vec![at.error("a rule starts with its name").hint("(rule fuse-conv-relu :doc ..)")]),
    };
    let mut errors = form.keyword_errors(KEYWORDS, &["example"]);
    if errors.is_empty() {
        errors.extend(form.missing(REQUIRED));
    }
    let found = for_each_row(&form, name, args, kernels, |name, args| rule(at, name, args, phase));
    match keep_all(found, &mut errors) {
        Some(rules) if errors.is_empty() => Ok(rules),
        _ => Err(errors),
    }
}

/// One rule. Keywords that are missing were reported already: here they only end the check.
fn rule(at: &Sexp, name: &str, args: &[Sexp], phase: Phase) -> Result<Rule, Vec<QpatError>> {
    let form = Form::new(&at.span, args);
    let mut errors = Vec::new();
    let value = |key: &str, errors: &mut Vec<QpatError>| keep(form.one(key), errors).flatten();
    let doc = form.get("doc").and_then(|_| keep(form.doc(), &mut errors));
    let class = value("class", &mut errors).and_then(|c| keep(class(c, phase), &mut errors));
    let mut scope = Scope::default();
    let lhs = value("match", &mut errors).and_then(|m| keep(pattern(m, Style::Rule, &mut scope), &mut errors));
    // Without variables, conditions and template would only give errors that follow from the first.
    let body = lhs.and_then(|lhs| {
        let before = errors.len();
        let conditions = form.get("when").map(|w| w.1).unwrap_or_default();
        let conditions = conditions.iter().filter_map(|c| keep(condition(c, &mut scope), &mut errors)).collect();
        let rhs = value("replace", &mut errors)?;
        let template = keep(template(rhs, false, false, &mut scope), &mut errors)?;
        if matches!(template, Template::None) {
            errors.push(rhs.error("a rule can't replace a value by nothing"));
        }
        if errors.len() == before {
            keep(check_used(&scope, &lhs), &mut errors);
        }
        Some((lhs, conditions, template))
    });
    let examples = examples(&form, &mut errors);
    match (doc, class, body) {
        (Some(doc), Some(class), Some((pattern, conditions, template))) if errors.is_empty() => {
            let span = at.span.clone();
            Ok(Rule { name: Arc::from(name), doc, class, phase, pattern, conditions, template, examples, span })
        }
        _ => Err(errors),
    }
}

fn class(at: &Sexp, phase: Phase) -> Result<RuleClass, QpatError> {
    let tolerance = |at: &Sexp| {
        let value = at.number().filter(|t| *t > 0.0 && *t < 1.0);
        value.map(|t| t as f32).ok_or_else(|| at.expected("a tolerance between 0 and 1 such as 1e-5"))
    };
    let class = match (at.symbol(), at.list()) {
        (Some("exact"), _) => RuleClass::Exact,
        (Some("int-exact"), _) => RuleClass::IntExact,
        (Some(word @ ("real" | "approximate")), _) => {
            return Err(at.error(format!("class `{word}` states its tolerance")).hint(format!("({word} 1e-3)")));
        }
        (_, Some([head, t])) if head.symbol() == Some("real") => RuleClass::Real { tolerance: tolerance(t)? },
        (_, Some([head, t])) if head.symbol() == Some("approximate") => {
            RuleClass::Approximate { tolerance: tolerance(t)? }
        }
        _ => return Err(at.expected("a class").hint(CLASSES)),
    };
    if matches!(class, RuleClass::Real { .. }) && phase != Phase::Canonical {
        return Err(at
            .error("after calibration only rules that keep every bit may run")
            .hint("class (real ..) belongs in the canonical phase"));
    }
    Ok(class)
}

fn check_used(scope: &Scope, pattern: &Pattern) -> Result<(), QpatError> {
    let mut count = vec![0usize; scope.vars.len()];
    occurrences(&pattern.root, &mut |v| count[v] += 1);
    for (id, var) in scope.vars.iter().enumerate() {
        if !scope.used[id] && count[id] < 2 {
            return Err(QpatError::new(&scope.spans[id], format!("`?{}` is never used", var.name))
                .hint("write `_` where anything may stand; an attribute record that is dropped is a mistake"));
        }
    }
    Ok(())
}

fn examples(form: &Form<'_>, errors: &mut Vec<QpatError>) -> Vec<Example> {
    let before = errors.len();
    let mut inputs: Vec<ExampleInput> = Vec::new();
    for item in form.get("inputs").map(|i| i.1).unwrap_or_default() {
        let Some(new) = keep(input(item), errors) else { continue };
        if inputs.iter().any(|i| i.name == new.name) {
            errors.push(item.error(format!("there are two inputs `{}`", new.name)));
        }
        inputs.push(new);
    }
    // A wrong input would make every use of it wrong too.
    if errors.len() > before {
        return Vec::new();
    }
    let known: HashMap<&str, &ExampleInput> = inputs.iter().map(|i| (&*i.name, i)).collect();
    let mut out = Vec::new();
    for (_, key, values) in form.keywords().iter().filter(|k| k.0 == "example") {
        let [before, arrow, after] = values else {
            errors.push(key.error("an example is LHS => RHS").hint(":example (relu (relu x)) => (relu x)"));
            continue;
        };
        if arrow.symbol() != Some("=>") {
            errors.push(arrow.expected("`=>`"));
            continue;
        }
        let (before_span, after_span) = (before.span.clone(), after.span.clone());
        if let (Some(before), Some(after)) = (keep(term(before, &known), errors), keep(term(after, &known), errors)) {
            let (inputs, span) = (inputs.clone(), key.span.clone());
            out.push(Example { before, after, inputs, span, before_span, after_span });
        }
    }
    if out.len() == form.keywords().iter().filter(|k| k.0 == "example").count() {
        let used = |name: &str| out.iter().any(|e| e.before.uses(name) || e.after.uses(name));
        for (input, item) in inputs.iter().zip(form.get("inputs").map(|i| i.1).unwrap_or_default()) {
            if !out.is_empty() && !used(&input.name) {
                errors.push(item.error(format!("no example uses the input `{}`", input.name)));
            }
        }
    }
    out
}

/// `(name [const] dtype [dims] [lo hi])`.
fn input(at: &Sexp) -> Result<ExampleInput, QpatError> {
    let bad = || at.expected("an input").hint("(x f32[1,3,8,8]), (w const f32[4,3,3,3]), (var const f32[4] 0.5 2.0)");
    let (name, mut rest) = at.list().and_then(|l| l.split_first()).ok_or_else(bad)?;
    let name = name.symbol().ok_or_else(bad)?;
    let constant = rest.first().and_then(Sexp::symbol) == Some("const");
    if constant {
        rest = &rest[1..];
    }
    let [dtype, dims, range @ ..] = rest else { return Err(bad()) };
    let dtype: DType = dtype.symbol().and_then(|s| s.parse().ok()).ok_or_else(|| dtype.expected("a dtype"))?;
    let shape: Shape = dims
        .vector()
        .ok_or_else(bad)?
        .iter()
        .map(|d| match d.kind {
            Kind::Int(n) if n >= 0 => Ok(Dim::Known(n as usize)),
            _ => Err(d.expected("a size")),
        })
        .collect::<Result<_, _>>()?;
    let numel = shape.to_known().and_then(|s| s.iter().try_fold(1usize, |n, d| n.checked_mul(*d)));
    if numel.is_none_or(|n| n > MAX_EXAMPLE) {
        return Err(dims.error(format!("an input of an example has at most {MAX_EXAMPLE} elements")));
    }
    let range = match range {
        [] => match dtype.quantized_range() {
            Some((lo, hi)) if dtype.size() == 1 => (lo as f32, hi as f32),
            _ => (-2.0, 2.0),
        },
        [lo, hi] => match (lo.number(), hi.number()) {
            (Some(lo), Some(hi)) if lo <= hi => (lo as f32, hi as f32),
            _ => return Err(lo.expected("a range LO HI")),
        },
        _ => return Err(bad()),
    };
    Ok(ExampleInput { name: Arc::from(name), ty: TensorType { dtype, shape }, constant, range })
}

fn term(at: &Sexp, inputs: &HashMap<&str, &ExampleInput>) -> Result<Term, QpatError> {
    match &at.kind {
        Kind::Symbol(s) if s == "none" => Ok(Term::None),
        Kind::Symbol(s) if inputs.contains_key(s.as_str()) => Ok(Term::Input(Arc::from(s.as_str()))),
        Kind::Symbol(s) => {
            let error = at.error(format!("`{s}` is not declared in :inputs"));
            Err(match suggest(s, inputs.keys().copied()) {
                Some(hint) => error.hint(hint),
                None => error.hint(format!(":inputs ({s} f32[2,3])")),
            })
        }
        Kind::Int(_) | Kind::Float(_) => Ok(Term::Const((at.number().unwrap_or(f64::NAN) as f32).into())),
        Kind::List(items) => match items.split_first() {
            Some((head, [value])) if head.symbol() == Some("const") => {
                literal(value).map(Term::Const).ok_or_else(|| value.expected("a literal"))
            }
            Some((head, [index, of])) if head.symbol() == Some("output") => match index.kind {
                Kind::Int(i) if i >= 0 => {
                    let of = term(of, inputs)?;
                    if let Term::Call { op, .. } = &of {
                        check_output(at, index, *op, Some(i))?;
                    }
                    Ok(Term::Output(i as u32, Box::new(of)))
                }
                _ => Err(index.expected("the number of an output")),
            },
            Some((head, args)) => call(at, head, args, inputs),
            None => Err(at.error("empty term")),
        },
        _ => Err(at.expected("a term")),
    }
}

fn call(at: &Sexp, head: &Sexp, args: &[Sexp], known: &HashMap<&str, &ExampleInput>) -> Result<Term, QpatError> {
    let op = operator(head)?;
    let form = Form::new(&at.span, args);
    check_arity(at, op, form.positional, None)?;
    let variadic = op.signature().inputs.last().is_some_and(|i| i.kind == InputKind::Variadic);
    let inputs: Vec<Term> = form.positional.iter().map(|a| term(a, known)).collect::<Result<_, _>>()?;
    if variadic && inputs.iter().any(|i| matches!(i, Term::None)) {
        return Err(at.error(format!("`{op}` cannot take `none` among its inputs")));
    }
    let mut attrs = Attrs::new();
    for (name, key, values) in form.keywords() {
        let [value] = values else { return Err(key.error(format!("`:{name}` takes one value"))) };
        let spec = attribute(op.signature(), name, key)?;
        let attr: Attr = literal(value).ok_or_else(|| value.expected("a literal"))?;
        attrs.set(spec.name, attr_literal(op.signature(), spec, value, attr)?);
    }
    let attrs = attrs.check(op.signature()).map_err(|e| at.error(e.to_string()))?;
    Ok(Term::Call { op, inputs, attrs })
}
