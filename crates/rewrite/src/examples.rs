//! The examples of rules as tests: the rule must make the one term of the other, and both must compute the same.

use std::collections::HashMap;
use std::sync::Arc;

use egg::Id;
use quantc_interp::Interpreter;
use quantc_ir::{Graph, ValueRef};
use quantc_pattern::ast::{ExampleInput, Term};
use quantc_pattern::{Example, Rule, RuleClass};
use quantc_tensor::{DType, Gap, Tensor};

use crate::apply::{Applier, CallPlan, Matched, Plan, Refusal, constant};
use crate::encode::encode;
use crate::regions::Region;
use crate::report::Budget;
use crate::saturate::{Scope, saturate};

/// Checks every example of a rule; the messages say what is wrong with which, the first thing of each.
pub fn check_examples(rule: &Rule) -> Vec<String> {
    let mut failures = Vec::new();
    for example in &rule.examples {
        if let Err(message) = check_structure(rule, example).and_then(|()| check_values(rule, example)) {
            failures.push(format!("{}: example of `{}`: {message}", example.span, rule.name));
        }
    }
    failures
}

/// The rule alone, on the left-hand term, must make it equal to the right-hand term.
fn check_structure(rule: &Rule, example: &Example) -> Result<(), String> {
    let mut graph = Graph::new("example");
    let inputs = declare(&mut graph, &example.inputs, Some(0));
    let outputs: Vec<_> = inputs.iter().map(|(name, v)| (name.clone(), *v)).collect();
    graph.set_outputs(&outputs);
    let mut encoded = encode(&graph, &Region::whole(&graph));
    // The inputs are the outputs, so that all of them are there.
    let roots = encoded.egraph.id_to_node(encoded.root).children.clone();
    let classes: HashMap<Arc<str>, Id> = inputs.iter().map(|(name, _)| name.clone()).zip(roots).collect();
    let add = |egraph: &mut crate::lang::EGraph, term: &Term| {
        let plan = plan(term, &classes)?;
        match Applier::new(egraph, 0, &Matched::default(), usize::MAX).add(&plan, true) {
            Ok(class) => class.ok_or_else(|| "a term can't be `none`".to_owned()),
            Err(Refusal::Unfit(reason)) => Err(reason),
            Err(Refusal::Full) => Err("it is too large".to_owned()),
        }
    };
    let before = add(&mut encoded.egraph, &example.before).map_err(|e| format!("the left side does not type: {e}"))?;
    encoded.egraph.rebuild();
    let saturation = saturate(&mut encoded.egraph, &[rule], &Budget::default(), Scope::Changed);
    let after = add(&mut encoded.egraph, &example.after).map_err(|e| format!("the right side does not type: {e}"))?;
    encoded.egraph.rebuild();
    let counts = &saturation.counts[0];
    if encoded.egraph.find(before) == encoded.egraph.find(after) {
        return match (counts.applied, counts.matched) {
            (0, 0) => Err("the rule does not match the left side, which is the right side already".to_owned()),
            (0, _) => Err("the rule changes nothing of it".to_owned()),
            _ => Ok(()),
        };
    }
    Err(match (counts.matched, counts.rejected.keys().next()) {
        (0, _) => "the rule does not match the left side".to_owned(),
        (_, Some(reason)) => format!("the rule matches but can't be applied: {reason}"),
        _ => "the rule makes something else of the left side".to_owned(),
    })
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
fn check_values(rule: &Rule, example: &Example) -> Result<(), String> {
    for seed in 1..=4 {
        let before = run(&example.before, &example.inputs, seed)?;
        let after = run(&example.after, &example.inputs, seed)?;
        if before.ty() != after.ty() {
            return Err(format!("the left side is {}, the right side {}", before.ty(), after.ty()));
        }
        match rule.class {
            RuleClass::Exact | RuleClass::IntExact => {
                if !before.bits_eq(&after) {
                    return Err("the two sides compute different bits".to_owned());
                }
            }
            RuleClass::Real { tolerance } | RuleClass::Approximate { tolerance } => {
                let gap = Gap::between(&before, &after);
                if !gap.within(tolerance) {
                    return Err(format!(
                        "the two sides differ by {}, the largest value being {}",
                        gap.worst, gap.largest
                    ));
                }
                // Where nothing is a number, nothing is proven.
                if before.numel() > 0 && before.to_f32_vec().iter().all(|v| !v.is_finite()) {
                    return Err("the left side has no finite value (hint: another range in :inputs)".to_owned());
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
