//! Near misses: the examples of all rules with constants, attributes, sizes and operand orders changed at random, with sizes that are
//! known and with sizes that are names or unknown until the graph runs. Whatever the rules make of them, chosen or not, it must compute
//! the same. This is what finds a condition that a rule forgot.

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

    /// The inputs with sizes that are open until the graph runs: one name for all dimensions of a size, one of its own, or none. Any size
    /// may be open, 1 included.
    fn opened(&mut self) -> Vec<ExampleInput> {
        let mut opened = self.inputs.clone();
        for (i, input) in opened.iter_mut().enumerate().filter(|(_, input)| !input.constant) {
            for (axis, dim) in input.ty.shape.0.iter_mut().enumerate() {
                *dim = match (self.rng.random_range(0..5), dim.known()) {
                    (0, Some(size)) => Dim::symbol(&format!("S{size}")),
                    (1, Some(_)) => Dim::symbol(&format!("D{i}x{axis}")),
                    (2, Some(_)) => Dim::Unknown,
                    _ => continue,
                };
            }
        }
        opened
    }
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

/// What a graph knows of its result's sizes.
fn result_shape(graph: &Graph) -> Option<Shape> {
    graph.outputs().first().map(|(_, value)| graph.ty(*value).shape.clone())
}

/// Rewrites a variant, whose sizes may be open, and compares: whether the rules did something with it, and how many results that were not
/// chosen were compared too. `None` if it is no valid graph or its values say nothing.
fn check(rule: &Rule, example: &Example, rules: &RuleSet, seed: u64, open: bool) -> Option<(bool, usize)> {
    let mut rng = quantc_testkit::rng(seed);
    let mut variant = Variant { rng: &mut rng, inputs: example.inputs.clone() };
    if variant.one_in(2) {
        variant.sizes();
    }
    let term = variant.term(&example.before);
    let declared = if open { variant.opened() } else { variant.inputs.clone() };
    let inputs = variant.inputs;
    let graph = example_graph(&term, &declared, Some(seed)).ok()?;
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
    let (was, is) = (result_shape(&graph), result_shape(&after));
    let kept = was.as_ref().zip(is.as_ref()).is_some_and(|(was, is)| is.refine(was).as_ref() == Some(is));
    assert!(kept, "{}\n{after}", context("a type that says less"));
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
    Some((!used.is_empty(), others.len()))
}

/// Variants of all examples: how many there are, are valid, and were rewritten, and how many results were not chosen.
fn check_all(open: bool) -> [usize; 4] {
    let library = Library::builtin().unwrap_or_else(|e| panic!("{e}"));
    let (mut all, mut valid, mut rewritten, mut others) = (0, 0, 0, 0);
    for rule in &library.rules.rules {
        for example in &rule.examples {
            for seed in 1..=40 {
                all += 1;
                if let Some((used, compared)) = check(rule, example, &library.rules, seed, open) {
                    valid += 1;
                    rewritten += usize::from(used);
                    others += compared;
                }
            }
        }
    }
    [all, valid, rewritten, others]
}

#[test]
fn near_misses_of_examples_keep_their_meaning() {
    let [all, valid, rewritten, others] = check_all(false);
    assert!(valid * 2 > all && rewritten * 2 > valid, "{rewritten} rewritten of {valid} valid of {all}");
    assert!(others * 2 > valid, "{others} results that were not chosen of {valid}");
}

#[test]
fn near_misses_of_open_sizes_keep_their_meaning() {
    let [all, valid, rewritten, others] = check_all(true);
    assert!(valid * 2 > all && rewritten * 3 > valid, "{rewritten} rewritten of {valid} valid of {all}");
    assert!(others * 2 > valid, "{others} results that were not chosen of {valid}");
}
