//! Quantization parameters from the values of a tensor, chosen when the graph runs (torch `quantized_decomposed`).

use quantc_tensor::{DType, Dim, QRange, Shape, Tensor, TensorType, Value, reduce};

use crate::activation::UNARY_INPUT;
use crate::quantize::range_of;
use crate::spec::attr;
use crate::{AttrDefault, AttrSpec, EvalCx, InferCx, OpClass, OpError, Operator, Signature};

const TENSOR_ATTRS: &[AttrSpec] = &[
    attr("quant_min", AttrDefault::RequiredInt, "Lowest integer in use."),
    attr("quant_max", AttrDefault::RequiredInt, "Highest integer in use."),
    attr("eps", AttrDefault::Float(f32::EPSILON), "Smallest scale."),
    attr("dtype", AttrDefault::DType(DType::U8), "Integer type."),
];

/// `choose_qparams`, `choose_qparams_symmetric`.
pub struct ChooseQParams {
    sig: &'static Signature,
    symmetric: bool,
}

/// `choose_qparams`.
pub static CHOOSE_QPARAMS: ChooseQParams = ChooseQParams {
    sig: &Signature {
        name: "choose_qparams",
        doc: "Scale f64[1] and zero point i64[1] for the range of the values, 0 included; NaN does not count (torch.ops.quantized_decomposed.choose_qparams.tensor).",
        inputs: UNARY_INPUT,
        attrs: TENSOR_ATTRS,
        class: OpClass::Other,
    },
    symmetric: false,
};

/// `choose_qparams_symmetric`.
pub static CHOOSE_QPARAMS_SYMMETRIC: ChooseQParams = ChooseQParams {
    sig: &Signature {
        name: "choose_qparams_symmetric",
        doc: "Scale f64[1] and zero point i64[1] (128 for u8, else 0) for the largest magnitude; NaN does not count (torch.ops.quantized_decomposed.choose_qparams_symmetric.tensor).",
        inputs: UNARY_INPUT,
        attrs: TENSOR_ATTRS,
        class: OpClass::Other,
    },
    symmetric: true,
};

/// The range that the attributes `quant_min`, `quant_max` and `dtype` give: it must hold 0 and more.
fn range(dtype: DType, lo: i64, hi: i64) -> Result<QRange, OpError> {
    let range = range_of(dtype, Some(lo), Some(hi))?;
    let whole = (i64::from(range.qmin), i64::from(range.qmax)) == (lo, hi);
    if whole && lo <= 0 && 0 <= hi && lo < hi {
        return Ok(range);
    }
    Err(OpError::new(format!("the range {lo}..={hi} must hold 0 and more and lie within that of {dtype}")))
}

/// Scale and zero point for values from `lo` to `hi` (torch.ao.quantization.utils.determine_qparams without a customized range), all in
/// f32.
fn determine_qparams(lo: f32, hi: f32, range: QRange, eps: f32, symmetric: bool) -> (f32, i64) {
    let (lo, hi) = (lo.min(0.0), hi.max(0.0));
    // A difference of i32 bounds may not fit; PyTorch's is a Python integer.
    let levels = (i64::from(range.qmax) - i64::from(range.qmin)) as f64;
    if symmetric {
        let scale = ((-lo).max(hi) / (levels / 2.0) as f32).max(eps);
        return (scale, if range.dtype == DType::U8 { 128 } else { 0 });
    }
    let scale = ((hi - lo) / levels as f32).max(eps);
    // The conversion saturates; a range of infinite width gives NaN, which becomes 0.
    let zero_point = i64::from(range.qmin).saturating_sub((lo / scale).round_ties_even() as i64);
    (scale, zero_point.clamp(range.qmin.into(), range.qmax.into()))
}

impl Operator for ChooseQParams {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::F32])?;
        range(cx.dtype("dtype")?, cx.int("quant_min")?, cx.int("quant_max")?)?;
        let one = |dtype| TensorType { dtype, shape: Shape::known(&[1]) };
        Ok(vec![one(DType::F64), one(DType::I64)])
    }

    fn outputs(&self) -> Option<usize> {
        Some(2)
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let range = range(cx.dtype("dtype")?, cx.int("quant_min")?, cx.int("quant_max")?)?;
        let seen = reduce::min_max(cx.tensor(0)?.slice()?);
        let (scale, zero_point) = determine_qparams(seen.min, seen.max, range, cx.float("eps")?, self.symmetric);
        Ok(vec![Tensor::vector(vec![f64::from(scale)]).into(), Tensor::vector(vec![zero_point]).into()])
    }
}

/// `choose_qparams_per_token`, `choose_qparams_per_token_asymmetric`.
pub struct ChooseQParamsPerToken {
    sig: &'static Signature,
    asymmetric: bool,
}

const TOKEN_ATTRS: &[AttrSpec] = &[attr("dtype", AttrDefault::DType(DType::I8), "Integer type, i8.")];

/// `choose_qparams_per_token`.
pub static CHOOSE_QPARAMS_PER_TOKEN: ChooseQParamsPerToken = ChooseQParamsPerToken {
    sig: &Signature {
        name: "choose_qparams_per_token",
        doc: "For each row along the last dimension the scale max(|x|, 1e-5) / 127 and the zero point 0, both f32 (torch.ops.quantized_decomposed.choose_qparams_per_token).",
        inputs: UNARY_INPUT,
        attrs: TOKEN_ATTRS,
        class: OpClass::Reduction,
    },
    asymmetric: false,
};

/// `choose_qparams_per_token_asymmetric`.
pub static CHOOSE_QPARAMS_PER_TOKEN_ASYMMETRIC: ChooseQParamsPerToken = ChooseQParamsPerToken {
    sig: &Signature {
        name: "choose_qparams_per_token_asymmetric",
        doc: "For each row along the last dimension scale f64 and zero point i64 for its range in -128..=127, the zero point from the end with the smaller error (torch.ops.quantized_decomposed._choose_qparams_per_token_asymmetric_impl).",
        inputs: UNARY_INPUT,
        attrs: TOKEN_ATTRS,
        class: OpClass::Reduction,
    },
    asymmetric: true,
};

/// Scale and zero point of one row, in f32 throughout.
fn token_qparams(row: &[f32]) -> (f32, f32) {
    const QMIN: f32 = -128.0;
    const QMAX: f32 = 127.0;
    let seen = reduce::min_max(row);
    let (lo, hi) = (seen.min.min(0.0), seen.max.max(0.0));
    let scale = ((hi - lo) / (QMAX - QMIN)).max(f32::EPSILON);
    let (lo, hi) = (lo / scale, hi / scale);
    let from_min = (QMIN + lo) + (QMAX + hi) > 0.0;
    let zero_point = if from_min { QMIN - lo } else { QMAX - hi };
    (scale, zero_point.clamp(QMIN, QMAX).round_ties_even())
}

impl Operator for ChooseQParamsPerToken {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::F32])?;
        let dtype = cx.dtype("dtype")?;
        if dtype != DType::I8 {
            return Err(OpError::new(format!("`{}` gives parameters for i8, not {dtype}", self.sig.name)));
        }
        let dims = cx.ty(0)?.shape.dims();
        let [rows @ .., last] = dims else {
            return Err(OpError::new(format!("`{}` needs a last dimension", self.sig.name)));
        };
        if last.known() == Some(0) {
            return Err(OpError::new(format!("`{}` of rows without elements", self.sig.name)));
        }
        let shape: Shape = rows.iter().cloned().chain([Dim::Known(1)]).collect();
        let (scale, zero_point) = if self.asymmetric { (DType::F64, DType::I64) } else { (DType::F32, DType::F32) };
        Ok(vec![TensorType { dtype: scale, shape: shape.clone() }, TensorType { dtype: zero_point, shape }])
    }

    fn outputs(&self) -> Option<usize> {
        Some(2)
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let x = cx.tensor(0)?;
        let mut shape = x.shape().to_vec();
        let Some(last) = shape.last_mut() else { return Err(OpError::new("a scalar has no rows")) };
        let width = std::mem::replace(last, 1);
        let rows = x.slice::<f32>()?.chunks_exact(width.max(1));
        if self.asymmetric {
            let (scales, zeros): (Vec<f64>, Vec<i64>) =
                rows.map(token_qparams).map(|(s, z)| (f64::from(s), z as i64)).unzip();
            return Ok(vec![Tensor::from_vec(&shape, scales)?.into(), Tensor::from_vec(&shape, zeros)?.into()]);
        }
        let largest = |row: &[f32]| {
            let seen = reduce::min_max(row);
            (-seen.min).max(seen.max).max(1e-5) / 127.0
        };
        let scales: Vec<f32> = rows.map(largest).collect();
        let zeros = Tensor::full(&shape, 0.0f32);
        Ok(vec![Tensor::from_vec(&shape, scales)?.into(), zeros.into()])
    }
}
