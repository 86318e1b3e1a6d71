//! Whether the samples on axis 0 of a model's inputs can be run in parts, that is whether each sample's outputs depend on that sample
//! alone and stand on axis 0, too.
//!
//! Every value is followed from the inputs: where in it the samples are. An operator that could mix them (a reduction, softmax, slice
//! or recurrence along that axis), or that this file says nothing about, means no: such a model runs all its data at once. The answer
//! yes is proven, the answer no may be too careful.

use std::collections::HashMap;

use quantc_ir::{Graph, Node, NodeId, ValueRef};
use quantc_ops::{Attr, Attrs, OpClass, Signature};
use quantc_tensor::{Dim, Shape};

/// Where the samples are in a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Samples {
    /// Nowhere: it is the same for any data.
    Nowhere,
    /// Nowhere, but it depends on how many there are.
    Counted,
    /// Sample `i` is index `i` of this axis.
    Axis(usize),
}
use Samples::{Axis, Counted, Nowhere};

/// Whether running all samples at once equals running them in parts and joining the outputs along axis 0, but for operators that
/// quantize over the range of a whole tensor.
pub fn samples_are_independent(graph: &Graph) -> bool {
    let mut inputs = graph.placeholders().map(|id| graph.ty(id).shape.dims());
    let Some(Some(first)) = inputs.next().map(|dims| dims.first()) else { return false };
    // Equal names are equal sizes, which is not known of several sizes without a name.
    let on_axis_0 = |dims: &[Dim]| match first {
        Dim::Known(_) => false,
        Dim::Symbol(_) => dims.first() == Some(first) && !dims[1..].contains(first),
        Dim::Unknown => graph.placeholders().count() == 1,
    };
    if !graph.placeholders().all(|id| on_axis_0(graph.ty(id).shape.dims())) {
        return false;
    }
    let mut known: HashMap<ValueRef, Samples> = graph.placeholders().map(|id| (id.into(), Axis(0))).collect();
    for id in graph.calls() {
        let Some(outputs) = (Call { graph, node: graph.node(id), known: &known }).outputs() else { return false };
        known.extend(outputs.into_iter().enumerate().map(|(i, s)| (ValueRef { node: id, output: i as u32 }, s)));
    }
    graph.outputs().iter().all(|(_, value)| known.get(value) == Some(&Axis(0)))
}

/// Whether the graph quantizes values over the range of the whole tensor each time it runs.
pub fn quantizes_dynamically(graph: &Graph) -> bool {
    let dynamic = |name: &str| name == "dynamic_quantize_dequantize" || name.ends_with("_dynamic");
    graph.calls().any(|id: NodeId| graph.node(id).call().is_some_and(|(op, _)| dynamic(op.name())))
}

/// A call whose inputs are known.
struct Call<'g> {
    graph: &'g Graph,
    node: &'g Node,
    known: &'g HashMap<ValueRef, Samples>,
}

impl Call<'_> {
    fn samples(&self, value: ValueRef) -> Samples {
        self.known.get(&value).copied().unwrap_or(Nowhere)
    }

    /// The samples of an input; `None` if it is left out.
    fn input(&self, i: usize) -> Option<Samples> {
        self.node.inputs().get(i).copied().flatten().map(|v| self.samples(v))
    }

    fn shape(&self, i: usize) -> Option<&Shape> {
        self.node.inputs().get(i).copied().flatten().map(|v| &self.graph.ty(v).shape)
    }

    fn rank(&self) -> usize {
        self.node.types().first().map_or(0, |t| t.shape.rank())
    }

    /// Where the samples are in each output; `None` if they are mixed or nobody knows.
    fn outputs(&self) -> Option<Vec<Samples>> {
        let (op, attrs) = self.node.call()?;
        let given = || self.node.inputs().iter().flatten().map(|v| self.samples(*v));
        let all = |s| Some(vec![s; self.node.types().len()]);
        if given().all(|s| s == Nowhere) {
            return all(Nowhere);
        }
        let sig = op.signature();
        if !given().any(|s| matches!(s, Axis(_))) {
            return all(if sig.name == "gather" { self.size()? } else { Counted });
        }
        if sig.inputs.iter().any(|input| input.name == "sequence_lens") {
            return self.recurrent(sig, attrs);
        }
        all(self.output(sig, attrs)?)
    }

    /// Of a call whose outputs have the samples at the same place.
    fn output(&self, sig: &Signature, attrs: &Attrs) -> Option<Samples> {
        let dim = |name: &str| self.dim(int(sig, attrs, name)?);
        match sig.name.strip_prefix("quantized.").unwrap_or(sig.name) {
            "shape" => Some(Counted),
            "expand" => self.expanded(),
            "gather" => self.gathered(dim("dim")?),
            "embedding" => self.picked(3),
            "reshape" | "flatten" | "flatten2d" | "squeeze" | "unsqueeze" => self.reshaped(),
            "to" => self.input(0),
            "matmul" => self.product(),
            "scaled_dot_product_attention" => self.broadcast().filter(|a| self.is_outer(*a, 2)),
            "linear" | "linear_dynamic" => self.alone().filter(|a| self.is_outer(*a, 1)),
            "rms_norm" => self.alone().filter(|a| self.is_outer(*a, 1)),
            "layer_norm" => {
                let first = dim("axis")?;
                self.alone().filter(|a| matches!(a, Axis(k) if *k < first))
            }
            "softmax" | "log_softmax" | "cumsum" => self.beside(dim("dim")?),
            "argmax" => self.reduced(&[dim("dim")?], sig, attrs),
            "mean" | "sum" | "amax" | "amin" | "prod" => {
                let dims: Option<Vec<usize>> = ints(sig, attrs, "dims")?.iter().map(|d| self.dim(*d)).collect();
                // Axes that are an input may be any; none are all.
                dims.filter(|d| !d.is_empty()).and_then(|d| self.reduced(&d, sig, attrs))
            }
            "cat" => {
                let own = self.input(0)?;
                let same = (0..self.node.inputs().len()).all(|i| self.input(i) == Some(own));
                (same && own != Axis(dim("dim")?)).then_some(own)
            }
            "split" => self.beside(dim("dim")?),
            "slice" => {
                let count = ints(sig, attrs, "starts")?.len() as i64;
                let axes = ints(sig, attrs, "axes").filter(|a| !a.is_empty()).unwrap_or_else(|| (0..count).collect());
                let own = self.alone()?;
                axes.iter().all(|a| self.dim(*a).is_some_and(|a| own != Axis(a))).then_some(own)
            }
            "pad" => {
                let (Axis(own), pads) = (self.alone()?, ints(sig, attrs, "pads")?) else { return None };
                [own, own + pads.len() / 2].iter().all(|i| pads.get(*i) == Some(&0)).then_some(Axis(own))
            }
            "repeat" => {
                let (Axis(own), repeats) = (self.alone()?, ints(sig, attrs, "repeats")?) else { return None };
                (repeats.len() == self.shape(0)?.rank() && repeats.get(own) == Some(&1)).then_some(Axis(own))
            }
            "permute" => {
                let (Axis(own), dims) = (self.alone()?, ints(sig, attrs, "dims")?) else { return None };
                let rank = self.shape(0)?.rank();
                let place = if dims.is_empty() {
                    rank - 1 - own
                } else {
                    dims.iter().position(|d| self.dim(*d) == Some(own))?
                };
                Some(Axis(place))
            }
            "quantize_per_channel" | "dequantize_per_channel" => self.beside(dim("axis")?),
            // These take [N, C, ...].
            name if name.starts_with("conv") || sig.class == OpClass::Pool => self.alone().filter(|a| *a == Axis(0)),
            "batch_norm" | "instance_norm" | "group_norm" | "interpolate" | "pixel_shuffle" | "depth_to_space" => {
                self.alone().filter(|a| *a == Axis(0))
            }
            "avg_pool2d" | "adaptive_avg_pool2d" => self.alone().filter(|a| *a == Axis(0)),
            "add" | "sub" | "mul" | "requantize" | "lookup" => self.broadcast(),
            _ => match sig.class {
                OpClass::Unary | OpClass::Elementwise | OpClass::Quantization => self.broadcast(),
                _ => None,
            },
        }
    }

    /// An axis of the first input.
    fn dim(&self, dim: i64) -> Option<usize> {
        quantc_ops::dims::axis(dim, self.shape(0)?.rank()).ok()
    }

    /// Where the first input has them, if all other inputs are the same for any data, but for what is added to the result. That is
    /// broadcast with it: it must have the samples at the same place, or one element there for all.
    fn alone(&self) -> Option<Samples> {
        let Axis(place) = self.input(0)? else { return None };
        let residual = self.node.call()?.0.signature().inputs.iter().position(|i| i.name == "residual");
        let added = |i: usize| {
            let dims = self.shape(i)?.dims();
            let at = (place + dims.len()).checked_sub(self.rank());
            let one = || at.and_then(|k| dims.get(k)).is_none_or(|d| *d == Dim::Known(1));
            let fits = match self.input(i)? {
                Axis(k) => at == Some(k),
                Nowhere => one(),
                Counted => false,
            };
            Some(fits && self.shape(0)?.rank() == self.rank())
        };
        let fits = |i: usize| match self.input(i) {
            None => true,
            Some(_) if residual == Some(i) => added(i) == Some(true),
            other => other == Some(Nowhere),
        };
        (1..self.node.inputs().len()).all(fits).then_some(Axis(place))
    }

    /// [`Call::alone`], unless they are at that axis.
    fn beside(&self, axis: usize) -> Option<Samples> {
        self.alone().filter(|own| *own != Axis(axis))
    }

    /// Whether these are before the last `inner` axes of the output.
    fn is_outer(&self, samples: Samples, inner: usize) -> bool {
        matches!(samples, Axis(k) if k + inner < self.rank())
    }

    /// Of inputs that are broadcast to the output: aligned at their last axes. Where an input does not have the samples, it must have
    /// one element for all.
    fn broadcast(&self) -> Option<Samples> {
        let rank = self.rank();
        let mut found = None;
        for value in self.node.inputs().iter().flatten() {
            if let Axis(k) = self.samples(*value) {
                let place = (k + rank).checked_sub(self.graph.ty(*value).shape.rank())?;
                if *found.get_or_insert(place) != place {
                    return None;
                }
            }
        }
        let place = found?;
        for value in self.node.inputs().iter().flatten() {
            let dims = self.graph.ty(*value).shape.dims();
            let own = (place + dims.len()).checked_sub(rank).and_then(|k| dims.get(k));
            match self.samples(*value) {
                Axis(_) => {}
                Nowhere if own.is_none_or(|d| *d == Dim::Known(1)) => {}
                _ => return None,
            }
        }
        Some(Axis(place))
    }

    /// Of a matrix product: the samples are matrices, or rows of the left operand.
    fn product(&self) -> Option<Samples> {
        let (left, right) = (self.shape(0)?.rank(), self.shape(1)?.rank());
        if left < 2 || right < 2 {
            return None;
        }
        let rows = self.input(0) == Some(Axis(left - 2)) && self.input(1) == Some(Nowhere);
        if rows { Some(Axis(self.rank() - 2)) } else { self.broadcast().filter(|a| self.is_outer(*a, 2)) }
    }

    /// The elements keep their order, so a sample stays where it is if as many elements as before follow each index of its axis.
    fn reshaped(&self) -> Option<Samples> {
        let Some(Axis(own)) = self.input(0) else { return None };
        if self.node.inputs().iter().skip(1).flatten().any(|v| matches!(self.samples(*v), Axis(_))) {
            return None;
        }
        let (from, to) = (self.shape(0)?.dims(), self.node.types().first()?.shape.dims());
        let (before, after) = (volume(&from[..own])?, volume(&from[own + 1..])?);
        let fits =
            |i: &usize| volume(&to[i + 1..]).as_ref() == Some(&after) && volume(&to[..*i]).as_ref() == Some(&before);
        // Of several such places, all but one have size 1.
        (0..to.len()).filter(|i| to[*i] != Dim::Known(1)).find(fits).map(Axis)
    }

    /// The shape may depend on the number of samples, for they keep it.
    fn expanded(&self) -> Option<Samples> {
        let (from, to) = (self.shape(0)?.rank(), self.rank());
        match (self.input(0)?, self.input(1)) {
            (_, Some(Axis(_))) => None,
            (Axis(k), _) => Some(Axis((k + to).checked_sub(from)?)),
            _ => None,
        }
    }

    fn reduced(&self, dims: &[usize], sig: &Signature, attrs: &Attrs) -> Option<Samples> {
        let Axis(own) = self.alone()? else { return None };
        let keep = sig.attr(attrs, "keepdim") == Some(Attr::Bool(true));
        let gone = if keep { 0 } else { dims.iter().filter(|d| **d < own).count() };
        (!dims.contains(&own)).then_some(Axis(own - gone))
    }

    fn gathered(&self, dim: usize) -> Option<Samples> {
        let indices = self.shape(1)?.rank();
        match (self.input(0)?, self.input(1)?) {
            (Nowhere, Axis(k)) => Some(Axis(dim + k)),
            (Axis(own), Nowhere) if own < dim => Some(Axis(own)),
            (Axis(own), Nowhere) if own > dim => Some(Axis(own + indices - 1)),
            _ => None,
        }
    }

    /// Where the indices, input `i`, of rows of a table have them.
    fn picked(&self, i: usize) -> Option<Samples> {
        let table = (0..i).all(|k| self.input(k).is_none_or(|s| s == Nowhere));
        self.input(i).filter(|s| table && matches!(s, Axis(_)))
    }

    /// A size read from a shape is the same for any data unless it is the number of samples.
    fn size(&self) -> Option<Samples> {
        let of = self.graph.node(self.node.inputs().first().copied().flatten()?.node);
        let index = self.node.inputs().get(1).copied().flatten().and_then(|v| self.graph.constant(v));
        let whole = |(op, attrs): (quantc_ops::OpRef, &Attrs)| {
            let sig = op.signature();
            sig.name == "shape" && int(sig, attrs, "start") == Some(0) && attrs.get("end").is_none()
        };
        let (Some(index), true) = (index, of.call().is_some_and(whole)) else { return Some(Counted) };
        let source = of.inputs().first().copied().flatten()?;
        let rank = self.graph.ty(source).shape.rank();
        let Axis(own) = self.samples(source) else { return Some(Counted) };
        let counted = index.to_i64_vec().iter().any(|i| quantc_ops::dims::axis(*i, rank) == Ok(own));
        Some(if counted { Counted } else { Nowhere })
    }

    /// Sequences: the weights are the same for any data, all else has its own part for each sample.
    fn recurrent(&self, sig: &Signature, attrs: &Attrs) -> Option<Vec<Samples>> {
        let first = int(sig, attrs, "layout")? != 0;
        let (batch, every) = if first { (0, 0) } else { (1, 2) };
        let place = |name: &str| match name {
            "w" | "r" | "w_scale" | "r_scale" | "b" | "p" => Nowhere,
            "sequence_lens" => Axis(0),
            _ => Axis(batch),
        };
        let all = sig.inputs.iter().enumerate().all(|(i, spec)| self.input(i).is_none_or(|s| s == place(spec.name)));
        all.then(|| (0..self.node.types().len()).map(|i| Axis(if i == 0 { every } else { batch })).collect())
    }
}

/// The number of elements of some dimensions, as a factor and symbols; `None` if a size is unknown.
fn volume(dims: &[Dim]) -> Option<(usize, Vec<&str>)> {
    let mut symbols = Vec::new();
    let mut factor = 1usize;
    for dim in dims {
        match dim {
            Dim::Known(n) => factor = factor.checked_mul(*n)?,
            Dim::Symbol(s) => symbols.push(&**s),
            Dim::Unknown => return None,
        }
    }
    symbols.sort_unstable();
    Some((factor, symbols))
}

fn int(sig: &Signature, attrs: &Attrs, name: &str) -> Option<i64> {
    match sig.attr(attrs, name)? {
        Attr::Int(v) => Some(v),
        _ => None,
    }
}

fn ints(sig: &Signature, attrs: &Attrs, name: &str) -> Option<Vec<i64>> {
    match sig.attr(attrs, name)? {
        Attr::Ints(v) => Some(v),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use quantc_ir::text;

    use super::*;

    /// Whether the samples of a graph with these inputs and calls are independent.
    fn independent(inputs: &str, calls: &str) -> bool {
        let graph =
            text::parse(&format!("graph g({inputs}) {{\n{calls}\n}}\n")).unwrap_or_else(|e| panic!("{calls}: {e}"));
        samples_are_independent(&graph)
    }

    /// Independent but for the range of its input.
    const DYNAMIC: &str = "param @w: i8[4,3,3]\nparam @s: f32[1] = [0.1]\n%y = quantized.conv1d_dynamic(%x, @w, @s) : f32[N,4,6]\nreturn y=%y";

    #[test]
    fn ranges_of_whole_tensors_are_found() {
        let graph = |calls: &str| text::parse(&format!("graph g(%x: f32[N,3,8]) {{\n{calls}\n}}\n")).expect("parses");
        assert!(quantizes_dynamically(&graph(DYNAMIC)));
        assert!(!quantizes_dynamically(&graph("%y = relu(%x) : f32[N,3,8]\nreturn y=%y")));
    }

    #[test]
    fn samples_stay_apart() {
        let yes = [
            ("%x: f32[N,4]", "%y = softmax(%x) {dim=1} : f32[N,4]\nreturn y=%y"),
            ("%x: f32[N,4,5]", "%y = mean(%x) {dims=[-1]} : f32[N,4]\nreturn y=%y"),
            ("%x: f32[N,4,5]", "%y = reshape(%x) {shape=[0,-1]} : f32[N,20]\nreturn y=%y"),
            ("%x: f32[N,S,8]", "%y = reshape(%x) {shape=[0,0,2,4]} : f32[N,S,2,4]\nreturn y=%y"),
            (
                "%x: f32[N,4,5]",
                "%t = permute(%x) {dims=[1,0,2]} : f32[4,N,5]\n%m = mean(%t) {dims=[0]} : f32[N,5]\nreturn y=%m",
            ),
            ("%x: f32[N,4], %z: f32[N,1]", "%y = add(%x, %z) : f32[N,4]\nreturn y=%y"),
            ("%x: f32[N,2,3], %z: f32[N,3,2]", "%y = matmul(%x, %z) : f32[N,2,2]\nreturn y=%y"),
            ("%x: f32[?,4]", "%y = relu(%x) : f32[?,4]\nreturn y=%y"),
            ("%x: f32[N,3,8]", DYNAMIC),
        ];
        for (inputs, calls) in yes {
            assert!(independent(inputs, calls), "{calls}");
        }
    }

    #[test]
    fn samples_that_meet_are_found() {
        let no = [
            ("%x: f32[N,4]", "%y = softmax(%x) {dim=0} : f32[N,4]\nreturn y=%y"),
            ("%x: f32[N,4]", "%y = cumsum(%x) {dim=0} : f32[N,4]\nreturn y=%y"),
            (
                "%x: f32[N,4]",
                "%m = amax(%x) {dims=[0], keepdim=true} : f32[1,4]\n%y = sub(%x, %m) : f32[N,4]\nreturn y=%y",
            ),
            ("%x: f32[N,4]", "%y = mean(%x) {keepdim=true} : f32[1,1]\nreturn y=%y"),
            ("%x: f32[N,4]", "%y = permute(%x) {dims=[1,0]} : f32[4,N]\nreturn y=%y"),
            ("%x: f32[N,4]", "%y = reshape(%x) {shape=[-1,2]} : f32[?,2]\nreturn y=%y"),
            ("%x: f32[N,4]", "%y = slice(%x) {starts=[1], ends=[100], axes=[0]} : f32[?,4]\nreturn y=%y"),
            ("%x: f32[N,4]", "%y = shape(%x) : i64[2]\nreturn y=%y"),
            ("%x: f32[N,4]", "%y = cat(%x, %x) {dim=0} : f32[?,4]\nreturn y=%y"),
            (
                "%x: f32[N,4]",
                "%t = permute(%x) {dims=[1,0]} : f32[4,N]\n%m = matmul(%t, %x) : f32[4,4]\n\
                 %y = matmul(%x, %m) : f32[N,4]\nreturn y=%y",
            ),
            ("%x: f32[N,N]", "%y = relu(%x) : f32[N,N]\nreturn y=%y"),
            ("%x: f32[N,4], %z: f32[M,4]", "%y = relu(%x) : f32[N,4]\n%w = relu(%z) : f32[M,4]\nreturn y=%y, w=%w"),
            ("%x: f32[N,4]", "param @c: f32[2] = [1, 2]\n%y = relu(%x) : f32[N,4]\nreturn y=%y, c=@c"),
            (
                "%x: f32[N,4]",
                "%s = shape(%x) : i64[2]\n%f = to(%s) {dtype=f32} : f32[2]\n%m = sum(%f) {dims=[0], keepdim=true} : f32[1]\n\
                 %y = mul(%x, %m) : f32[N,4]\nreturn y=%y",
            ),
        ];
        for (inputs, calls) in no {
            assert!(!independent(inputs, calls), "{calls}");
        }
    }

    /// What is added to a layer's result is broadcast with it.
    #[test]
    fn residuals_are_broadcast() {
        let layer = |residual: &str, param: &str, out: &str| {
            let inputs =
                if param.is_empty() { format!("%x: u8[N,8], %r: u8{residual}") } else { "%x: u8[N,8]".to_owned() };
            let r = if param.is_empty() { "%r" } else { "@r" };
            let calls = format!(
                "param @w: i8[7,8]\nparam @s: f32[1] = [0.1]\n{param}%y = quantized.linear(%x, @w, @s, none, {r}) \
                 {{x_scale=0.1, scale=0.1}} : u8{out}\nreturn y=%y"
            );
            independent(&inputs, &calls)
        };
        assert!(layer("[N,7]", "", "[N,7]"));
        for shape in ["[7]", "[1]", "[1,7]"] {
            assert!(layer(shape, &format!("param @r: u8{shape}\n"), "[N,7]"), "{shape}");
        }
        assert!(!layer("[N,1,7]", "", "[N,N,7]"));
        assert!(!layer("[N,1]", "param @r: u8[3,7]\n", "[3,7]"));
        assert!(!layer("[N,1]", "param @r: u8[3,1,7]\n", "[3,N,7]"));
    }

    #[test]
    fn a_recurrence_is_along_its_sequence() {
        let weights = "param @w: f32[1,8,4]\nparam @r: f32[1,8,2]\n";
        let lstm = |layout: i64, y: &str, state: &str| {
            format!(
                "{weights}%y = lstm(%x, @w, @r) {{hidden_size=2, layout={layout}}} : f32[{y},2], f32[{state},2], f32[{state},2]\n"
            )
        };
        let sequences_first = lstm(0, "N,1,M", "1,M") + "return y=%y";
        assert!(!independent("%x: f32[N,M,4]", &sequences_first));
        assert!(independent("%x: f32[N,7,4]", &(lstm(1, "N,7,1", "N,1") + "return y=%y, h=%y:1")));
    }
}
