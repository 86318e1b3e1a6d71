//! Static quantization of recurrent layers: the layer as linear layers and elementwise operators for each step, each with observers of its
//! own (torch.ao.nn.quantizable.LSTM, and the same for GRU and plain layers).

use std::collections::HashMap;

use quantc_ir::{Graph, NodeId, Origin, ValueRef};
use quantc_ops::{Attr, Attrs, OpRef, lookup};
use quantc_pattern::Mode;
use quantc_tensor::{Dim, Tensor};

use crate::custom_config::{CustomModule, PrepareCustomConfig, levels};
use crate::error::QuantError;
use crate::qconfig_mapping::QConfigMapping;
use crate::weight_only::mode_of;

/// Time steps that a layer may have, directions counted apart: each becomes about ten calls.
pub const MOST_STEPS: usize = 256;

/// Writes out every recurrent layer that an entry of the mapping other than the global one quantizes statically, or that is of a class that the
/// configuration has a quantizable form for: PyTorch, too, wants such a layer to be named (`float_to_observed_custom_module_class`). The others stay
/// as they are; why, by name. Layers inside custom modules and non-traceable ones are not looked at; those inside
/// standalone ones are for the mapping and the configuration there.
///
/// # Errors
/// If a call of the new ones does not type, or the configuration names what the model does not have.
pub(crate) fn unroll_recurrent(
    graph: &mut Graph,
    mapping: &QConfigMapping,
    config: &PrepareCustomConfig,
    custom: &[CustomModule],
) -> Result<HashMap<String, String>, QuantError> {
    let mut reasons = HashMap::new();
    let mut wanted = Vec::new();
    for level in levels(graph, mapping, config)? {
        let resolver = level.mapping.resolver(&level.graph);
        let apart = level.config.calls_apart(&level.graph)?;
        for inside in level.graph.calls().filter(|id| !apart.contains(id)) {
            let id = level.call(inside);
            let node = graph.node(id);
            let is_recurrent = ["lstm", "gru", "rnn"].iter().any(|op| node.is_op(op));
            if !is_recurrent || custom.iter().any(|module| module.calls.contains(&id)) {
                continue;
            }
            let resolved = resolver.resolve(inside);
            if resolved.qconfig.is_none_or(|q| mode_of(&q) != Mode::Static) {
                continue;
            }
            let name = node.name().to_owned();
            let quantizable = node.origins().iter().any(|o| level.config.is_quantizable(&o.module_type));
            if resolved.entry == "global" && !quantizable {
                let hint = "no entry names it (hint: give its type or module a QConfig, or quantize dynamically)";
                reasons.insert(
                    name,
                    format!("a recurrent layer is written out step by step to run statically, and {hint}"),
                );
                continue;
            }
            match Layer::new(graph, id) {
                Ok(layer) => wanted.push(layer),
                Err(reason) => {
                    reasons.insert(name, format!("it can't be written out step by step: {reason}"));
                }
            }
        }
    }
    for layer in wanted {
        layer.unroll(graph)?;
    }
    graph.eliminate_dead();
    Ok(reasons)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Lstm,
    Gru { before_reset: bool },
    Rnn { relu: bool },
}

/// A layer that can be written out.
pub(crate) struct Layer {
    id: NodeId,
    cell: Cell,
    pub(crate) hidden: usize,
    /// Whether each direction goes backwards.
    pub(crate) backwards: Vec<bool>,
    pub(crate) batch_first: bool,
    pub(crate) steps: usize,
    pub(crate) w: Tensor,
    pub(crate) r: Tensor,
    pub(crate) b: Option<Tensor>,
    x: ValueRef,
    pub(crate) initial: [Option<ValueRef>; 2],
}

/// Every state, the last state and the last cell of one direction.
pub(crate) type Direction = [Option<ValueRef>; 3];

impl Layer {
    /// The layer of a call.
    ///
    /// # Errors
    /// Why it cannot be written out.
    pub(crate) fn new(graph: &Graph, id: NodeId) -> Result<Layer, String> {
        let node = graph.node(id);
        let Some((op, attrs)) = node.call() else { return Err("it is no call".to_owned()) };
        let attr = |name: &str| op.signature().attr(attrs, name);
        let given = |name: &str| {
            let at = op.signature().inputs.iter().position(|i| i.name == name)?;
            node.inputs().get(at).copied().flatten()
        };
        let constant = |name: &str| given(name).and_then(|v| graph.constant(v)).cloned();
        let cell = match op.name() {
            "lstm" => Cell::Lstm,
            "gru" => Cell::Gru { before_reset: attr("linear_before_reset") == Some(Attr::Bool(true)) },
            _ => Cell::Rnn { relu: attr("nonlinearity") == Some(Attr::from("relu")) },
        };
        if given("sequence_lens").is_some() || given("p").is_some() {
            return Err("sequences of several lengths and peepholes are not supported".to_owned());
        }
        let (Some(w), Some(r)) = (constant("w"), constant("r")) else {
            return Err("its weights are not constant".to_owned());
        };
        let b = constant("b");
        if given("b").is_some() && b.is_none() {
            return Err("its bias is not constant".to_owned());
        }
        let Some(x) = given("input") else { return Err("it has no input".to_owned()) };
        let batch_first = attr("layout") != Some(Attr::Int(0));
        let backwards = match attr("direction") {
            Some(Attr::Str(s)) if s == "reverse" => vec![true],
            Some(Attr::Str(s)) if s == "bidirectional" => vec![false, true],
            _ => vec![false],
        };
        let Some(&Dim::Known(steps)) = graph.ty(x).shape.dims().get(usize::from(batch_first)) else {
            return Err("the length of its sequences is not known".to_owned());
        };
        if steps == 0 || steps * backwards.len() > MOST_STEPS {
            let count = steps * backwards.len();
            return Err(format!("it has {count} steps, at least one and at most {MOST_STEPS} are possible"));
        }
        let Some(Attr::Int(hidden)) = attr("hidden_size") else { return Err("it has no `hidden_size`".to_owned()) };
        let initial = [given("initial_h"), given("initial_c")];
        let hidden = usize::try_from(hidden).unwrap_or_default();
        Ok(Layer { id, cell, hidden, backwards, batch_first, steps, w, r, b, x, initial })
    }

    fn unroll(self, graph: &mut Graph) -> Result<(), QuantError> {
        self.unroll_with(graph, Layer::direction)
    }

    /// Writes the layer out with a function for its directions.
    pub(crate) fn unroll_with(
        self,
        graph: &mut Graph,
        direction: impl Fn(&Layer, &mut Builder<'_>, usize, bool, ValueRef) -> Result<Direction, QuantError>,
    ) -> Result<(), QuantError> {
        let (name, origins) = (graph.node(self.id).name().to_owned(), graph.node(self.id).origins().to_vec());
        let mut build = Builder { graph, before: self.id, base: name, origins: origins.clone() };
        let x = if self.batch_first { build.permute(self.x, &[1, 0, 2])? } else { self.x };
        let (mut ys, mut hs, mut cs) = (Vec::new(), Vec::new(), Vec::new());
        for (d, &reverse) in self.backwards.iter().enumerate() {
            let [y, h, c] = direction(&self, &mut build, d, reverse, x)?;
            build.origins.clone_from(&origins);
            ys.extend(y);
            hs.extend(h);
            cs.extend(c);
        }
        let mut outputs = vec![build.cat(&ys, 1)?, build.cat(&hs, 0)?];
        if self.cell == Cell::Lstm {
            outputs.push(build.cat(&cs, 0)?);
        }
        if self.batch_first {
            outputs[0] = build.permute(outputs[0], &[2, 0, 1, 3])?;
            for state in &mut outputs[1..] {
                *state = build.permute(*state, &[1, 0, 2])?;
            }
        }
        for (output, new) in outputs.into_iter().enumerate() {
            graph.replace_uses(ValueRef { node: self.id, output: output as u32 }, new, &[]);
        }
        Ok(())
    }

    /// Rows of one of the weights of a direction, or of its bias: those of some gates.
    pub(crate) fn rows(&self, stacked: &Tensor, d: usize, gates: std::ops::Range<usize>) -> Result<Tensor, QuantError> {
        let shape = stacked.shape();
        let depth: usize = shape[2..].iter().product();
        let at = |row: usize| (d * shape[1] + row) * depth;
        let data: &[f32] = stacked.slice().map_err(quantc_ops::OpError::from).map_err(invalid)?;
        let (first, last) = (gates.start * self.hidden, gates.end * self.hidden);
        let mut sizes = vec![last - first];
        sizes.extend(&shape[2..]);
        Tensor::from_vec(&sizes, data[at(first)..at(last)].to_vec()).map_err(quantc_ops::OpError::from).map_err(invalid)
    }

    /// Gates of the cell.
    fn gates(&self) -> usize {
        match self.cell {
            Cell::Lstm => 4,
            Cell::Gru { .. } => 3,
            Cell::Rnn { .. } => 1,
        }
    }

    /// The biases of input and state; of a cell that adds both up, their sum and none.
    fn biases(&self, d: usize) -> Result<[Option<Tensor>; 2], QuantError> {
        let Some(b) = &self.b else { return Ok([None, None]) };
        let gates = self.gates();
        let (of_x, of_h) = (self.rows(b, d, 0..gates)?, self.rows(b, d, gates..2 * gates)?);
        if matches!(self.cell, Cell::Gru { .. }) {
            return Ok([Some(of_x), Some(of_h)]);
        }
        let sum = of_x.to_f32_vec().iter().zip(of_h.to_f32_vec()).map(|(x, h)| x + h).collect();
        Ok([Some(Tensor::vector::<f32>(sum)), None])
    }

    /// Every state `[steps, 1, batch, hidden]`, the last state and the last cell `[1, batch, hidden]` of one direction.
    fn direction(
        &self,
        build: &mut Builder<'_>,
        d: usize,
        reverse: bool,
        x: ValueRef,
    ) -> Result<Direction, QuantError> {
        let gates = self.gates();
        let suffix = if reverse { "_reverse" } else { "" };
        let [of_x, of_h] = self.biases(d)?;
        let w = build.param(&format!("w{suffix}"), self.rows(&self.w, d, 0..gates)?);
        let of_x = of_x.map(|b| build.param(&format!("b{suffix}"), b));
        let from_x = build.linear(x, w, of_x)?;
        let weights = StateWeights::new(self, build, d, suffix, of_h)?;
        let mut state = [None; 2];
        for (state, initial) in state.iter_mut().zip(self.initial) {
            if let Some(value) = initial {
                // [directions, batch, hidden], or with the batch first.
                let axis = i64::from(self.batch_first);
                *state = Some(build.index(value, axis, d)?);
            }
        }
        let [mut h, mut c] = state;
        let mut states = vec![None; self.steps];
        for step in 0..self.steps {
            let t = if reverse { self.steps - 1 - step } else { step };
            let gates = build.index(from_x, 0, t)?;
            let (new_h, new_c) = match self.cell {
                Cell::Lstm => self.lstm(build, &weights, gates, h, c)?,
                Cell::Gru { before_reset } => (self.gru(build, &weights, gates, h, before_reset)?, None),
                Cell::Rnn { relu } => {
                    let sum = weights.add_all(build, gates, h)?;
                    (build.call(if relu { "relu" } else { "tanh" }, &[sum], Attrs::new())?, None)
                }
            };
            (h, c) = (Some(new_h), new_c);
            states[t] = Some(build.unsqueeze(new_h, &[0, 1])?);
        }
        let all: Vec<ValueRef> = states.into_iter().flatten().collect();
        let y = build.cat(&all, 0)?;
        let last = |build: &mut Builder<'_>, v: Option<ValueRef>| v.map(|v| build.unsqueeze(v, &[0])).transpose();
        Ok([Some(y), last(build, h)?, last(build, c)?])
    }

    /// Gates i, o, f, c: `c = sigmoid(f) c + sigmoid(i) tanh(g)`, `h = sigmoid(o) tanh(c)`. States that are absent are 0.
    fn lstm(
        &self,
        build: &mut Builder<'_>,
        weights: &StateWeights,
        gates: ValueRef,
        h: Option<ValueRef>,
        c: Option<ValueRef>,
    ) -> Result<(ValueRef, Option<ValueRef>), QuantError> {
        let sum = weights.add_all(build, gates, h)?;
        let [i, o, f, g] = build.split::<4>(sum, self.hidden)?;
        let (i, g) = (build.sigmoid(i)?, build.tanh(g)?);
        let mut cell = build.call("mul", &[i, g], Attrs::new())?;
        if let Some(c) = c {
            let f = build.sigmoid(f)?;
            let kept = build.call("mul", &[f, c], Attrs::new())?;
            cell = build.call("add", &[kept, cell], Attrs::new())?;
        }
        let (o, out) = (build.sigmoid(o)?, build.tanh(cell)?);
        Ok((build.call("mul", &[o, out], Attrs::new())?, Some(cell)))
    }

    /// Gates z, r, n: `h = n + z (h - n)`. A state that is absent is 0.
    fn gru(
        &self,
        build: &mut Builder<'_>,
        weights: &StateWeights,
        gates: ValueRef,
        h: Option<ValueRef>,
        before_reset: bool,
    ) -> Result<ValueRef, QuantError> {
        let [xz, xr, xn] = build.split::<3>(gates, self.hidden)?;
        let (z, n) = match h {
            Some(h) if before_reset => {
                let all = build.linear(h, weights.all, weights.bias)?;
                let [hz, hr, hn] = build.split::<3>(all, self.hidden)?;
                let (z, r) = (build.sum(xz, hz)?, build.sum(xr, hr)?);
                let (z, r) = (build.sigmoid(z)?, build.sigmoid(r)?);
                let reset = build.call("mul", &[r, hn], Attrs::new())?;
                (z, build.sum(xn, reset)?)
            }
            Some(h) => {
                let both = build.linear(h, weights.all, weights.bias)?;
                let [hz, hr] = build.split::<2>(both, self.hidden)?;
                let (z, r) = (build.sum(xz, hz)?, build.sum(xr, hr)?);
                let (z, r) = (build.sigmoid(z)?, build.sigmoid(r)?);
                let reset = build.call("mul", &[r, h], Attrs::new())?;
                let share = build.linear(reset, weights.candidate.unwrap_or(weights.all), weights.candidate_bias)?;
                (z, build.sum(xn, share)?)
            }
            // Of a state that is 0 only the biases are left.
            None => {
                let [bz, br, bn] = weights.parts;
                let plus = |build: &mut Builder<'_>, x, b: Option<ValueRef>| b.map_or(Ok(x), |b| build.sum(x, b));
                let z = plus(build, xz, bz)?;
                let z = build.sigmoid(z)?;
                let n = match bn {
                    Some(bn) if before_reset => {
                        let r = plus(build, xr, br)?;
                        let r = build.sigmoid(r)?;
                        let reset = build.call("mul", &[r, bn], Attrs::new())?;
                        build.sum(xn, reset)?
                    }
                    bn => plus(build, xn, bn)?,
                };
                (z, n)
            }
        };
        let n = build.tanh(n)?;
        match h {
            Some(h) => {
                let difference = build.call("sub", &[h, n], Attrs::new())?;
                let kept = build.call("mul", &[z, difference], Attrs::new())?;
                build.sum(n, kept)
            }
            None => {
                let lost = build.call("mul", &[z, n], Attrs::new())?;
                build.call("sub", &[n, lost], Attrs::new())
            }
        }
    }
}

/// The weights of a direction's state as parameters.
struct StateWeights {
    /// Of all gates, or of a GRU's first two.
    all: ValueRef,
    bias: Option<ValueRef>,
    /// Of what a GRU's reset gate leaves.
    candidate: Option<ValueRef>,
    candidate_bias: Option<ValueRef>,
    /// A GRU's biases, gate by gate.
    parts: [Option<ValueRef>; 3],
}

impl StateWeights {
    fn new(
        layer: &Layer,
        build: &mut Builder<'_>,
        d: usize,
        suffix: &str,
        bias: Option<Tensor>,
    ) -> Result<StateWeights, QuantError> {
        let n = layer.hidden;
        let part = |gates: std::ops::Range<usize>| {
            let b = bias.as_ref()?;
            Some(Tensor::vector(b.to_f32_vec()[gates.start * n..gates.end * n].to_vec()))
        };
        let split = layer.cell == Cell::Gru { before_reset: false };
        let gates = if split { 2 } else { layer.gates() };
        let all = build.param(&format!("r{suffix}"), layer.rows(&layer.r, d, 0..gates)?);
        let named = |build: &mut Builder<'_>, name: &str, b: Option<Tensor>| {
            b.map(|b| build.param(&format!("{name}{suffix}"), b))
        };
        let of_all = named(build, "rb", part(0..gates));
        let (mut candidate, mut candidate_bias) = (None, None);
        if split {
            candidate = Some(build.param(&format!("rn{suffix}"), layer.rows(&layer.r, d, 2..3)?));
            candidate_bias = named(build, "rbn", part(2..3));
        }
        let mut parts = [None; 3];
        if matches!(layer.cell, Cell::Gru { .. }) {
            for (i, name) in ["bz", "br", "bn"].iter().enumerate() {
                parts[i] = named(build, name, part(i..i + 1));
            }
        }
        Ok(StateWeights { all, bias: of_all, candidate, candidate_bias, parts })
    }

    /// The gates' sums: of the input's and, if there is one, the state's product.
    fn add_all(&self, build: &mut Builder<'_>, gates: ValueRef, h: Option<ValueRef>) -> Result<ValueRef, QuantError> {
        let Some(h) = h else { return Ok(gates) };
        let from_h = build.linear(h, self.all, self.bias)?;
        build.sum(from_h, gates)
    }
}

/// Adds calls before a node, under its origins.
pub(crate) struct Builder<'g> {
    graph: &'g mut Graph,
    before: NodeId,
    base: String,
    pub(crate) origins: Vec<Origin>,
}

fn invalid(source: quantc_ops::OpError) -> QuantError {
    QuantError::Weight { name: "a recurrent layer's".to_owned(), message: source.message }
}

impl Builder<'_> {
    fn op(name: &'static str) -> Result<OpRef, QuantError> {
        lookup(name).ok_or(QuantError::MissingOperator(name))
    }

    fn optional(
        &mut self,
        name: &'static str,
        inputs: &[Option<ValueRef>],
        attrs: Attrs,
    ) -> Result<NodeId, QuantError> {
        let fresh = self.graph.fresh_name(&format!("{}.{name}", self.base));
        Ok(self.graph.call_before(Some(self.before), &fresh, Builder::op(name)?, inputs, attrs, &self.origins)?)
    }

    pub(crate) fn call(
        &mut self,
        name: &'static str,
        inputs: &[ValueRef],
        attrs: Attrs,
    ) -> Result<ValueRef, QuantError> {
        let inputs: Vec<Option<ValueRef>> = inputs.iter().copied().map(Some).collect();
        Ok(self.optional(name, &inputs, attrs)?.into())
    }

    pub(crate) fn param(&mut self, name: &str, value: Tensor) -> ValueRef {
        let fresh = self.graph.fresh_param_name(&format!("{}.{name}", self.base));
        self.graph.param(&fresh, value).into()
    }

    pub(crate) fn linear(&mut self, x: ValueRef, w: ValueRef, b: Option<ValueRef>) -> Result<ValueRef, QuantError> {
        Ok(self.optional("linear", &[Some(x), Some(w), b], Attrs::new())?.into())
    }

    pub(crate) fn sum(&mut self, a: ValueRef, b: ValueRef) -> Result<ValueRef, QuantError> {
        self.call("add", &[a, b], Attrs::new())
    }

    pub(crate) fn sigmoid(&mut self, x: ValueRef) -> Result<ValueRef, QuantError> {
        self.call("sigmoid", &[x], Attrs::new())
    }

    pub(crate) fn tanh(&mut self, x: ValueRef) -> Result<ValueRef, QuantError> {
        self.call("tanh", &[x], Attrs::new())
    }

    fn permute(&mut self, x: ValueRef, dims: &[i64]) -> Result<ValueRef, QuantError> {
        self.call("permute", &[x], Attrs::new().with("dims", dims))
    }

    pub(crate) fn unsqueeze(&mut self, x: ValueRef, dims: &[i64]) -> Result<ValueRef, QuantError> {
        self.call("unsqueeze", &[x], Attrs::new().with("dims", dims))
    }

    /// One index of an axis, which is dropped.
    pub(crate) fn index(&mut self, x: ValueRef, axis: i64, at: usize) -> Result<ValueRef, QuantError> {
        let at = at as i64;
        let attrs = Attrs::new().with("starts", vec![at]).with("ends", vec![at + 1]).with("axes", vec![axis]);
        let one = self.call("slice", &[x], attrs)?;
        self.call("squeeze", &[one], Attrs::new().with("dims", vec![axis]))
    }

    /// Parts of `size` of the last axis.
    pub(crate) fn split<const N: usize>(&mut self, x: ValueRef, size: usize) -> Result<[ValueRef; N], QuantError> {
        let attrs = Attrs::new().with("sizes", vec![size as i64; N]).with("dim", 1i64);
        let node = self.optional("split", &[Some(x)], attrs)?;
        Ok(std::array::from_fn(|output| ValueRef { node, output: output as u32 }))
    }

    pub(crate) fn cat(&mut self, parts: &[ValueRef], dim: i64) -> Result<ValueRef, QuantError> {
        match parts {
            [one] => Ok(*one),
            _ => self.call("cat", parts, Attrs::new().with("dim", dim)),
        }
    }
}
