//! Multi-head attention.

use quantc_ops::Attrs;
use quantc_tensor::Tensor;

use crate::trace::{Init, Module, Proxy, TraceError, Tracer};

/// `MultiheadAttention` with the batch first and without masks or dropout: softmax(q k' / sqrt(d)) v for each head.
/// Parameters `in_proj_weight` `[3 * embed_dim, embed_dim]`, `in_proj_bias`, `out_proj.weight`, `out_proj.bias`. Inputs: query, key,
/// value `[batch, length, embed_dim]`, or one for all three.
#[derive(Clone, Debug)]
pub struct MultiheadAttention {
    /// Features.
    pub embed_dim: usize,
    /// Heads; they share the features evenly.
    pub num_heads: usize,
}

impl MultiheadAttention {
    /// Queries, keys and values `[batch, length, embed_dim]`.
    fn project(&self, t: &mut Tracer, inputs: [Proxy; 3]) -> Result<[Proxy; 3], TraceError> {
        let e = self.embed_dim;
        let bound = 1.0 / (e.max(1) as f32).sqrt();
        if inputs.iter().all(|p| *p == inputs[0]) {
            let weight = t.param("in_proj_weight", &[3 * e, e], Init::He { fan_in: e })?;
            let bias = t.param("in_proj_bias", &[3 * e], Init::Uniform(bound))?;
            let all = t.call1("linear", &[inputs[0], weight, bias], Attrs::new())?;
            let attrs = Attrs::new().with("sizes", vec![e as i64; 3]).with("dim", -1i64);
            let parts = t.call("split", &[all], attrs)?;
            return match parts[..] {
                [q, k, v] => Ok([q, k, v]),
                _ => Err(TraceError::new("split has other than 3 outputs")),
            };
        }
        let weight = t.weight("in_proj_weight", &[3 * e, e], Init::He { fan_in: e })?.to_f32_vec();
        let bias = t.weight("in_proj_bias", &[3 * e], Init::Uniform(bound))?.to_f32_vec();
        let mut out = inputs;
        for (i, name) in ["q", "k", "v"].iter().enumerate() {
            let fail = |e: quantc_tensor::TensorError| TraceError::new(e.to_string());
            let w = Tensor::from_vec(&[e, e], weight[i * e * e..(i + 1) * e * e].to_vec()).map_err(fail)?;
            let w = t.constant(&format!("{name}_proj_weight"), w);
            let b = t.constant(&format!("{name}_proj_bias"), Tensor::vector(bias[i * e..(i + 1) * e].to_vec()));
            out[i] = t.call1("linear", &[inputs[i], w, b], Attrs::new())?;
        }
        Ok(out)
    }
}

impl Module for MultiheadAttention {
    fn type_name(&self) -> &str {
        "MultiheadAttention"
    }

    fn is_leaf(&self) -> bool {
        true
    }

    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        let inputs = match *inputs {
            [x] => [x; 3],
            [q, k, v] => [q, k, v],
            _ => return Err(TraceError::new(format!("it takes 1 or 3 inputs, {} given", inputs.len()))),
        };
        let (e, heads) = (self.embed_dim, self.num_heads);
        if heads == 0 || !e.is_multiple_of(heads) {
            return Err(TraceError::new(format!("{e} features can't be shared by {heads} heads")));
        }
        let [q, k, v] = self.project(t, inputs)?;
        let split = [0, 0, heads as i64, (e / heads) as i64];
        let q = q.reshape(t, &split)?.permute(t, &[0, 2, 1, 3])?;
        let k = k.reshape(t, &split)?.permute(t, &[0, 2, 3, 1])?;
        let v = v.reshape(t, &split)?.permute(t, &[0, 2, 1, 3])?;
        let scale = t.constant("scale", Tensor::scalar(1.0 / ((e / heads) as f32).sqrt()));
        let scores = q.mul(t, scale)?.matmul(t, k)?.softmax(t, -1)?;
        let mixed = scores.matmul(t, v)?.permute(t, &[0, 2, 1, 3])?.reshape(t, &[0, 0, e as i64])?;
        let weight = t.param("out_proj.weight", &[e, e], Init::He { fan_in: e })?;
        let bias = t.param("out_proj.bias", &[e], Init::Constant(0.0))?;
        t.main_call("linear", &[Some(mixed), Some(weight), Some(bias)], Attrs::new())
    }
}
