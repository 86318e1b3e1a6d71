//! Near misses: the examples of all rules with constants, attributes, sizes and operand orders changed at random, some sizes open.
//! Whatever the rules make of them, chosen or not, it must compute the same. This is what finds a condition that a rule forgot.

use std::collections::BTreeMap;
use std::sync::Arc;

use quantc_interp::Interpreter;
use quantc_ir::Graph;
use quantc_ops::{Attr, Attrs};
use quantc_pattern::ast::{ExampleInput, Term};
use quantc_pattern::{Example, Library, Rule, RuleSet};
use quantc_tensor::{DType, Dim, Gap, Shape, Tensor, TensorType};
use rand::{Rng, RngExt};

use crate::examples::{example_graph, random};
use crate::extract::Extraction;
use crate::lang::CALL;
use crate::phase::{Done, run_watched};
use crate::rebuild::Builder;
use crate::regions::Region;
use crate::{Budget, RewriteReport, fold_constants};

/// A term that is changed step by step, with its inputs.
struct Variant<'r, R> {
    rng: &'r mut R,
    inputs: Vec<ExampleInput>,
}

impl<R: Rng> Variant<'_, R> {
    fn one_in(&mut self, n: u32) -> bool {
        self.rng.random_range(0..n) == 0
    }

    /// An input in place of a constant: not known, or of more elements than one.
    fn input_for(&mut self, shape: &[usize], dtype: DType) -> Term {
        let name: Arc<str> = format!("in{}", self.inputs.len()).into();
        self.inputs.push(ExampleInput {
            name: Arc::clone(&name),
            ty: TensorType::new(dtype, shape.iter().copied().map(Dim::Known).collect::<Shape>()),
            constant: self.rng.random_range(0..2) == 0,
            range: (-1.5, 1.5),
        });
        Term::Input(name)
    }

    fn term(&mut self, term: &Term) -> Term {
        match term {
            Term::Input(_) | Term::None => term.clone(),
            Term::Const(Attr::Float(v)) => match self.rng.random_range(0..5) {
                0 => {
                    let columns = self.inputs.first().and_then(|i| i.ty.shape.dims().last()?.known()).unwrap_or(1);
                    let shapes: [&[usize]; 3] = [&[], &[columns], &[1]];
                    let shape = shapes[self.rng.random_range(0..3)];
                    self.input_for(shape, DType::F32)
                }
                1 => Term::Const(self.number(v.0)),
                _ => term.clone(),
            },
            Term::Const(Attr::Ints(v)) if self.one_in(4) => Term::Const(Attr::Ints(self.integers(v))),
            Term::Const(value) => Term::Const(value.clone()),
            Term::Call { op, inputs, attrs } => {
                let mut inputs: Vec<Term> = inputs.iter().map(|i| self.term(i)).collect();
                if inputs.len() >= 2 && self.one_in(6) {
                    inputs.swap(0, 1);
                }
                let mut changed = Attrs::new();
                for (name, value) in attrs.iter() {
                    match value {
                        value if !self.one_in(4) => changed.set(name, value.clone()),
                        Attr::Float(v) => changed.set(name, self.number(v.0)),
                        Attr::Int(v) => changed.set(name, v + self.rng.random_range(-1..=1)),
                        Attr::Bool(v) => changed.set(name, !v),
                        Attr::Ints(v) => changed.set(name, self.integers(v)),
                        Attr::Floats(v) => {
                            changed.set(name, v.iter().map(|f| f.0 + 0.25).collect::<Vec<f32>>());
                        }
                        Attr::Str(_) | Attr::DType(_) => changed.set(name, value.clone()),
                    }
                }
                Term::Call { op: *op, inputs, attrs: changed }
            }
            Term::Output(i, of) => Term::Output(*i, Box::new(self.term(of))),
        }
    }

    fn number(&mut self, v: f32) -> Attr {
        let values = [-v, v + 1.0, v * 1.001, 0.0, 1.0, v / 2.0];
        Attr::from(values[self.rng.random_range(0..values.len())])
    }

    fn integers(&mut self, v: &[i64]) -> Vec<i64> {
        v.iter().map(|i| if self.one_in(2) { i + self.rng.random_range(-1..=1) } else { *i }).collect()
    }

    /// Other sizes, the same where they were the same; some inputs broadcast; some are constants or no longer.
    fn sizes(&mut self) {
        let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
        for i in 0..self.inputs.len() {
            let mut dims = Vec::new();
            for dim in self.inputs[i].ty.shape.dims() {
                let old = dim.known().unwrap_or(2);
                let next = old + self.rng.random_range(0..3usize);
                dims.push(if old <= 1 { old } else { *sizes.entry(old).or_insert(next) });
            }
            if self.one_in(8) && !dims.is_empty() {
                let at = self.rng.random_range(0..dims.len());
                dims[at] = 1;
            }
            if self.one_in(8) && !dims.is_empty() {
                dims.remove(0);
            }
            let input = &mut self.inputs[i];
            input.ty.shape = dims.into_iter().map(Dim::Known).collect::<Shape>();
            if self.rng.random_range(0..8) == 0 {
                input.constant = !input.constant;
            }
        }
    }
}

/// The inputs with one of their sizes open, wherever it occurs.
fn open(inputs: &[ExampleInput], rng: &mut impl Rng) -> Vec<ExampleInput> {
    let mut sizes: Vec<usize> = inputs.iter().filter_map(|i| i.ty.shape.to_known()).flatten().collect();
    sizes.retain(|n| *n > 1);
    let mut inputs = inputs.to_vec();
    if !sizes.is_empty() {
        let size = sizes[rng.random_range(0..sizes.len())];
        let dim = if rng.random_range(0..3) == 0 { Dim::Unknown } else { Dim::symbol("n") };
        // Parameters have values, and so sizes.
        for input in inputs.iter_mut().filter(|i| !i.constant) {
            let dims = input.ty.shape.dims().iter();
            input.ty.shape = dims.map(|d| if d.known() == Some(size) { dim.clone() } else { d.clone() }).collect();
        }
    }
    inputs
}

/// Results that were not chosen: for each class of the result each node that is not in it, up to a limit.
fn not_chosen(done: &Done<'_>) -> Vec<Graph> {
    let names: Vec<Arc<str>> = done.rules.iter().map(|r| r.name.clone()).collect();
    let egraph = &done.encoded.egraph;
    let extraction = Extraction::new(egraph, done.encoded.root, done.position).expect("an encoded graph has a term");
    let nodes = done.extracted.nodes.iter().flat_map(|(class, chosen)| {
        egraph[*class].nodes.iter().filter(move |n| n.op >= CALL && *n != chosen).map(|n| (*class, n))
    });
    let forced = nodes.filter_map(|(class, node)| extraction.forcing(class, node));
    let build = |extracted| {
        let mut builder = Builder::new(done.graph);
        builder.rewrite(&Region::whole(done.graph), &done.encoded, &extracted, &names).expect("builds");
        builder.finish().expect("builds").graph
    };
    forced.map(build).take(24).collect()
}

fn run(graph: &Graph, inputs: &[ExampleInput], seed: u64) -> Result<Tensor, String> {
    let given: Vec<(&str, Tensor)> = (0..)
        .zip(inputs)
        .filter(|(_, i)| !i.constant && graph.placeholders().any(|p| graph.node(p).name() == &*i.name))
        .map(|(n, i)| (&*i.name, random(i, seed, n)))
        .collect();
    let outputs = Interpreter::new(graph).run(&given).map_err(|e| e.to_string())?;
    outputs.into_iter().next().map(|o| o.1).ok_or_else(|| "no result".to_owned())
}

/// What was checked of a variant.
#[derive(Default)]
struct Checked {
    /// Whether the rules did something with it.
    rewritten: bool,
    /// Whether sizes were open.
    open: bool,
    /// Results that were not chosen.
    others: usize,
}

/// Rewrites a variant and compares; `None` if it is no valid graph or its values say nothing.
fn check(rule: &Rule, example: &Example, rules: &RuleSet, seed: u64) -> Option<Checked> {
    let mut rng = quantc_testkit::rng(seed);
    let mut variant = Variant { rng: &mut rng, inputs: example.inputs.clone() };
    if variant.one_in(2) {
        variant.sizes();
    }
    let term = variant.term(&example.before);
    let inputs = variant.inputs;
    let opened = seed.is_multiple_of(4).then(|| open(&inputs, &mut rng)).filter(|opened| {
        opened.iter().zip(&inputs).any(|(o, i)| o.ty != i.ty) && example_graph(&term, opened, Some(seed)).is_ok()
    });
    let graph = example_graph(&term, opened.as_ref().unwrap_or(&inputs), Some(seed)).ok()?;
    let before = run(&graph, &inputs, seed).ok()?;
    let quantized = before.dtype() != DType::F32;
    if before.to_f32_vec().iter().any(|v| !v.is_finite() || v.abs() > 1e6) {
        return None;
    }
    let mut report = RewriteReport::default();
    let mut others = Vec::new();
    let mut watch = |done: Done<'_>| {
        others.extend(not_chosen(&done));
        Ok(())
    };
    let after = run_watched(&graph, rules, rule.phase, &Budget::default(), &mut report, &mut watch);
    let after = after.and_then(|mut after| {
        fold_constants(&mut after)?;
        Ok(after)
    });
    let context = |message: &str| format!("{}: variant {seed} of `{}`: {message}\n{graph}", example.span, rule.name);
    let after = after.unwrap_or_else(|e| panic!("{}", context(&e.to_string())));
    let used: Vec<f32> = report
        .rules
        .iter()
        .filter(|(_, stats)| stats.applied > 0)
        .filter_map(|(name, stats)| Some(rules.find(name)?.class.tolerance() * stats.applied as f32))
        .collect();
    let allowed = used.iter().sum::<f32>();
    for after in [&after].into_iter().chain(&others) {
        let result = run(after, &inputs, seed).unwrap_or_else(|e| panic!("{}\n{after}", context(&e)));
        assert_eq!(before.shape(), result.shape(), "{}\n{after}", context("another shape"));
        assert_eq!(before.dtype(), result.dtype(), "{}\n{after}", context("another type"));
        let gap = Gap::between(&before, &result);
        let bound = if quantized { 0.0 } else { allowed * gap.largest.max(1.0) * 8.0 };
        assert!(gap.worst <= bound, "{}\n{after}", context(&format!("differs by {}, allowed {bound}", gap.worst)));
    }
    Some(Checked { rewritten: !used.is_empty(), open: opened.is_some(), others: others.len() })
}

#[test]
fn near_misses_of_examples_keep_their_meaning() {
    let library = Library::builtin().unwrap_or_else(|e| panic!("{e}"));
    let (mut all, mut valid, mut rewritten, mut open, mut others) = (0, 0, 0, 0, 0);
    for rule in &library.rules.rules {
        for example in &rule.examples {
            for seed in 1..=40 {
                all += 1;
                if let Some(checked) = check(rule, example, &library.rules, seed) {
                    valid += 1;
                    rewritten += usize::from(checked.rewritten);
                    open += usize::from(checked.open && checked.rewritten);
                    others += checked.others;
                }
            }
        }
    }
    assert!(valid * 2 > all && rewritten * 2 > valid, "{rewritten} rewritten of {valid} valid of {all}");
    assert!(open * 20 > valid, "{open} with open sizes rewritten of {valid}");
    assert!(others * 2 > valid, "{others} results that were not chosen of {valid}");
}
