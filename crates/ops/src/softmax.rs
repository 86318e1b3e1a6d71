//! Softmax and its logarithm.

use quantc_tensor::{DType, Tensor, TensorType, Value, math, reduce};
use rayon::prelude::*;

use crate::activation::UNARY_INPUT;
use crate::dims::axis;
use crate::movement::permute;
use crate::spec::attr;
use crate::{AttrDefault, EvalCx, InferCx, OpClass, OpError, Operator, Signature};

/// `softmax` and `log_softmax`.
pub struct Softmax {
    sig: &'static Signature,
    row: fn(&mut [f32]),
}

macro_rules! softmax {
    ($id:ident, $name:literal, $row:expr, $doc:literal) => {
        #[doc = $doc]
        pub static $id: Softmax = Softmax {
            sig: &Signature {
                name: $name,
                doc: $doc,
                inputs: UNARY_INPUT,
                attrs: &[attr("dim", AttrDefault::Int(-1), "The dimension.")],
                class: OpClass::Reduction,
            },
            row: $row,
        };
    };
}
softmax!(SOFTMAX, "softmax", reduce::softmax_row, "e^x / sum(e^x) along a dimension (torch.softmax).");
softmax!(LOG_SOFTMAX, "log_softmax", log_softmax_row, "ln(softmax(x)) along a dimension (torch.log_softmax).");

/// `(x - max) - ln(sum(e^(x - max)))` of a row in place.
pub fn log_softmax_row(x: &mut [f32]) {
    let largest = reduce::max(x);
    x.iter_mut().for_each(|v| *v -= largest);
    let powers: Vec<f32> = x.iter().map(|&v| math::exp_f32(v)).collect();
    let log = quantc_tensor::math::log_f32(reduce::sum(&powers));
    x.iter_mut().for_each(|v| *v -= log);
}

impl Operator for Softmax {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::F32])?;
        axis(cx.int("dim")?, cx.ty(0)?.shape.rank())?;
        Ok(vec![cx.ty(0)?.clone()])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let x = cx.tensor(0)?;
        let d = axis(cx.int("dim")?, x.rank())?;
        let last = x.rank() - 1;
        // Swapping two dimensions is its own inverse.
        let mut order: Vec<i64> = (0..x.rank() as i64).collect();
        order.swap(d, last);
        let turned = if d == last { x } else { permute(&x, &order)? };
        let mut data = turned.slice::<f32>()?.to_vec();
        data.par_chunks_mut(turned.shape()[last].max(1)).with_min_len(16).for_each(self.row);
        let out = Tensor::from_vec(turned.shape(), data)?;
        Ok(vec![if d == last { out } else { permute(&out, &order)? }.into()])
    }
}
