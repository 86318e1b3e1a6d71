//! Random networks for property tests: small graphs over nearly every float operator that quantization meets.
//!
//! A network is written by a list of [`Gene`]s, each of which adds one operator to the values there so far. Every list gives a valid
//! graph (a gene that fits nothing adds nothing), so a list shrinks by dropping genes and lowering bytes.

mod layers;
mod moves;

use std::sync::Arc;

use quantc_ir::{Graph, Origin, ValueRef};
use quantc_ops::{Attrs, lookup};
use quantc_tensor::{DType, Dim, Shape, Tensor, TensorType};
use rand::RngExt;

use crate::{rng, with_random_params};

/// One step of a network: bytes from which the operator, its operands and its attributes are chosen. Zeros choose the simplest.
pub type Gene = [u8; 20];

/// Values with more elements per sample are not used further.
const MAX_ELEMENTS: usize = 6000;

/// The network that a list of genes writes, with parameters drawn from the seed. It has one or two inputs of a symbolic batch size
/// `N`; its outputs are the values that nothing uses and a few others, now and then an input.
pub fn network(genes: &[Gene], seed: u64) -> Graph {
    let mut net = Net::new(genes.first());
    for gene in genes {
        net.grow(gene);
    }
    with_odd_params(with_random_params(net.finish(genes.last()), seed), seed)
}

/// The graph with some weights as trained networks have them now and then: a dead channel, far too small or far too large. For odd seeds
/// the largest weight of each row is 127/256 instead, so that symmetric scales are powers of two: rounding then meets many halves.
fn with_odd_params(mut graph: Graph, seed: u64) -> Graph {
    let mut rng = rng(!seed);
    let drawn: Vec<_> = graph.params().iter().filter_map(|(n, p)| Some((n.clone(), p.value.clone()?))).collect();
    for (name, value) in drawn {
        let (Ok(data), true) = (value.slice::<f32>(), name.ends_with(".w")) else { continue };
        let row = (value.numel() / value.shape().first().copied().unwrap_or(1).max(1)).max(1);
        let data: Vec<f32> = if seed % 2 == 1 && value.rank() > 1 {
            data.chunks(row).flat_map(normalized).collect()
        } else {
            let odd = rng.random_range(0..40u32);
            let factor = |i: usize| match odd {
                0 if i < row => 0.0,
                1 if i < row => 1e-8,
                2 => 1e-3,
                3 => 30.0,
                _ => 1.0,
            };
            data.iter().enumerate().map(|(i, v)| v * factor(i)).collect()
        };
        if let Ok(value) = Tensor::from_vec(value.shape(), data) {
            graph.set_param(&name, value);
        }
    }
    graph
}

/// The numbers scaled so that the largest magnitude is 127/256.
fn normalized(row: &[f32]) -> Vec<f32> {
    const LARGEST: f32 = 127.0 / 256.0;
    let largest = row.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
    row.iter().map(|v| if v.abs() == largest { LARGEST.copysign(*v) } else { v / largest * LARGEST }).collect()
}

/// What a gene still has to say.
pub(crate) struct Choices<'g> {
    bytes: &'g [u8],
    at: usize,
}

impl Choices<'_> {
    /// A number below `n`; 0 once the bytes are used up.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        usize::from(byte) % n.max(1)
    }

    /// One of a list.
    pub(crate) fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// True once in `n`.
    pub(crate) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }
}

/// A network being written.
pub(crate) struct Net {
    graph: Graph,
    values: Vec<ValueRef>,
    params: usize,
}

/// Adds an operator; `None` if it fits no value.
type Adder = fn(&mut Net, &mut Choices<'_>) -> Option<()>;

/// Operators, the usual ones several times.
const ADDERS: &[Adder] = &[
    layers::conv2d,
    layers::conv2d,
    layers::conv2d,
    layers::conv2d,
    layers::conv1d,
    layers::conv_transpose,
    layers::volume,
    layers::linear,
    layers::linear,
    layers::matmul,
    layers::activation,
    layers::activation,
    layers::activation,
    layers::clamping,
    layers::clamping,
    layers::binary,
    layers::binary,
    layers::binary,
    layers::with_constant,
    layers::residual,
    layers::residual,
    layers::norm,
    layers::preactivation,
    layers::softmax,
    layers::max_pool,
    layers::avg_pool,
    layers::adaptive_pool,
    layers::mean,
    moves::cat,
    moves::cat,
    moves::split,
    moves::slice,
    moves::reshape,
    moves::permute,
    moves::pad,
    moves::upsample,
    moves::gather,
];

impl Net {
    fn new(gene: Option<&Gene>) -> Net {
        let mut net = Net { graph: Graph::new("net"), values: Vec::new(), params: 0 };
        let mut choices = Choices { bytes: gene.map_or(&[], |g| &g[8..]), at: 0 };
        let channels = 1 + choices.below(9);
        let image = [channels, 3 + choices.below(8), 3 + choices.below(8)];
        net.input("x", &image);
        match choices.below(4) {
            1 => net.input("y", &image),
            2 => net.input("y", &[1 + choices.below(7), 1 + choices.below(9)]),
            3 => net.input("y", &[1 + choices.below(20)]),
            _ => {}
        }
        net
    }

    fn input(&mut self, name: &str, sample: &[usize]) {
        let dims = std::iter::once(Dim::Symbol(Arc::from("N"))).chain(sample.iter().map(|&n| Dim::Known(n)));
        let ty = TensorType::new(DType::F32, dims.collect::<Shape>());
        let id = self.graph.placeholder(name, ty);
        self.values.push(id.into());
    }

    fn grow(&mut self, gene: &Gene) {
        let mut choices = Choices { bytes: gene, at: 0 };
        let adder = choices.of(ADDERS);
        // One that fits no value adds nothing.
        let _ = adder(self, &mut choices);
    }

    fn finish(mut self, gene: Option<&Gene>) -> Graph {
        let mut choices = Choices { bytes: gene.map_or(&[], |g| &g[10..]), at: 0 };
        let mut outputs: Vec<ValueRef> =
            self.values.iter().copied().filter(|v| self.graph.users(*v).is_empty()).collect();
        let more = choices.below(3).max(usize::from(outputs.is_empty()));
        for _ in 0..more {
            let value = self.values[choices.below(self.values.len())];
            if !outputs.contains(&value) {
                outputs.push(value);
            }
        }
        let named: Vec<(Arc<str>, ValueRef)> =
            outputs.into_iter().enumerate().map(|(i, v)| (Arc::from(format!("out{i}")), v)).collect();
        self.graph.set_outputs(&named);
        self.graph
    }

    /// Sizes of a value without the batch.
    pub(crate) fn sample(&self, value: ValueRef) -> Vec<usize> {
        self.graph.ty(value).shape.dims()[1..].iter().map(|d| d.known().unwrap_or(0)).collect()
    }

    /// A value, rather a recent one, whose sample has one of these ranks.
    pub(crate) fn pick(&self, choices: &mut Choices<'_>, ranks: &[usize]) -> Option<ValueRef> {
        let fits = |v: &ValueRef| ranks.contains(&self.sample(*v).len());
        let candidates: Vec<ValueRef> = self.values.iter().rev().copied().filter(fits).collect();
        let any = choices.below(256);
        match candidates.len() {
            0 => None,
            // The last one or two most of the time.
            n => Some(
                candidates[if any < 100 {
                    0
                } else if any < 140 {
                    1 % n
                } else {
                    any % n
                }],
            ),
        }
    }

    /// A parameter to be drawn.
    pub(crate) fn param(&mut self, shape: &[usize]) -> ValueRef {
        self.named_param("w", shape)
    }

    /// A parameter to be drawn whose name says how.
    pub(crate) fn named_param(&mut self, name: &str, shape: &[usize]) -> ValueRef {
        self.params += 1;
        let name = format!("p{}.{name}", self.params);
        self.graph.declare_param(&name, TensorType::new(DType::F32, Shape::known(shape))).into()
    }

    /// A constant.
    pub(crate) fn constant(&mut self, value: Tensor) -> ValueRef {
        self.params += 1;
        self.graph.param(&format!("p{}.c", self.params), value).into()
    }

    /// A call whose results are values of the network if they have known sizes, no more than [`MAX_ELEMENTS`] and the batch first;
    /// `None`, and no call, if the operator refuses its operands.
    pub(crate) fn add(&mut self, op: &str, inputs: &[Option<ValueRef>], attrs: Attrs) -> Option<ValueRef> {
        let id = self.call(op, inputs, attrs)?;
        self.keep(id);
        Some(id)
    }

    /// Makes the results of a call values of the network, as [`Net::add`].
    pub(crate) fn keep(&mut self, call: ValueRef) {
        for output in 0..self.graph.node(call.node).types().len() as u32 {
            let value = ValueRef { node: call.node, output };
            let shape = self.graph.ty(value).shape.dims();
            let batched = matches!(shape.first(), Some(Dim::Symbol(_))) && shape.len() > 1;
            let elements = shape.iter().skip(1).map(Dim::known).try_fold(1usize, |n, d| Some(n * d?));
            if batched && elements.is_some_and(|n| (1..=MAX_ELEMENTS).contains(&n)) {
                self.values.push(value);
            }
        }
    }

    /// A call whose result only another call uses.
    pub(crate) fn call(&mut self, op: &str, inputs: &[Option<ValueRef>], attrs: Attrs) -> Option<ValueRef> {
        let index = self.graph.len();
        let origin = Origin::new(&format!("block{}.layer{index}", index / 8), op, op, 0);
        let call = self.graph.call(&format!("v{index}"), lookup(op)?, inputs, attrs, &[origin]);
        call.ok().map(ValueRef::from)
    }
}
