//! The examples of rules as tests: the rule must make the one term of the other, and both must compute the same.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use egg::Id;
use quantc_interp::Interpreter;
use quantc_ir::{Graph, ValueRef};
use quantc_pattern::ast::{ExampleInput, Term};
use quantc_pattern::why_not::{Outcome, why_not};
use quantc_pattern::{Example, QpatError, Rule, RuleClass, Span};
use quantc_tensor::{DType, Gap, Tensor};

use crate::apply::{Applier, CallPlan, Matched, Plan, Refusal, constant};
use crate::encode::encode;
use crate::host::View;
use crate::lang::{EGraph, ENode, LEAF, OUTPUT};
use crate::regions::Region;
use crate::report::Budget;
use crate::saturate::{Scope, saturate};

/// Checks every example of a rule: the first thing that is wrong with each.
pub fn check_examples(rule: &Rule) -> Vec<QpatError> {
    let check = |example: &Example| check_structure(rule, example).and_then(|()| check_values(rule, example)).err();
    rule.examples.iter().filter_map(check).collect()
}

fn wrong(rule: &Rule, at: &Span, message: impl fmt::Display) -> QpatError {
    QpatError::new(at, format!("example of `{}`: {message}", rule.name))
}

/// The rule alone, on the left-hand term, must make it equal to the right-hand term.
fn check_structure(rule: &Rule, example: &Example) -> Result<(), QpatError> {
    let mut graph = Graph::new("example");
    let inputs = declare(&mut graph, &example.inputs, Some(0));
    let outputs: Vec<_> = inputs.iter().map(|(name, v)| (name.clone(), *v)).collect();
    graph.set_outputs(&outputs);
    let mut encoded = encode(&graph, &Region::whole(&graph));
    // The inputs are the outputs, so that all of them are there.
    let roots = encoded.egraph.id_to_node(encoded.root).children.clone();
    let classes: HashMap<Arc<str>, Id> = inputs.iter().map(|(name, _)| name.clone()).zip(roots).collect();
    let add = |egraph: &mut EGraph, term: &Term| {
        let plan = plan(term, &classes)?;
        match Applier::new(egraph, 0, &Matched::default(), usize::MAX).add(&plan, true) {
            Ok(class) => class.ok_or_else(|| "a term can't be `none`".to_owned()),
            Err(Refusal::Unfit(reason)) => Err(reason),
            Err(Refusal::Full) => Err("it is too large".to_owned()),
        }
    };
    let untyped = |at: &Span, side: &str, reason: String| {
        wrong(rule, at, format!("the {side} side does not type: {reason}")).hint("its inputs have the types of :inputs")
    };
    let (left, right) = (&example.before_span, &example.after_span);
    let before = add(&mut encoded.egraph, &example.before).map_err(|e| untyped(left, "left", e))?;
    encoded.egraph.rebuild();
    let saturation = saturate(&mut encoded.egraph, &[rule], &Budget::default(), Scope::Changed);
    let made = Writer { egraph: &encoded.egraph, names: &classes }.term(encoded.egraph.find(before), &[]);
    let after = add(&mut encoded.egraph, &example.after).map_err(|e| untyped(right, "right", e))?;
    encoded.egraph.rebuild();
    let counts = &saturation.counts[0];
    let near_miss = || near_miss(rule, &encoded.egraph, encoded.egraph.find(before), &classes);
    if encoded.egraph.find(before) == encoded.egraph.find(after) {
        return match (counts.applied, counts.matched) {
            (0, 0) => Err(wrong(rule, left, "the rule does not match the left side, which is the right side already")
                .hint(near_miss())),
            (0, _) => {
                Err(wrong(rule, left, "the rule changes nothing of it").hint("the two sides are the same already"))
            }
            _ => Ok(()),
        };
    }
    Err(match (counts.matched, counts.rejected.keys().next()) {
        (0, _) => wrong(rule, left, "the rule does not match the left side").hint(near_miss()),
        (_, Some(reason)) => wrong(rule, left, format!("the rule matches but can't be applied: {reason}"))
            .hint(format!("it puts {} there", rule.template_text())),
        _ => wrong(rule, right, "the rule makes something else of the left side").hint(format!("it makes {made}")),
    })
}

/// What keeps a rule from matching at a class, as a hint.
fn near_miss(rule: &Rule, egraph: &EGraph, class: Id, names: &HashMap<Arc<str>, Id>) -> String {
    let view = View::new(egraph);
    let name = |c: Id| Writer { egraph, names }.term(c, &[]);
    match why_not(&view, &rule.pattern, &rule.conditions, class, &name, None) {
        Outcome::Misses(miss) => {
            let calls = rule.pattern.calls();
            format!("{} of {calls} calls match, then at {}: {}", miss.matched, miss.path, miss.reason)
        }
        Outcome::Matches | Outcome::Without => "it does once the left side is rewritten".to_owned(),
    }
}

/// Classes of an e-graph as terms.
struct Writer<'a> {
    egraph: &'a EGraph,
    names: &'a HashMap<Arc<str>, Id>,
}

impl Writer<'_> {
    /// An input by its name, a number, or the call that was made last: what a rule puts in place of another. `above` are the
    /// classes that this one is a part of: a class may contain itself.
    fn term(&self, class: Id, above: &[Id]) -> String {
        if let Some((name, _)) = self.names.iter().filter(|(_, id)| self.egraph.find(**id) == class).min() {
            return name.to_string();
        }
        let facts = &self.egraph.analysis;
        let within = [above, &[class]].concat();
        let finite = |n: &&ENode| n.children.iter().all(|c| !within.contains(&self.egraph.find(*c)));
        let nodes = self.egraph[class].nodes.iter().filter(finite);
        let Some(node) = nodes.max_by_key(|n| n.provenance) else { return "..".to_owned() };
        let inputs = || node.children.iter().map(|c| self.term(self.egraph.find(*c), &within));
        match (node.op, facts.op(node.op)) {
            (_, Some(op)) => {
                let mut inputs: Vec<String> = inputs().collect();
                // Inputs that are left out at the end are absent.
                inputs.truncate(inputs.iter().rposition(|i| i != "none").map_or(0, |last| last + 1));
                let attrs = facts.attrs[node.payload as usize].iter();
                let words = inputs.into_iter().chain(attrs.map(|(name, value)| format!(":{name} {value}")));
                format!("({op} {})", words.collect::<Vec<_>>().join(" "))
            }
            (OUTPUT, _) => format!("(output {} {})", node.payload, inputs().collect::<String>()),
            (LEAF, _) => {
                let number = facts.leaves[node.payload as usize].value.as_deref().and_then(Tensor::as_scalar_f32);
                number.map_or("a constant".to_owned(), |v| v.to_string())
            }
            _ => "none".to_owned(),
        }
    }
}

fn plan(term: &Term, inputs: &HashMap<Arc<str>, Id>) -> Result<Plan, String> {
    Ok(match term {
        Term::Input(name) => Plan::Existing(*inputs.get(name).ok_or_else(|| format!("`{name}` is not declared"))?),
        Term::None => Plan::None,
        Term::Const(value) => Plan::Const(Box::new(value.clone())),
        Term::Call { op, inputs: args, attrs } => {
            let args = args.iter().map(|a| plan(a, inputs)).collect::<Result<_, _>>()?;
            Plan::Call(Box::new(CallPlan { op: *op, inputs: args, attrs: attrs.clone() }))
        }
        Term::Output(index, of) => Plan::Output { index: *index, of: Box::new(plan(of, inputs)?) },
    })
}

/// The two sides of an example as graphs, their parameters only declared.
///
/// # Errors
/// If a side is no valid graph.
pub fn example_graphs(example: &Example) -> Result<(Graph, Graph), String> {
    let graph = |term| example_graph(term, &example.inputs, None);
    Ok((graph(&example.before)?, graph(&example.after)?))
}

/// Both terms evaluated on the same random inputs must agree as far as the rule's class promises.
fn check_values(rule: &Rule, example: &Example) -> Result<(), QpatError> {
    let run = |term, at: &Span, side: &str, seed| {
        run(term, &example.inputs, seed).map_err(|e| {
            wrong(rule, at, format!("the {side} side does not run: {e}")).hint("its inputs have the ranges of :inputs")
        })
    };
    let (left, right) = (&example.before_span, &example.after_span);
    for seed in 1..=4 {
        let before = run(&example.before, left, "left", seed)?;
        let after = run(&example.after, right, "right", seed)?;
        if before.ty() != after.ty() {
            let message = format!("the left side is {}, the right side {}", before.ty(), after.ty());
            return Err(wrong(rule, right, message).hint("what a rule puts there must have the type of what was there"));
        }
        match rule.class {
            RuleClass::Exact | RuleClass::IntExact => {
                if !before.bits_eq(&after) {
                    let error = wrong(rule, right, "the two sides compute different bits");
                    return Err(error.hint(format!(
                        "class {} promises the same bits; (real 1e-6) allows rounding to differ",
                        rule.class
                    )));
                }
            }
            RuleClass::Real { tolerance } | RuleClass::Approximate { tolerance } => {
                let gap = Gap::between(&before, &after);
                if !gap.within(tolerance) {
                    let message =
                        format!("the two sides differ by {}, the largest value being {}", gap.worst, gap.largest);
                    return Err(wrong(rule, right, message)
                        .hint(format!("class {} allows {tolerance:e} times the largest value", rule.class)));
                }
                // Where nothing is a number, nothing is proven.
                if before.numel() > 0 && before.to_f32_vec().iter().all(|v| !v.is_finite()) {
                    let error = wrong(rule, left, "the left side has no finite value");
                    return Err(error.hint("another range: :inputs (x f32[2] 0.1 2)"));
                }
            }
        }
    }
    Ok(())
}

fn run(term: &Term, inputs: &[ExampleInput], seed: u64) -> Result<Tensor, String> {
    let graph = example_graph(term, inputs, Some(seed))?;
    let given: Vec<(&str, Tensor)> =
        inputs.iter().enumerate().filter(|(_, i)| !i.constant).map(|(n, i)| (&*i.name, random(i, seed, n))).collect();
    let outputs = Interpreter::new(&graph).run(&given).map_err(|e| e.to_string())?;
    outputs.into_iter().next().map(|o| o.1).ok_or_else(|| "no result".to_owned())
}

/// A term as a graph; its parameters have random values of that seed, or none.
pub(crate) fn example_graph(term: &Term, inputs: &[ExampleInput], seed: Option<u64>) -> Result<Graph, String> {
    let mut graph = Graph::new("example");
    let values: HashMap<Arc<str>, ValueRef> = declare(&mut graph, inputs, seed).into_iter().collect();
    let result = build(&mut graph, term, &values)?.ok_or("a term can't be `none`")?;
    graph.set_outputs(&[(Arc::from("result"), result)]);
    graph.eliminate_dead();
    graph.verify().map_err(|e| e.to_string())?;
    Ok(graph)
}

fn declare(graph: &mut Graph, inputs: &[ExampleInput], seed: Option<u64>) -> Vec<(Arc<str>, ValueRef)> {
    let mut out = Vec::new();
    for (n, input) in inputs.iter().enumerate() {
        let id = match seed {
            _ if !input.constant => graph.placeholder(&input.name, input.ty.clone()),
            Some(seed) => graph.param(&input.name, random(input, seed, n)),
            None => graph.declare_param(&input.name, input.ty.clone()),
        };
        out.push((input.name.clone(), id.into()));
    }
    out
}

fn build(graph: &mut Graph, term: &Term, inputs: &HashMap<Arc<str>, ValueRef>) -> Result<Option<ValueRef>, String> {
    Ok(Some(match term {
        Term::None => return Ok(None),
        Term::Input(name) => *inputs.get(name).ok_or_else(|| format!("`{name}` is not declared"))?,
        Term::Const(value) => {
            let name = graph.fresh_param_name("const");
            graph.param(&name, constant(value).ok_or("a constant must be a number or a list")?).into()
        }
        Term::Call { op, inputs: args, attrs } => {
            let args = args.iter().map(|a| build(graph, a, inputs)).collect::<Result<Vec<_>, _>>()?;
            graph.call(op.name(), *op, &args, attrs.clone(), &[]).map_err(|e| e.to_string())?.into()
        }
        Term::Output(index, of) => {
            let whole = build(graph, of, inputs)?.ok_or("a term can't be `none`")?;
            ValueRef { node: whole.node, output: *index }
        }
    }))
}

/// Values spread over the input's range, the same for the same seed.
pub(crate) fn random(input: &ExampleInput, seed: u64, number: usize) -> Tensor {
    let shape = input.ty.shape.to_known().unwrap_or_default();
    let len: usize = shape.iter().product();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((number as u64 + 1) << 32);
    let (lo, hi) = input.range;
    let data: Vec<f32> = (0..len)
        .map(|_| {
            // xorshift64* (Vigna 2016).
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            let unit = (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 / (1u32 << 24) as f32;
            let v = lo + unit * (hi - lo);
            if input.ty.dtype == DType::F32 { v } else { v.round() }
        })
        .collect();
    let tensor = Tensor::from_vec(&shape, data).unwrap_or_else(|_| Tensor::full(&shape, lo));
    tensor.cast(input.ty.dtype)
}
