//! Blocks of pixels as channels.

use quantc_ops::Attrs;

use super::only;
use crate::trace::{Module, Proxy, TraceError, Tracer};

/// `PixelUnshuffle`: `[N, C, H r, W r]` to `[N, C r r, H, W]`.
#[derive(Clone, Debug)]
pub struct PixelUnshuffle {
    /// The factor r.
    pub downscale_factor: usize,
}

impl Module for PixelUnshuffle {
    fn type_name(&self) -> &str {
        "PixelUnshuffle"
    }

    fn is_leaf(&self) -> bool {
        true
    }

    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        let x = only(inputs)?;
        let shape = x.ty(t).shape.clone();
        let r = self.downscale_factor;
        let known: Vec<_> = shape.dims().iter().skip(1).filter_map(|d| d.known()).collect();
        let &[c, h, w] = &known[..] else {
            return Err(TraceError::new(format!("PixelUnshuffle of {shape}"))
                .with_hint("it takes [N, C, H, W] with known channels, height and width"));
        };
        if r == 0 || !h.is_multiple_of(r) || !w.is_multiple_of(r) {
            return Err(TraceError::new(format!("PixelUnshuffle of {shape} by {r}")));
        }
        let sizes = |list: &[usize]| -> Vec<i64> { list.iter().map(|v| *v as i64).collect() };
        // 0 keeps the size of the batch.
        let y = x.reshape(t, &sizes(&[0, c, h / r, r, w / r, r]))?.permute(t, &[0, 1, 3, 5, 2, 4])?;
        t.main_call("reshape", &[Some(y)], Attrs::new().with("shape", sizes(&[0, c * r * r, h / r, w / r])))
    }
}
