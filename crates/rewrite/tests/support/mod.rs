//! Random graphs for the properties of rewriting.
// Every test binary uses its part of this.
#![allow(dead_code)]

use std::sync::Arc;

use quantc_interp::Interpreter;
use quantc_ir::{Graph, NodeId, Origin, ValueRef};
use quantc_ops::{Attr, Attrs, lookup};
use quantc_tensor::{DType, Dim, Shape, Tensor, TensorType};
use quantc_testkit::random::{random_tensor, rng, with_random_params};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Shape of the values that convolutions take and give: channels are known, the other sizes may be open. Images are square, so that they
/// may be turned.
const IMAGE: [&str; 4] = ["N", "4", "H", "H"];
/// Shape of the values that linear layers take and give.
const ROWS: [&str; 3] = ["B", "T", "8"];

/// What a graph knows of the sizes that may be open; the seed decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sizes {
    Known,
    Named,
    Unknown,
}

impl Sizes {
    fn of(seed: u64) -> Sizes {
        [Sizes::Known, Sizes::Named, Sizes::Unknown][(seed % 3) as usize]
    }

    fn shape(self, dims: &[&str], seed: u64) -> Shape {
        let dim = |name: &&str| match (name.parse(), self) {
            (Ok(size), _) => Dim::Known(size),
            (Err(_), Sizes::Known) => Dim::Known(size_of(name, seed)),
            (Err(_), Sizes::Named) => Dim::symbol(name),
            (Err(_), Sizes::Unknown) => Dim::Unknown,
        };
        dims.iter().map(dim).collect()
    }
}

/// The size of a dimension in a graph of a seed, known to it or not.
fn size_of(name: &str, seed: u64) -> usize {
    let at = ["N", "H", "B", "T"].iter().position(|n| *n == name).unwrap_or(0);
    let largest = [2, 6, 3, 4][at];
    1 + (seed >> (3 * at + 2)) as usize % largest
}

/// A float graph of about `size` blocks wired at random: what exporters write (decompositions, batch norms, clips, additions in
/// either order), values with several users, several outputs.
pub fn float_graph(seed: u64, size: usize) -> Graph {
    let mut b = Builder::new("random", seed);
    let mut images = vec![b.input("image", &IMAGE)];
    let mut rows = vec![b.input("rows", &ROWS)];
    for _ in 0..size {
        if b.chance(2) {
            let x = b.pick(&images);
            let y = b.pick(&images);
            images.push(b.image_block(x, y));
        } else {
            let x = b.pick(&rows);
            let y = b.pick(&rows);
            rows.push(b.rows_block(x, y));
        }
    }
    b.finish(&[images, rows])
}

/// A reference q/dq graph of about `size` operators: dequantized inputs, quantized results, some values quantized twice, some used as
/// float.
pub fn qdq_graph(seed: u64, size: usize) -> Graph {
    let mut b = Builder::new("random_qdq", seed);
    let image = b.input("image", &IMAGE);
    let rows = b.input("rows", &ROWS);
    let mut images = vec![b.quantized(image)];
    let mut rows = vec![b.quantized(rows)];
    let mut floats = Vec::new();
    for _ in 0..size {
        let values = if b.chance(2) { &mut images } else { &mut rows };
        let (x, y) = (b.pick(values), b.pick(values));
        let is_image = b.graph.ty(x).shape.rank() == 4;
        let result = if is_image { b.quantized_image_block(x, y) } else { b.quantized_rows_block(x, y) };
        match b.rng.random_range(0..6) {
            0 => floats.push(result),
            1 => {
                // Two quantizers of one value.
                let (first, second) = (b.quantized(result), b.quantized(result));
                let values = if is_image { &mut images } else { &mut rows };
                values.extend([first, second]);
            }
            2 => {
                let quantized = b.quantized(result);
                floats.push(result);
                if is_image { &mut images } else { &mut rows }.push(quantized);
            }
            _ => {
                let quantized = b.quantized(result);
                if is_image { &mut images } else { &mut rows }.push(quantized);
            }
        }
    }
    b.finish(&[images, rows, floats])
}

struct Builder {
    graph: Graph,
    rng: ChaCha8Rng,
    seed: u64,
    params: usize,
}

impl Builder {
    fn new(name: &str, seed: u64) -> Builder {
        Builder { graph: Graph::new(name), rng: rng(seed), seed, params: 0 }
    }

    fn input(&mut self, name: &str, dims: &[&str]) -> ValueRef {
        let shape = Sizes::of(self.seed).shape(dims, self.seed);
        self.graph.placeholder(name, TensorType::new(DType::F32, shape)).into()
    }

    /// One in `n`.
    fn chance(&mut self, n: usize) -> bool {
        self.rng.random_range(0..n) == 0
    }

    /// One of the values, mostly a late one.
    fn pick(&mut self, values: &[ValueRef]) -> ValueRef {
        let n = values.len();
        let back = self.rng.random_range(0..n).min(self.rng.random_range(0..n));
        values[n - 1 - back]
    }

    fn param(&mut self, name: &str, dtype: DType, shape: &[usize]) -> ValueRef {
        self.params += 1;
        let name = format!("p{}.{name}", self.params);
        self.graph.declare_param(&name, TensorType::new(dtype, Shape::known(shape))).into()
    }

    fn scalar(&mut self, value: f32) -> ValueRef {
        self.graph.param(&format!("c{value}"), Tensor::scalar(value)).into()
    }

    fn call(&mut self, op: &str, inputs: &[ValueRef], attrs: &[(&'static str, Attr)]) -> ValueRef {
        let name = format!("{op}{}", self.graph.len());
        let attrs = attrs.iter().fold(Attrs::new(), |all, (name, value)| all.with(name, value.clone()));
        let inputs: Vec<_> = inputs.iter().map(|v| Some(*v)).collect();
        let op = lookup(op).unwrap_or_else(|| panic!("no operator {op}"));
        let origin = Origin::new(&name, op.name(), op.name(), 0);
        self.graph.call(&name, op, &inputs, attrs, &[origin]).unwrap_or_else(|e| panic!("{e}")).into()
    }

    /// Rows as a matrix and in their shape again, which is a list of numbers or taken from the value.
    fn there_and_back(&mut self, x: ValueRef) -> ValueRef {
        let once = self.call("reshape", &[x], &[("shape", Attr::Ints(vec![-1, 8]))]);
        match self.graph.ty(x).shape.to_known() {
            Some(shape) => {
                let shape = shape.into_iter().map(|n| n as i64).collect();
                self.call("reshape", &[once], &[("shape", Attr::Ints(shape))])
            }
            None => {
                let shape = self.call("shape", &[x], &[]);
                self.call("reshape", &[once, shape], &[])
            }
        }
    }

    /// The operands in a random order.
    fn commuted(&mut self, op: &str, a: ValueRef, b: ValueRef) -> ValueRef {
        if self.chance(2) { self.call(op, &[a, b], &[]) } else { self.call(op, &[b, a], &[]) }
    }

    fn conv(&mut self, x: ValueRef, weight: ValueRef, groups: i64) -> ValueRef {
        let padding = ("padding", Attr::Ints(vec![1, 1]));
        let mut inputs = vec![x, weight];
        if self.chance(2) {
            inputs.push(self.param("bias", DType::F32, &[4]));
        }
        self.call("conv2d", &inputs, &[padding, ("groups", Attr::from(groups))])
    }

    fn batch_norm(&mut self, x: ValueRef) -> ValueRef {
        let stats = ["weight", "bias", "mean", "var"].map(|p| self.param(p, DType::F32, &[4]));
        self.call("batch_norm", &[x, stats[0], stats[1], stats[2], stats[3]], &[])
    }

    fn image_block(&mut self, x: ValueRef, y: ValueRef) -> ValueRef {
        match self.rng.random_range(0..14) {
            0..=3 => {
                let groups = if self.chance(3) { 4 } else { 1 };
                let w = self.param("weight", DType::F32, &[4, 4 / groups, 3, 3]);
                let conv = self.conv(x, w, groups as i64);
                if self.chance(3) { conv } else { self.batch_norm(conv) }
            }
            4 => self.call("clamp", &[x], &[("min", Attr::from(0.0f32))]),
            5 => self.call("clamp", &[x], &[("min", Attr::from(0.0f32)), ("max", Attr::from(6.0f32))]),
            6 => self.commuted("add", x, y),
            7 => {
                let relu = self.call("relu", &[x], &[]);
                self.call("relu", &[relu], &[])
            }
            8 => {
                let sigmoid = self.call("sigmoid", &[x], &[]);
                self.commuted("mul", sigmoid, if self.params.is_multiple_of(2) { x } else { y })
            }
            9 => {
                let (three, six) = (self.scalar(3.0), self.scalar(6.0));
                let sum = self.commuted("add", x, three);
                let clamped = self.call("clamp", &[sum], &[("min", Attr::from(0.0f32)), ("max", Attr::from(6.0f32))]);
                let product = self.commuted("mul", x, clamped);
                self.call("div", &[product, six], &[])
            }
            10 => {
                let attrs = [3i64, 1, 1].map(|n| Attr::Ints(vec![n, n]));
                let [kernel, stride, padding] = attrs;
                self.call("max_pool2d", &[x], &[("kernel_size", kernel), ("stride", stride), ("padding", padding)])
            }
            11 => {
                let joined = self.call("cat", &[x, y], &[("dim", Attr::from(1i64))]);
                let sizes = ("sizes", Attr::Ints(vec![4, 4]));
                let split = self.call("split", &[joined], &[("dim", Attr::from(1i64)), sizes]);
                let second = ValueRef { output: 1, ..split };
                self.commuted("add", split, second)
            }
            12 => {
                let once = self.call("permute", &[x], &[("dims", Attr::Ints(vec![0, 2, 3, 1]))]);
                self.call("permute", &[once], &[("dims", Attr::Ints(vec![0, 3, 1, 2]))])
            }
            _ => {
                let b = self.param("channel", DType::F32, &[1, 4, 1, 1]);
                let w = self.param("weight", DType::F32, &[4, 4, 3, 3]);
                let conv = self.call("conv2d", &[x, w], &[("padding", Attr::Ints(vec![1, 1]))]);
                self.commuted("add", conv, b)
            }
        }
    }

    fn rows_block(&mut self, x: ValueRef, y: ValueRef) -> ValueRef {
        match self.rng.random_range(0..10) {
            0..=2 => {
                let w = self.param("weight", DType::F32, &[8, 8]);
                let b = self.param("bias", DType::F32, &[8]);
                let product = self.call("matmul", &[x, w], &[]);
                self.commuted("add", product, b)
            }
            3 => self.commuted("add", x, y),
            4 => {
                let (root, one, half) = (self.scalar(std::f32::consts::SQRT_2), self.scalar(1.0), self.scalar(0.5));
                let scaled = self.call("div", &[x, root], &[]);
                let erf = self.call("erf", &[scaled], &[]);
                let sum = self.commuted("add", erf, one);
                let product = self.commuted("mul", x, sum);
                self.commuted("mul", product, half)
            }
            5 => {
                let last = [("dims", Attr::Ints(vec![-1])), ("keepdim", Attr::from(true))];
                let (two, eps) = (self.scalar(2.0), self.scalar(1e-2));
                let mean = self.call("mean", &[x], &last);
                let centred = self.call("sub", &[x, mean], &[]);
                let square = self.call("pow", &[centred, two], &[]);
                let var = self.call("mean", &[square], &last);
                let var = self.commuted("add", var, eps);
                let std = self.call("sqrt", &[var], &[]);
                let normal = self.call("div", &[centred, std], &[]);
                let (weight, bias) = (self.param("weight", DType::F32, &[8]), self.param("bias", DType::F32, &[8]));
                let scaled = self.commuted("mul", normal, weight);
                self.commuted("add", scaled, bias)
            }
            6 => self.there_and_back(x),
            7 => self.call("softmax", &[x], &[("dim", Attr::from(-1i64))]),
            8 => {
                let one = self.scalar(1.0);
                let same = self.commuted("mul", x, one);
                self.call("dropout", &[same], &[])
            }
            _ => {
                let transposed = self.call("permute", &[y], &[("dims", Attr::Ints(vec![0, 2, 1]))]);
                let scores = self.call("matmul", &[x, transposed], &[]);
                let weights = self.call("softmax", &[scores], &[("dim", Attr::from(-1i64))]);
                self.call("matmul", &[weights, y], &[])
            }
        }
    }

    /// Quantized and dequantized with one of a few scales, so that equal ones meet.
    fn quantized(&mut self, x: ValueRef) -> ValueRef {
        let scale = [0.02f32, 0.05, 0.25][self.rng.random_range(0..3)];
        let zero_point = [0i64, 3, 128][self.rng.random_range(0..3)];
        let attrs = [("scale", Attr::from(scale)), ("zero_point", Attr::from(zero_point))];
        let q = self.call("quantize_per_tensor", &[x], &attrs);
        self.call("dequantize_per_tensor", &[q], &attrs)
    }

    /// The mean of each channel, which broadcasts.
    fn quantized_mean(&mut self, x: ValueRef) -> ValueRef {
        let dims = ("dims", Attr::Ints(vec![2, 3]));
        let mean = self.call("mean", &[x], &[dims, ("keepdim", Attr::from(true))]);
        self.quantized(mean)
    }

    fn quantized_weight(&mut self, shape: &[usize]) -> ValueRef {
        let w = self.param("weight", DType::I8, shape);
        if self.chance(3) {
            return self.call("dequantize_per_tensor", &[w], &[("scale", Attr::from(0.004f32))]);
        }
        let scales: Vec<f32> = (0..shape[0]).map(|_| self.rng.random_range(0.001..0.01f32)).collect();
        self.params += 1;
        let s = self.graph.param(&format!("p{}.scale", self.params), Tensor::vector(scales));
        self.call("dequantize_per_channel", &[w, s.into()], &[("axis", Attr::from(0i64))])
    }

    fn clamped(&mut self, x: ValueRef) -> ValueRef {
        match self.rng.random_range(0..4) {
            0 => self.call("relu", &[x], &[]),
            1 => self.call("clamp", &[x], &[("min", Attr::from(-1.0f32)), ("max", Attr::from(1.5f32))]),
            _ => x,
        }
    }

    fn quantized_image_block(&mut self, x: ValueRef, y: ValueRef) -> ValueRef {
        match self.rng.random_range(0..9) {
            0..=2 => {
                let w = self.quantized_weight(&[4, 4, 3, 3]);
                let conv = self.conv(x, w, 1);
                let sum = if self.chance(3) {
                    let residual = if self.seed.is_multiple_of(5) { self.quantized_mean(y) } else { y };
                    self.commuted("add", conv, residual)
                } else {
                    conv
                };
                self.clamped(sum)
            }
            3 => {
                let sum = self.commuted("add", x, y);
                self.clamped(sum)
            }
            4 => self.commuted("mul", x, y),
            5 => {
                let attrs = [3i64, 1, 1].map(|n| Attr::Ints(vec![n, n]));
                let [kernel, stride, padding] = attrs;
                self.call("max_pool2d", &[x], &[("kernel_size", kernel), ("stride", stride), ("padding", padding)])
            }
            6 => {
                let joined = self.call("cat", &[x, y], &[("dim", Attr::from(1i64))]);
                let sizes = ("sizes", Attr::Ints(vec![4, 4]));
                let split = self.call("split", &[joined], &[("dim", Attr::from(1i64)), sizes]);
                ValueRef { output: self.rng.random_range(0..2), ..split }
            }
            7 => {
                let op = ["sigmoid", "tanh", "hardswish", "gelu"][self.rng.random_range(0..4)];
                self.call(op, &[x], &[])
            }
            _ => self.call("permute", &[x], &[("dims", Attr::Ints(vec![0, 1, 3, 2]))]),
        }
    }

    fn quantized_rows_block(&mut self, x: ValueRef, y: ValueRef) -> ValueRef {
        match self.rng.random_range(0..7) {
            0..=2 => {
                let w = self.quantized_weight(&[8, 8]);
                let b = self.param("bias", DType::F32, &[8]);
                let linear = self.call("linear", &[x, w, b], &[]);
                let sum = if self.chance(3) { self.commuted("add", linear, y) } else { linear };
                self.clamped(sum)
            }
            3 => self.commuted("add", x, y),
            4 => {
                let transposed = self.call("permute", &[y], &[("dims", Attr::Ints(vec![0, 2, 1]))]);
                let scores = self.call("matmul", &[x, transposed], &[]);
                let scores = self.quantized(scores);
                self.call("matmul", &[scores, y], &[])
            }
            5 => self.there_and_back(x),
            _ => self.call("softmax", &[x], &[("dim", Attr::from(-1i64))]),
        }
    }

    /// The last values are outputs, and sometimes one in the middle.
    fn finish(mut self, values: &[Vec<ValueRef>]) -> Graph {
        let mut outputs = Vec::new();
        for list in values.iter().filter(|l| !l.is_empty()) {
            outputs.extend(list.last().copied());
            if self.chance(3) {
                outputs.push(self.pick(list));
            }
        }
        let named: Vec<_> = outputs.iter().enumerate().map(|(i, v)| (Arc::from(format!("out{i}")), *v)).collect();
        self.graph.set_outputs(&named);
        self.graph.eliminate_dead();
        let seed = self.seed;
        with_random_params(self.graph, seed)
    }
}

/// The outputs of a graph of this seed on random inputs; open sizes are what the seed says.
pub fn run(graph: &Graph, seed: u64) -> Vec<Tensor> {
    let mut rng = rng(seed);
    let inputs: Vec<(String, Tensor)> = graph
        .placeholders()
        .map(|id| {
            let name = graph.node(id).name();
            let dims: &[&str] = if name == "image" { &IMAGE } else { &ROWS };
            let ty = TensorType::new(DType::F32, Sizes::Known.shape(dims, seed));
            (name.to_owned(), random_tensor(&mut rng, &ty))
        })
        .collect();
    let outputs = Interpreter::new(graph).run(&inputs).unwrap_or_else(|e| panic!("{e}\n{graph}"));
    outputs.into_iter().map(|o| o.1).collect()
}

/// Calls of class heavy that are not on constants alone.
pub fn heavy_calls(graph: &Graph) -> usize {
    let mut constant = vec![false; graph.bound()];
    let mut count = 0;
    for id in graph.order() {
        let node = graph.node(id);
        let known = |i: NodeId, constant: &[bool]| graph.node(i).param().is_some() || constant[i.index()];
        if let Some((op, _)) = node.call() {
            constant[id.index()] = node.inputs().iter().flatten().all(|v| known(v.node, &constant));
            count += usize::from(!constant[id.index()] && op.class() == quantc_ops::OpClass::Heavy);
        }
    }
    count
}
