//! Transposed convolution.

use quantc_tensor::{DType, Dim, Scale, Shape, Tensor, TensorType, Value};

use crate::conv::{
    CONV_INPUTS, ConvParams, DILATION, GROUPS, PADDING, STRIDE, add_bias_i32, check_bias, exact_operands, infer_bias,
    product, product_scale,
};
use crate::float::conv::Channels;
use crate::float::conv_transpose::{conv_transpose_nchw, scatter_windows};
use crate::integer::{Right, matmul_i32};
use crate::spec::attr;
use crate::window::{Grid, Window, spatial};
use crate::{AttrDefault, AttrSpec, EvalCx, InferCx, IntegerUse, OpClass, OpError, Operator, Signature};

/// `output_padding` of a transposed convolution.
pub(crate) const OUTPUT_PADDING: AttrSpec =
    attr("output_padding", AttrDefault::Ints(&[]), "Added to the size of the result at the end; empty is 0.");

/// `conv_transpose1d`, `conv_transpose2d`, `conv_transpose3d`.
pub struct ConvTranspose {
    sig: &'static Signature,
    rank: usize,
}

macro_rules! conv_transpose {
    ($id:ident, $name:literal, $rank:literal, $doc:literal) => {
        #[doc = $doc]
        pub static $id: ConvTranspose = ConvTranspose {
            sig: &Signature {
                name: $name,
                doc: $doc,
                inputs: CONV_INPUTS,
                attrs: &[STRIDE, PADDING, OUTPUT_PADDING, DILATION, GROUPS],
                class: OpClass::Heavy,
            },
            rank: $rank,
        };
    };
}
conv_transpose!(
    CONV_TRANSPOSE1D,
    "conv_transpose1d",
    1,
    "Transposed convolution over one spatial dimension (torch.nn.functional.conv_transpose1d, ONNX ConvTranspose)."
);
conv_transpose!(
    CONV_TRANSPOSE2D,
    "conv_transpose2d",
    2,
    "Transposed convolution over two spatial dimensions (torch.nn.functional.conv_transpose2d, ONNX ConvTranspose)."
);
conv_transpose!(
    CONV_TRANSPOSE3D,
    "conv_transpose3d",
    3,
    "Transposed convolution over three spatial dimensions (torch.nn.functional.conv_transpose3d, ONNX ConvTranspose)."
);

/// Attributes of a transposed convolution.
#[derive(Clone, Debug)]
pub struct ConvTransposeParams {
    /// Those it shares with a convolution.
    pub conv: ConvParams,
    /// `output_padding`.
    pub output_padding: Vec<i64>,
}

impl ConvTransposeParams {
    /// The attributes of a call being typed.
    ///
    /// # Errors
    /// If an attribute is missing or out of range.
    pub fn from_infer(rank: usize, cx: &InferCx<'_>) -> Result<Self, OpError> {
        Ok(ConvTransposeParams { conv: ConvParams::from_infer(rank, cx)?, output_padding: cx.ints("output_padding")? })
    }

    /// The attributes of a call being evaluated.
    ///
    /// # Errors
    /// If an attribute is missing or out of range.
    pub fn from_eval(rank: usize, cx: &EvalCx<'_>) -> Result<Self, OpError> {
        Ok(ConvTransposeParams { conv: ConvParams::from_eval(rank, cx)?, output_padding: cx.ints("output_padding")? })
    }

    fn extra(&self, d: usize) -> Result<usize, OpError> {
        match self.output_padding.as_slice() {
            [] => Ok(0),
            [v] => Ok(*v),
            list if list.len() == self.conv.rank => Ok(list[d]),
            list => Err(OpError::new(format!("`output_padding` has {} entries", list.len()))),
        }
        .and_then(|v| {
            usize::try_from(v)
                .ok()
                .filter(|&v| v <= i32::MAX as usize)
                .ok_or_else(|| OpError::new(format!("`output_padding` can't be {v}")))
        })
    }

    /// Size of the result along spatial dimension `d` of `rank`.
    fn size(&self, window: &Window, d: usize, input: usize) -> Result<usize, OpError> {
        let s = 3 - self.conv.rank + d;
        let extent = window.dilation[s].saturating_mul(window.kernel[s] - 1).saturating_add(1);
        input
            .checked_sub(1)
            .and_then(|n| n.checked_mul(window.stride[s]))
            .and_then(|n| n.checked_add(extent)?.checked_add(self.extra(d).ok()?))
            .and_then(|n| n.checked_sub(window.pad_begin[s])?.checked_sub(window.pad_end[s]))
            .ok_or_else(|| OpError::new(format!("a transposed convolution of an input of {input} has no size")))
    }

    /// Shape of the result; `x` is `[N, C, ...]`, `w` is `[C, OC / groups, ...]`.
    ///
    /// # Errors
    /// If the known sizes do not fit together.
    pub fn infer(&self, x: &Shape, w: &Shape) -> Result<Shape, OpError> {
        let (rank, groups) = (self.conv.rank, self.conv.groups);
        if x.rank() != rank + 2 || w.rank() != rank + 2 {
            return Err(OpError::new(format!(
                "conv_transpose{rank}d: input {x} and weight {w} need {} axes",
                rank + 2
            )));
        }
        let (c, wc) = (&x.dims()[1], &w.dims()[0]);
        if !c.compatible(wc) || wc.known().is_some_and(|c| c % groups != 0) {
            return Err(OpError::new(format!("input {x} and weight {w} with groups={groups} do not fit")));
        }
        let out = w.dims()[1].known().map_or(Dim::Unknown, |n| Dim::Known(n.saturating_mul(groups)));
        let mut dims = vec![x.dims()[0].clone(), out];
        let kernel: Option<Vec<usize>> = w.dims()[2..].iter().map(Dim::known).collect();
        for d in 0..rank {
            dims.push(match (&kernel, x.dims()[2 + d].known()) {
                (Some(kernel), Some(n)) => Dim::Known(self.size(&self.conv.window(kernel)?, d, n)?),
                _ => Dim::Unknown,
            });
        }
        Ok(dims.into_iter().collect())
    }
}

/// Transposed convolution of values: exact on integers if both operands are scaled, else in f32. A weight may have a scale for each
/// of its output channels (axis 1).
///
/// # Errors
/// If sizes or types do not fit.
pub fn conv_transpose(x: &Value, w: &Value, bias: Option<&Tensor>, p: &ConvTransposeParams) -> Result<Value, OpError> {
    let (xs, ws) = (x.shape(), w.shape());
    let shape = p.infer(&Shape::known(xs), &Shape::known(ws))?.to_known().unwrap_or_default();
    crate::dims::numel(&shape)?;
    let window = p.conv.window(&ws[2..])?;
    let grid = Grid { window, input: spatial(&shape, p.conv.rank), output: spatial(xs, p.conv.rank) };
    let channels = Channels { input: xs[1], output: shape[1], groups: p.conv.groups };
    crate::dims::numel(&[channels.group_out(), window.taps(), grid.out_len()])?;
    check_bias(bias, shape[1])?;
    let batch = xs[0];
    if let Some((xi, sx, wi)) = exact_operands(x, w, Some(1)) {
        let mut acc = transpose_i32(batch, xi.ints.slice()?, wi.ints.slice()?, channels, &grid);
        add_bias_i32(&mut acc, bias, sx, &wi.scale, grid.in_len())?;
        let scale = match product_scale(sx, &wi.scale, 1) {
            // The weight's channels are those of one group; every group has the same scales.
            Scale::PerChannel { axis, scales } => Scale::PerChannel { axis, scales: scales.repeat(p.conv.groups) },
            scale => scale,
        };
        return product(&shape, acc, scale, xi);
    }
    let (x, w) = (x.to_tensor(), w.to_tensor());
    let bias = bias.map(|b| b.slice::<f32>()).transpose()?;
    Ok(Tensor::from_vec(&shape, conv_transpose_nchw(batch, x.slice()?, w.slice()?, bias, channels, &grid))?.into())
}

fn transpose_i32(batch: usize, x: &[i32], w: &[i32], channels: Channels, grid: &Grid) -> Vec<i32> {
    let (pixels, plane) = (grid.out_len(), grid.in_len());
    let mut out = vec![0i32; batch * channels.output * plane];
    let (group_in, group_out) = (channels.group_in(), channels.group_out());
    let rows = group_out * grid.window.taps();
    let mut parts = vec![0; rows * pixels];
    let groups = x.chunks_exact((group_in * pixels).max(1)).zip(out.chunks_exact_mut((group_out * plane).max(1)));
    for (i, (x, out)) in groups.enumerate() {
        let w = &w[i % channels.groups * group_in * rows..][..group_in * rows];
        let turned: Vec<i32> = (0..rows).flat_map(|r| w[r..].iter().step_by(rows).copied()).collect();
        matmul_i32(&turned, x, Right::Rows, rows, group_in, pixels, &mut parts);
        scatter_windows(&parts, grid, i32::wrapping_add, out);
    }
    out
}

impl Operator for ConvTranspose {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::F32])?;
        cx.expect_dtype(1, &[DType::F32])?;
        let shape = ConvTransposeParams::from_infer(self.rank, cx)?.infer(&cx.ty(0)?.shape, &cx.ty(1)?.shape)?;
        infer_bias(cx, 2, &shape.dims()[1])?;
        Ok(vec![TensorType { dtype: DType::F32, shape }])
    }

    fn integer_use(&self) -> IntegerUse {
        IntegerUse::Computed
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let params = ConvTransposeParams::from_eval(self.rank, cx)?;
        Ok(vec![conv_transpose(cx.value(0)?, cx.value(1)?, cx.opt_tensor(2).as_ref(), &params)?])
    }
}
