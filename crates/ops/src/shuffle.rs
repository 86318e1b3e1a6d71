//! Rearrangement of channels and pixels.

use quantc_tensor::{Dim, Shape, TensorType, Value};

use crate::activation::UNARY_INPUT;
use crate::dims::moved;
use crate::spec::attr;
use crate::strided::{signed_strides, view};
use crate::{AttrDefault, EvalCx, InferCx, OpClass, OpError, Operator, Signature};

/// `depth_to_space` and `pixel_shuffle`.
pub struct DepthToSpace {
    sig: &'static Signature,
    factor: &'static str,
}

/// `pixel_shuffle`.
pub static PIXEL_SHUFFLE: DepthToSpace = DepthToSpace {
    sig: &Signature {
        name: "pixel_shuffle",
        doc: "[N, C r r, H, W] to [N, C, H r, W r] (torch.nn.functional.pixel_shuffle, ONNX DepthToSpace with mode CRD).",
        inputs: UNARY_INPUT,
        attrs: &[attr("upscale_factor", AttrDefault::RequiredInt, "The factor r.")],
        class: OpClass::Movement,
    },
    factor: "upscale_factor",
};

/// `depth_to_space`.
pub static DEPTH_TO_SPACE: DepthToSpace = DepthToSpace {
    sig: &Signature {
        name: "depth_to_space",
        doc: "[N, r r C, H, W] to [N, C, H r, W r], the block's place slowest in the channels (ONNX DepthToSpace with mode DCR).",
        inputs: UNARY_INPUT,
        attrs: &[attr("block_size", AttrDefault::RequiredInt, "The factor r.")],
        class: OpClass::Movement,
    },
    factor: "block_size",
};

fn shuffled(x: &Shape, factor: i64) -> Result<(Shape, usize), OpError> {
    let bad = || OpError::new(format!("{x} rearranged by {factor}"));
    let r = usize::try_from(factor).ok().filter(|&r| (1..=1 << 15).contains(&r)).ok_or_else(bad)?;
    let [n, c, h, w] = x.dims() else { return Err(bad()) };
    if c.known().is_some_and(|c| !c.is_multiple_of(r * r)) {
        return Err(bad());
    }
    let grown = |d: &Dim, f: fn(usize, usize) -> usize, by| d.known().map_or(Dim::Unknown, |n| Dim::Known(f(n, by)));
    let channels = grown(c, |n, by| n / by, r * r);
    Ok((
        [n.clone(), channels, grown(h, usize::saturating_mul, r), grown(w, usize::saturating_mul, r)]
            .into_iter()
            .collect(),
        r,
    ))
}

impl Operator for DepthToSpace {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let x = cx.ty(0)?;
        Ok(vec![TensorType { dtype: x.dtype, shape: shuffled(&x.shape, cx.int(self.factor)?)?.0 }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let factor = cx.int(self.factor)?;
        let column_first = self.factor == "upscale_factor";
        Ok(vec![moved(cx.value(0)?, |t| {
            let (shape, r) = shuffled(&Shape::known(t.shape()), factor)?;
            let shape = shape.to_known().unwrap_or_default();
            let [n, c, h, w] = [t.shape()[0], shape[1], t.shape()[2], t.shape()[3]];
            let split = if column_first { [n, c, r, r, h, w] } else { [n, r, r, c, h, w] };
            let s = signed_strides(&split);
            // (n, c, h, row in block, w, column in block)
            let order = if column_first { [0, 1, 4, 2, 5, 3] } else { [0, 3, 4, 1, 5, 2] };
            Ok(view(t, &order.map(|d| split[d]), &order.map(|d| s[d]), 0)?.reshape(&shape)?)
        })?])
    }
}
