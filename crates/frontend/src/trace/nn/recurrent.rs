//! LSTM, GRU, RNN and their cells.

use quantc_ops::Attrs;
use quantc_tensor::Tensor;

use crate::trace::{Init, Module, Proxy, TraceError, Tracer};

/// Which recurrent cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecurrentKind {
    /// Gates input, forget, cell, output.
    Lstm,
    /// Gates reset, update, new.
    Gru,
    /// tanh of the sum.
    RnnTanh,
    /// relu of the sum.
    RnnRelu,
}

impl RecurrentKind {
    /// For each gate in the order of our operators (ONNX), its number in PyTorch's weights.
    fn gates(self) -> &'static [usize] {
        match self {
            // ONNX: input, output, forget, cell.
            RecurrentKind::Lstm => &[0, 3, 1, 2],
            // ONNX: update, reset, hidden.
            RecurrentKind::Gru => &[1, 0, 2],
            RecurrentKind::RnnTanh | RecurrentKind::RnnRelu => &[0],
        }
    }

    /// How many states there are.
    fn states(self) -> usize {
        if self == RecurrentKind::Lstm { 2 } else { 1 }
    }

    /// The operator of a layer, and its attributes.
    fn operator(self, hidden_size: usize) -> (&'static str, Attrs) {
        let attrs = Attrs::new().with("hidden_size", hidden_size);
        match self {
            RecurrentKind::Lstm => ("lstm", attrs),
            RecurrentKind::Gru => ("gru", attrs.with("linear_before_reset", true)),
            RecurrentKind::RnnTanh => ("rnn", attrs),
            RecurrentKind::RnnRelu => ("rnn", attrs.with("nonlinearity", "relu")),
        }
    }

    /// Reads the parameters of the directions of a layer, `suffixes` being what their names end with, in our operators' layout: w, r, b.
    fn parameters(
        self,
        t: &mut Tracer,
        [input, hidden]: [usize; 2],
        bias: bool,
        suffixes: &[String],
        place: &str,
    ) -> Result<Vec<Option<Proxy>>, TraceError> {
        let rows = self.gates().len() * hidden;
        let init = Init::Uniform(1.0 / (hidden.max(1) as f32).sqrt());
        let (mut w, mut r, mut b) = (Vec::new(), Vec::new(), Vec::new());
        for suffix in suffixes {
            self.reorder(&t.weight(&format!("weight_ih{suffix}"), &[rows, input], init)?, &mut w);
            self.reorder(&t.weight(&format!("weight_hh{suffix}"), &[rows, hidden], init)?, &mut r);
            if bias {
                self.reorder(&t.weight(&format!("bias_ih{suffix}"), &[rows], init)?, &mut b);
                self.reorder(&t.weight(&format!("bias_hh{suffix}"), &[rows], init)?, &mut b);
            }
        }
        let d = suffixes.len();
        let mut constant = |name: &str, shape: &[usize], data: Vec<f32>| {
            let tensor = Tensor::from_vec(shape, data).map_err(|e| TraceError::new(e.to_string()))?;
            Ok::<_, TraceError>(Some(t.constant(&format!("{name}{place}"), tensor)))
        };
        Ok(vec![
            constant("w", &[d, rows, input], w)?,
            constant("r", &[d, rows, hidden], r)?,
            if bias { constant("b", &[d, 2 * rows], b)? } else { None },
        ])
    }

    /// Appends the blocks of gates in our operators' order.
    fn reorder(self, torch: &Tensor, out: &mut Vec<f32>) {
        let data = torch.to_f32_vec();
        let gate = data.len() / self.gates().len();
        for &g in self.gates() {
            out.extend(&data[g * gate..(g + 1) * gate]);
        }
    }
}

/// The inputs of a layer: the sequence or the input, and the states to start from, all or none.
fn inputs(inputs: &[Proxy], states: usize) -> Result<(Proxy, &[Proxy]), TraceError> {
    match inputs {
        [x, rest @ ..] if rest.is_empty() || rest.len() == states => Ok((*x, rest)),
        _ => Err(TraceError::new(format!("it takes 1 or {} inputs, {} given", 1 + states, inputs.len()))),
    }
}

/// Weights, biases and states to start from as the operator takes them.
fn arguments(x: Proxy, parameters: Vec<Option<Proxy>>, states: &[Proxy]) -> Vec<Option<Proxy>> {
    let mut all = vec![Some(x)];
    all.extend(parameters);
    if !states.is_empty() {
        all.push(None);
        all.extend(states.iter().copied().map(Some));
    }
    all
}

fn squeeze(t: &mut Tracer, x: Proxy, dim: i64) -> Result<Proxy, TraceError> {
    t.call1("squeeze", &[x], Attrs::new().with("dims", vec![dim]))
}

fn unsqueeze(t: &mut Tracer, x: Proxy, dim: i64) -> Result<Proxy, TraceError> {
    t.call1("unsqueeze", &[x], Attrs::new().with("dims", vec![dim]))
}

/// `LSTM`, `GRU` and `RNN`. Parameters `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, ... as in PyTorch, `_reverse` for the
/// second direction. Inputs: the sequence, perhaps the states to start from (`[layers * directions, batch, hidden]`; of an LSTM both).
/// Outputs: the sequence, the last hidden states and, for an LSTM, the last cell states.
#[derive(Clone, Debug)]
pub struct Recurrent {
    /// Which cell.
    pub kind: RecurrentKind,
    /// Features of the input.
    pub input_size: usize,
    /// Features of the state.
    pub hidden_size: usize,
    /// Layers on top of each other.
    pub num_layers: usize,
    /// Whether there are biases.
    pub bias: bool,
    /// Whether the batch is dimension 0, before time.
    pub batch_first: bool,
    /// Whether there are two directions.
    pub bidirectional: bool,
}

impl Recurrent {
    fn directions(&self) -> usize {
        1 + usize::from(self.bidirectional)
    }

    /// The part of given states `[layers * directions, batch, hidden]` that each layer starts from.
    fn split_states(&self, t: &mut Tracer, states: &[Proxy]) -> Result<Vec<Vec<Proxy>>, TraceError> {
        let mut of_layer = vec![Vec::new(); self.num_layers];
        for state in states {
            let parts = if self.num_layers == 1 {
                vec![*state]
            } else {
                let sizes = vec![self.directions() as i64; self.num_layers];
                t.call("split", &[*state], Attrs::new().with("sizes", sizes).with("dim", 0i64))?
            };
            of_layer.iter_mut().zip(parts).for_each(|(layer, part)| layer.push(part));
        }
        Ok(of_layer)
    }
}

impl Module for Recurrent {
    fn type_name(&self) -> &str {
        match self.kind {
            RecurrentKind::Lstm => "LSTM",
            RecurrentKind::Gru => "GRU",
            RecurrentKind::RnnTanh | RecurrentKind::RnnRelu => "RNN",
        }
    }

    fn is_leaf(&self) -> bool {
        true
    }

    fn forward(&self, t: &mut Tracer, given: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        let (mut x, initial) = inputs(given, self.kind.states())?;
        if self.batch_first {
            x = x.permute(t, &[1, 0, 2])?;
        }
        let initial = self.split_states(t, initial)?;
        let mut states: Vec<Vec<Proxy>> = Vec::new();
        for (layer, initial) in initial.iter().enumerate() {
            let columns = if layer == 0 { self.input_size } else { self.hidden_size * self.directions() };
            let suffixes: Vec<String> =
                ["", "_reverse"].iter().take(self.directions()).map(|s| format!("_l{layer}{s}")).collect();
            let sizes = [columns, self.hidden_size];
            let parameters = self.kind.parameters(t, sizes, self.bias, &suffixes, &format!("_l{layer}"))?;
            let (op, mut attrs) = self.kind.operator(self.hidden_size);
            if self.bidirectional {
                attrs.set("direction", "bidirectional");
            }
            let outputs = t.main_call(op, &arguments(x, parameters, initial), attrs)?;
            let Some((y, last)) = outputs.split_first() else { return Err(TraceError::new("it has no outputs")) };
            // [time, direction, batch, hidden] to [time, batch, directions * hidden].
            x = if self.bidirectional {
                y.permute(t, &[0, 2, 1, 3])?.reshape(t, &[0, 0, (2 * self.hidden_size) as i64])?
            } else {
                squeeze(t, *y, 1)?
            };
            states.push(last.to_vec());
        }
        if self.batch_first {
            x = x.permute(t, &[1, 0, 2])?;
        }
        let mut out = vec![x];
        for state in 0..states.first().map_or(0, Vec::len) {
            let layers: Vec<Proxy> = states.iter().map(|s| s[state]).collect();
            out.push(match layers[..] {
                [one] => one,
                _ => t.call1("cat", &layers, Attrs::new())?,
            });
        }
        Ok(out)
    }
}

/// `LSTMCell`, `GRUCell` and `RNNCell`: one step of the layer's operator. Parameters `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`. Inputs:
/// the input `[batch, input_size]`, perhaps the state (of an LSTM both states) `[batch, hidden_size]`. Outputs: the state, or both.
#[derive(Clone, Debug)]
pub struct RecurrentCell {
    /// Which cell.
    pub kind: RecurrentKind,
    /// Features of the input.
    pub input_size: usize,
    /// Features of the state.
    pub hidden_size: usize,
    /// Whether there are biases.
    pub bias: bool,
}

impl Module for RecurrentCell {
    fn type_name(&self) -> &str {
        match self.kind {
            RecurrentKind::Lstm => "LSTMCell",
            RecurrentKind::Gru => "GRUCell",
            RecurrentKind::RnnTanh | RecurrentKind::RnnRelu => "RNNCell",
        }
    }

    fn is_leaf(&self) -> bool {
        true
    }

    fn forward(&self, t: &mut Tracer, given: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        let (x, states) = inputs(given, self.kind.states())?;
        let x = unsqueeze(t, x, 0)?;
        let states = states.iter().map(|s| unsqueeze(t, *s, 0)).collect::<Result<Vec<_>, _>>()?;
        let sizes = [self.input_size, self.hidden_size];
        let parameters = self.kind.parameters(t, sizes, self.bias, &[String::new()], "")?;
        let (op, attrs) = self.kind.operator(self.hidden_size);
        let outputs = t.main_call(op, &arguments(x, parameters, &states), attrs)?;
        outputs[1..].iter().map(|state| squeeze(t, *state, 0)).collect()
    }
}
