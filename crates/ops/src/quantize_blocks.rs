//! Quantize and dequantize with parameters for each block of consecutive elements: a row (per token) or a part of a row (per channel
//! group). Torch `quantized_decomposed`: the zero point is added before rounding, in f64 if the scales are f64, else in f32.

use quantc_tensor::{DType, Tensor, TensorType, Value};

use crate::quantize::range_of;
use crate::spec::{attr, optional, required};
use crate::{AttrDefault, AttrSpec, EvalCx, InferCx, InputSpec, OpClass, OpError, Operator, Signature};

const INPUTS: &[InputSpec] = &[required("input"), required("scales"), required("zero_points")];
const OPTIONAL_ZERO_POINTS: &[InputSpec] = &[required("input"), required("scales"), optional("zero_points")];
const DTYPE: AttrSpec = attr("dtype", AttrDefault::DType(DType::I8), "Integer type.");
const QUANT_MIN: AttrSpec = attr("quant_min", AttrDefault::OptionalInt, "Lowest value, if above the type's.");
const QUANT_MAX: AttrSpec = attr("quant_max", AttrDefault::OptionalInt, "Highest value, if below the type's.");
const GROUP_SIZE: AttrSpec = attr(
    "group_size",
    AttrDefault::Int(128),
    "Elements with the same parameters, more than 1; the whole row if that is shorter and there is one scale for each row.",
);

/// What the blocks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blocks {
    /// Rows along the last dimension.
    Token,
    /// Parts of the rows of a matrix.
    ChannelGroup,
}

/// `quantize_per_token`, `quantize_per_channel_group`.
pub struct QuantizeBlocks {
    sig: &'static Signature,
    blocks: Blocks,
}

/// `dequantize_per_token`, `dequantize_per_channel_group`.
pub struct DequantizeBlocks {
    sig: &'static Signature,
    blocks: Blocks,
}

/// `quantize_per_token`.
pub static QUANTIZE_PER_TOKEN: QuantizeBlocks = QuantizeBlocks {
    sig: &Signature {
        name: "quantize_per_token",
        doc: "clamp(rne(x * (1 / scale[row]) + zero_point[row])) for each row along the last dimension; NaN gives quant_min (torch.ops.quantized_decomposed.quantize_per_token).",
        inputs: INPUTS,
        attrs: &[DTYPE, QUANT_MIN, QUANT_MAX],
        class: OpClass::Quantization,
    },
    blocks: Blocks::Token,
};

/// `quantize_per_channel_group`.
pub static QUANTIZE_PER_CHANNEL_GROUP: QuantizeBlocks = QuantizeBlocks {
    sig: &Signature {
        name: "quantize_per_channel_group",
        doc: "clamp(rne(x * (1 / scale[group]) + zero_point[group])) for each group of elements of the rows of a matrix; NaN is refused (torch.ops.quantized_decomposed.quantize_per_channel_group).",
        inputs: INPUTS,
        attrs: &[DTYPE, QUANT_MIN, QUANT_MAX, GROUP_SIZE],
        class: OpClass::Quantization,
    },
    blocks: Blocks::ChannelGroup,
};

/// `dequantize_per_token`.
pub static DEQUANTIZE_PER_TOKEN: DequantizeBlocks = DequantizeBlocks {
    sig: &Signature {
        name: "dequantize_per_token",
        doc: "(q - zero_point[row]) * scale[row] for each row along the last dimension, real (torch.ops.quantized_decomposed.dequantize_per_token).",
        inputs: INPUTS,
        attrs: &[],
        class: OpClass::Quantization,
    },
    blocks: Blocks::Token,
};

/// `dequantize_per_channel_group`.
pub static DEQUANTIZE_PER_CHANNEL_GROUP: DequantizeBlocks = DequantizeBlocks {
    sig: &Signature {
        name: "dequantize_per_channel_group",
        doc: "(q - zero_point[group]) * scale[group] for each group of elements of the rows of a matrix, real (torch.ops.quantized_decomposed.dequantize_per_channel_group).",
        inputs: OPTIONAL_ZERO_POINTS,
        attrs: &[GROUP_SIZE],
        class: OpClass::Quantization,
    },
    blocks: Blocks::ChannelGroup,
};

impl Blocks {
    /// Checks what is known before the graph runs.
    fn infer(self, cx: &InferCx<'_>) -> Result<(), OpError> {
        cx.expect_dtype(1, &[DType::F32, DType::F64])?;
        if cx.opt_ty(2).is_some() {
            cx.expect_dtype(2, &[DType::F32, DType::I32, DType::I64])?;
        }
        let shape = &cx.ty(0)?.shape;
        match self {
            Blocks::Token if shape.rank() == 0 => Err(OpError::new("a scalar has no rows")),
            Blocks::ChannelGroup if shape.rank() != 2 => {
                Err(OpError::new(format!("groups of the rows of a matrix, not of {shape}")))
            }
            Blocks::ChannelGroup if cx.int("group_size")? <= 1 => {
                Err(OpError::new(format!("`group_size` can't be {}, it must be more than 1", cx.int("group_size")?)))
            }
            _ => Ok(()),
        }
    }

    /// How many elements a block has.
    fn len(self, cx: &EvalCx<'_>, shape: &[usize], scales: &Tensor) -> Result<usize, OpError> {
        let Some(&width) = shape.last() else { return Err(OpError::new("a scalar has no rows")) };
        if self == Blocks::Token {
            return Ok(width);
        }
        let given = cx.int("group_size")?;
        let size = usize::try_from(given).ok().filter(|n| *n > 1);
        let size =
            size.ok_or_else(|| OpError::new(format!("`group_size` can't be {given}, it must be more than 1")))?;
        // A single column, as GPTQ quantizes it.
        let size = if size > width && scales.shape().last() == Some(&1) { width } else { size };
        if size == 0 || !width.is_multiple_of(size) {
            return Err(OpError::new(format!("rows of {width} elements in groups of {size}")));
        }
        Ok(size)
    }
}

/// Scale and zero point of each block, and the length of a block.
struct Parameters {
    scales: Vec<f64>,
    zero_points: Vec<f64>,
    len: usize,
    /// Whether the arithmetic is that of f64.
    double: bool,
}

impl Parameters {
    fn new(cx: &EvalCx<'_>, blocks: Blocks, shape: &[usize]) -> Result<Parameters, OpError> {
        let scales = cx.tensor(1)?;
        let len = blocks.len(cx, shape, &scales)?;
        let wide = |t: &Tensor| match t.cast(DType::F64) {
            Tensor::F64(d) => d.iter().copied().collect(),
            _ => Vec::new(),
        };
        let count = shape.iter().product::<usize>().checked_div(len).unwrap_or(0);
        let zero_points = cx.opt_tensor(2).map_or_else(|| vec![0.0; count], |z| wide(&z));
        let double = scales.dtype() == DType::F64;
        let scales: Vec<f64> = wide(&scales);
        for (what, n) in [("scales", scales.len()), ("zero points", zero_points.len())] {
            if n != count && count > 0 {
                return Err(OpError::new(format!("{n} {what} for {count} blocks of {len} elements")));
            }
        }
        Ok(Parameters { scales, zero_points, len, double })
    }

    /// Maps every element with the scale and the zero point of its block.
    fn map<T: Copy, R>(&self, data: &[T], f: impl Fn(T, f64, f64) -> R) -> Vec<R> {
        let len = self.len.max(1);
        data.iter().enumerate().map(|(i, &v)| f(v, self.scales[i / len], self.zero_points[i / len])).collect()
    }
}

impl Operator for QuantizeBlocks {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::F32])?;
        self.blocks.infer(cx)?;
        let dtype = range_of(cx.dtype("dtype")?, None, None)?.dtype;
        Ok(vec![TensorType { dtype, shape: cx.ty(0)?.shape.clone() }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let bound = |name: &str| if cx.has(name) { cx.int(name).map(Some) } else { Ok(None) };
        let range = range_of(cx.dtype("dtype")?, bound("quant_min")?, bound("quant_max")?)?;
        let x = cx.tensor(0)?;
        let data = x.slice::<f32>()?;
        if self.blocks == Blocks::ChannelGroup
            && let Some(at) = data.iter().position(|v| v.is_nan())
        {
            return Err(OpError::new(format!("element {at} is NaN")));
        }
        let parameters = Parameters::new(cx, self.blocks, x.shape())?;
        let (lo, hi) = (f64::from(range.qmin), f64::from(range.qmax));
        let q: Vec<i32> = parameters.map(data, |v, scale, zero_point| {
            let q = if parameters.double {
                (f64::from(v) * (1.0 / scale) + zero_point).round_ties_even()
            } else {
                f64::from((v * (1.0 / scale as f32) + zero_point as f32).round_ties_even())
            };
            q.max(lo).min(hi) as i32
        });
        Ok(vec![Tensor::from_vec(x.shape(), q)?.cast(range.dtype).into()])
    }
}

impl Operator for DequantizeBlocks {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::U8, DType::I8, DType::I16, DType::I32])?;
        self.blocks.infer(cx)?;
        Ok(vec![TensorType { dtype: DType::F32, shape: cx.ty(0)?.shape.clone() }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let q = cx.tensor(0)?;
        let parameters = Parameters::new(cx, self.blocks, q.shape())?;
        let wide = q.cast(DType::I32);
        let data = parameters.map(wide.slice::<i32>()?, |v, scale, zero_point| {
            let q = f64::from(v) - zero_point;
            if parameters.double { (q * scale) as f32 } else { q as f32 * scale as f32 }
        });
        Ok(vec![Tensor::from_vec(q.shape(), data)?.into()])
    }
}
