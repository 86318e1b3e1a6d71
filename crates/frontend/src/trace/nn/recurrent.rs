//! LSTM and GRU.

use quantc_ops::Attrs;
use quantc_tensor::Tensor;

use super::only;
use crate::trace::{Init, Module, Proxy, TraceError, Tracer};

/// Which recurrent cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecurrentKind {
    /// Gates input, forget, cell, output.
    Lstm,
    /// Gates reset, update, new.
    Gru,
}

impl RecurrentKind {
    /// For each gate in the order of our operators (ONNX), its number in PyTorch's weights.
    fn gates(self) -> &'static [usize] {
        match self {
            // ONNX: input, output, forget, cell.
            RecurrentKind::Lstm => &[0, 3, 1, 2],
            // ONNX: update, reset, hidden.
            RecurrentKind::Gru => &[1, 0, 2],
        }
    }
}

/// `LSTM` and `GRU`. Parameters `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, ... as in PyTorch, `_reverse` for the
/// second direction. Outputs: the sequence, the last hidden states and, for an LSTM, the last cell states.
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
    /// Whether the batch is dimension 0, before time.
    pub batch_first: bool,
    /// Whether there are two directions.
    pub bidirectional: bool,
}

impl Recurrent {
    fn directions(&self) -> usize {
        1 + usize::from(self.bidirectional)
    }

    /// The parameters of a layer in our operators' layout: w, r, b.
    fn parameters(&self, t: &mut Tracer, layer: usize) -> Result<[Proxy; 3], TraceError> {
        let (h, gates) = (self.hidden_size, self.kind.gates().len());
        let columns = if layer == 0 { self.input_size } else { h * self.directions() };
        let init = Init::Uniform(1.0 / (h.max(1) as f32).sqrt());
        let (mut w, mut r, mut b) = (Vec::new(), Vec::new(), Vec::new());
        for suffix in ["", "_reverse"].iter().take(self.directions()) {
            for (out, kind, shape) in
                [(&mut w, "weight_ih", vec![gates * h, columns]), (&mut r, "weight_hh", vec![gates * h, h])]
            {
                let torch = t.weight(&format!("{kind}_l{layer}{suffix}"), &shape, init)?;
                self.reorder(&torch, out);
            }
            for kind in ["bias_ih", "bias_hh"] {
                let torch = t.weight(&format!("{kind}_l{layer}{suffix}"), &[gates * h], init)?;
                self.reorder(&torch, &mut b);
            }
        }
        let d = self.directions();
        let tensors =
            [("w", vec![d, gates * h, columns], w), ("r", vec![d, gates * h, h], r), ("b", vec![d, 2 * gates * h], b)];
        let mut out = Vec::with_capacity(3);
        for (name, shape, data) in tensors {
            let tensor = Tensor::from_vec(&shape, data).map_err(|e| TraceError::new(e.to_string()))?;
            out.push(t.constant(&format!("{name}_l{layer}"), tensor));
        }
        Ok([out[0], out[1], out[2]])
    }

    /// Appends the blocks of gates in our operators' order.
    fn reorder(&self, torch: &Tensor, out: &mut Vec<f32>) {
        let data = torch.to_f32_vec();
        let gate = data.len() / self.kind.gates().len();
        for &g in self.kind.gates() {
            out.extend(&data[g * gate..(g + 1) * gate]);
        }
    }
}

impl Module for Recurrent {
    fn type_name(&self) -> &str {
        match self.kind {
            RecurrentKind::Lstm => "LSTM",
            RecurrentKind::Gru => "GRU",
        }
    }

    fn is_leaf(&self) -> bool {
        true
    }

    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        let mut x = only(inputs)?;
        if self.batch_first {
            x = x.permute(t, &[1, 0, 2])?;
        }
        let mut states: Vec<Vec<Proxy>> = Vec::new();
        for layer in 0..self.num_layers {
            let [w, r, b] = self.parameters(t, layer)?;
            let mut attrs = Attrs::new().with("hidden_size", self.hidden_size);
            if self.bidirectional {
                attrs.set("direction", "bidirectional");
            }
            let op = match self.kind {
                RecurrentKind::Lstm => "lstm",
                RecurrentKind::Gru => {
                    attrs.set("linear_before_reset", true);
                    "gru"
                }
            };
            let outputs = t.main_call(op, &[Some(x), Some(w), Some(r), Some(b)], attrs)?;
            let Some((y, last)) = outputs.split_first() else { return Err(TraceError::new("it has no outputs")) };
            // [time, direction, batch, hidden] to [time, batch, directions * hidden].
            x = if self.bidirectional {
                y.permute(t, &[0, 2, 1, 3])?.reshape(t, &[0, 0, (2 * self.hidden_size) as i64])?
            } else {
                t.call1("squeeze", &[*y], Attrs::new().with("dims", vec![1i64]))?
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
