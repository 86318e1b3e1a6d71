//! Why a pattern does not match at a value: how far the best attempt came, and what stopped it.

use std::ops::ControlFlow;

use quantc_ops::Attr;

use crate::ast::{CallPat, FieldPat, Pat, Pattern, Var, VarId};
use crate::expr::{Env, Expr};
use crate::matcher::{Binding, Found, Host, Miss, Sink, search_into};
use crate::print::expr;

/// The outcome of looking for a pattern at one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It matches and the conditions hold.
    Matches,
    /// The best attempt failed.
    Misses(NearMiss),
    /// It matches, but only without the call that was asked about.
    Without,
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearMiss {
    /// How many calls had matched.
    pub matched: usize,
    /// Where in the pattern it failed: `mul[1] > add[0]` is input 0 of the `add` that is input 1 of the `mul`.
    pub path: String,
    /// What did not fit.
    pub reason: String,
}

/// Looks for a pattern at a value. `name` says what a value is called. With `part`, only matches with such a call count, and a miss
/// that got to one is nearer than any that did not.
pub fn why_not<H: Host>(
    host: &H,
    pattern: &Pattern,
    conditions: &[Expr],
    root: H::Value,
    name: &dyn Fn(H::Value) -> String,
    part: Option<&dyn Fn(H::Node) -> bool>,
) -> Outcome {
    let mut tracer = Tracer { host, pattern, conditions, name, part, best: None, rank: (false, 0), matches: false };
    let _ = search_into(host, pattern, root, &mut tracer);
    match tracer.best {
        _ if tracer.matches => Outcome::Matches,
        Some(miss) => Outcome::Misses(miss),
        None => Outcome::Without,
    }
}

/// Where a value stands in a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// As [`NearMiss::path`].
    pub path: String,
    /// Whether the value is computed by an operator that the pattern has there.
    pub fits: bool,
}

/// Where a value would stand as a call of the pattern if that matched at `root`: where every call above it has a right operator.
pub fn position<H: Host>(host: &H, pattern: &Pattern, root: H::Value, value: H::Value) -> Option<Position> {
    let mut best = None;
    place(host, &pattern.root, root, value, &mut Vec::new(), &mut best);
    best
}

fn place<H: Host>(
    host: &H,
    pat: &Pat,
    at: H::Value,
    wanted: H::Value,
    path: &mut Vec<String>,
    best: &mut Option<Position>,
) {
    match pat {
        Pat::Call(call) => {
            let nodes = host.definitions(at);
            let fitting = nodes.iter().filter(|n| call.ops.contains(&host.call(**n).0));
            if at == wanted {
                let fits = fitting.count() > 0;
                if best.as_ref().is_none_or(|b| fits && !b.fits) {
                    let path = if path.is_empty() { ops(call) } else { path.join(" > ") };
                    *best = Some(Position { path, fits });
                }
                return;
            }
            for node in fitting {
                for i in 0..host.input_count(*node) {
                    let (Some(pat), Some(value)) = (call.inputs.get(i).or(call.rest.as_ref()), host.input(*node, i))
                    else {
                        continue;
                    };
                    path.push(format!("{}[{i}]", ops(call)));
                    place(host, pat, value, wanted, path, best);
                    path.pop();
                }
            }
        }
        Pat::Either(pats) => pats.iter().for_each(|p| place(host, p, at, wanted, path, best)),
        Pat::Output { of, .. } => {
            host.projections(at).into_iter().for_each(|(_, whole)| place(host, of, whole, wanted, path, best));
        }
        _ => {}
    }
}

struct Tracer<'a, H: Host> {
    host: &'a H,
    pattern: &'a Pattern,
    conditions: &'a [Expr],
    name: &'a dyn Fn(H::Value) -> String,
    part: Option<&'a dyn Fn(H::Node) -> bool>,
    best: Option<NearMiss>,
    /// How near the best attempt came: whether it has the part; calls that matched, twice, and one more for a call of a right
    /// operator.
    rank: (bool, usize),
    matches: bool,
}

impl<H: Host> Sink<H> for Tracer<'_, H> {
    fn found(&mut self, found: Found<H>) -> ControlFlow<()> {
        if !self.has_part(&found) {
            return ControlFlow::Continue(());
        }
        let env = Env::new(self.host, &found.bindings);
        match self.conditions.iter().find(|c| !env.holds(c)) {
            None => {
                self.matches = true;
                ControlFlow::Break(())
            }
            Some(failed) => {
                // A match of the whole pattern is nearer than any part of it.
                if self.rank < (true, WHOLE) {
                    self.rank = (true, WHOLE);
                    let reason = condition(env, failed, &self.pattern.vars);
                    self.best = Some(NearMiss { matched: found.nodes.len(), path: ":when".to_owned(), reason });
                }
                ControlFlow::Continue(())
            }
        }
    }

    fn missed(&mut self, miss: &Miss<'_, H>) {
        let matched = miss.state.nodes.len();
        let rank = (self.has_part(miss.state), 2 * matched + usize::from(miss.node.is_some()));
        if self.best.is_none() || self.rank < rank {
            self.rank = rank;
            let mut path = Vec::new();
            find(&self.pattern.root, miss.pat, &mut path);
            self.best = Some(NearMiss { matched, path: path.join(" > "), reason: self.reason(miss) });
        }
    }
}

/// The rank of a match whose conditions do not hold.
const WHOLE: usize = usize::MAX;

impl<H: Host> Tracer<'_, H> {
    fn has_part(&self, found: &Found<H>) -> bool {
        self.part.is_none_or(|part| found.nodes.iter().any(|n| part(*n)))
    }

    fn reason(&self, miss: &Miss<'_, H>) -> String {
        let Some(value) = miss.value else { return format!("needs {}, the input is absent", needed(miss.pat)) };
        match (miss.pat, miss.node) {
            (Pat::Call(call), Some(node)) => self.call(call, node, miss.state),
            (Pat::Call(call), None) => {
                let there = self.host.definitions(value);
                let fits = there.iter().any(|n| call.ops.contains(&self.host.call(*n).0));
                if fits {
                    format!("{} is used outside the match too", (self.name)(value))
                } else {
                    format!("needs {}, finds {}", needed(miss.pat), self.what(value))
                }
            }
            (Pat::Var(var) | Pat::Optional(var), _) => {
                format!(
                    "{} is {}, here it would be {}",
                    self.var(*var),
                    self.bound(&miss.state.bindings[*var]),
                    (self.name)(value)
                )
            }
            (Pat::Scalar(_) | Pat::Near(_), _) => {
                let found = match self.host.constant(value).and_then(|t| t.as_scalar_f32()) {
                    Some(found) => format!("the constant {found:?}"),
                    None => self.what(value),
                };
                format!("needs {}, finds {found}", needed(miss.pat))
            }
            _ => format!("needs {}, finds {}", needed(miss.pat), self.what(value)),
        }
    }

    /// Why a call with a right operator does not fit.
    fn call(&self, pat: &CallPat, node: H::Node, state: &Found<H>) -> String {
        let (op, attrs) = self.host.call(node);
        let sig = op.signature();
        let count = self.host.input_count(node);
        let extra = (pat.inputs.len()..count).find(|i| self.host.input(node, *i).is_some());
        if let (None, Some(i)) = (&pat.rest, extra) {
            let input = sig.inputs.get(i).map_or(String::new(), |s| format!(" (`{}`)", s.name));
            return format!("`{op}` has an input {i}{input}, which the pattern does not name");
        }
        for (name, field) in &pat.fields {
            let value = sig.attr(attrs, name);
            let shown = show_value(value.as_ref());
            match field {
                FieldPat::Equals(want) if value.as_ref() != Some(want) => {
                    return format!("`{name}` of `{op}` is {shown}, not {want}");
                }
                FieldPat::Bind(var) => {
                    if let Binding::Field(bound) = &state.bindings[*var]
                        && *bound != value
                    {
                        return format!(
                            "{} is {}, here `{name}` of `{op}` is {shown}",
                            self.var(*var),
                            show_value(bound.as_ref())
                        );
                    }
                }
                FieldPat::Equals(_) => {}
            }
        }
        let given = attrs.iter().find(|(name, _)| !pat.fields.iter().any(|(f, _)| f == name));
        if let (true, Some((name, value))) = (pat.others_default, given) {
            return format!("`{name}` of `{op}` is {value}, which the pattern does not name");
        }
        if let Some(var) = pat.attrs
            && let Binding::Record(bound) = &state.bindings[var]
            && self.host.call(*bound) != (op, attrs)
        {
            return format!("{} is bound to the attributes of another call, which differ", self.var(var));
        }
        format!("`{op}` has {count} inputs, and they are not those of the pattern")
    }

    /// What computes a value.
    fn what(&self, value: H::Value) -> String {
        let mut ops: Vec<&str> = self.host.definitions(value).iter().map(|n| self.host.call(*n).0.name()).collect();
        ops.dedup();
        let name = (self.name)(value);
        if let [_, ..] = ops[..] {
            format!("`{}` ({name})", ops.join("` or `"))
        } else if self.host.is_constant(value) {
            format!("the parameter {name}")
        } else if self.host.projections(value).is_empty() {
            format!("the input {name}")
        } else {
            format!("an output of {name}")
        }
    }

    fn var(&self, var: VarId) -> String {
        format!("?{}", self.pattern.vars[var].name)
    }

    fn bound(&self, binding: &Binding<H>) -> String {
        match binding {
            Binding::Value(v) => format!("bound to {}", (self.name)(*v)),
            Binding::Absent => "bound to an absent input".to_owned(),
            Binding::Field(a) => format!("bound to {}", show_value(a.as_ref())),
            Binding::Unset | Binding::Record(_) | Binding::Node(_) | Binding::Seq(_) => "bound already".to_owned(),
        }
    }
}

/// What a part of a pattern asks for.
fn needed(pat: &Pat) -> String {
    match pat {
        Pat::Any | Pat::Var(_) | Pat::Optional(_) => "a value".to_owned(),
        Pat::None => "no input".to_owned(),
        Pat::Scalar(v) => format!("the constant {v:?}"),
        Pat::Near(v) => format!("a constant near {v:?}"),
        Pat::Call(call) => format!("`{}`", ops(call).replace('|', "` or `")),
        Pat::Either(pats) => pats.iter().map(needed).collect::<Vec<_>>().join(" or "),
        Pat::Output { of, .. } => format!("an output of {}", needed(of)),
    }
}

fn ops(call: &CallPat) -> String {
    call.ops.iter().map(|op| op.name()).collect::<Vec<_>>().join("|")
}

/// The path from `pat` to a part of it, by identity.
fn find(pat: &Pat, part: &Pat, path: &mut Vec<String>) -> bool {
    if std::ptr::eq(pat, part) {
        if let (Pat::Call(call), true) = (pat, path.is_empty()) {
            path.push(ops(call));
        }
        return true;
    }
    match pat {
        Pat::Call(call) => call.inputs.iter().chain(&call.rest).enumerate().any(|(i, input)| {
            path.push(format!("{}[{i}]", ops(call)));
            let found = find(input, part, path);
            if !found {
                path.pop();
            }
            found
        }),
        Pat::Either(pats) => pats.iter().any(|p| find(p, part, path)),
        Pat::Output { of, .. } => find(of, part, path),
        _ => false,
    }
}

/// A condition that does not hold, with the values it compares.
fn condition<H: Host>(env: Env<'_, H>, failed: &Expr, vars: &[Var]) -> String {
    if let Expr::Call(function, args) = failed {
        // Of a conjunction, the part that fails.
        if function.name == "and"
            && let Some(part) = args.iter().find(|a| !env.holds(a))
        {
            return condition(env, part, vars);
        }
        let facts: Vec<String> = args
            .iter()
            .filter(|a| !matches!(a, Expr::Literal(_) | Expr::Value(_)))
            .map(|a| format!("{} is {}", show(a, vars), show_value(env.eval(a).as_ref())))
            .collect();
        if !facts.is_empty() {
            return format!("{} does not hold: {}", show(failed, vars), facts.join(", "));
        }
    }
    format!("{} does not hold", show(failed, vars))
}

fn show_value(value: Option<&Attr>) -> String {
    value.map_or("not given".to_owned(), ToString::to_string)
}

/// An expression as it is written.
fn show(at: &Expr, vars: &[Var]) -> String {
    expr(at, &|v| format!("?{}", vars[v].name))
}
