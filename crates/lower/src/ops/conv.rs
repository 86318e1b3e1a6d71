//! Integer convolution and linear layers.

use std::cell::LazyCell;
use std::sync::Arc;

use quantc_ir::ValueRef;
use quantc_kernels::{ConvGeometry, ConvPlan, QuantizeParams, is_depthwise};
use quantc_ops::window::Window;
use quantc_runtime::steps::{
    DYNAMIC_PARAMS, DynamicConvStep, DynamicQuantizeStep, Fill, QConvFunctionStep, QConvStep, QEpilogue, QFunction,
    QPart, QWeights, dynamic_codes_len,
};
use quantc_runtime::{Slot, Source};
use quantc_tensor::scaled::{quantize_bias, requantize_multiplier};
use quantc_tensor::{DType, ScaledInt, Tensor};

use crate::attrs::AttrView;
use crate::cache::PartKey;
use crate::error::NodeError;
use crate::lowering::{Call, Lowering};
use crate::ops::quantized::{Quantized, activation, is_code, stored_zero_point};
use crate::ops::rows::{UNCLAMPED, broadcast_operand, unary_op};
use crate::stored::StoredForm;
use crate::view::{channels_last, row_major};

/// The window of a convolution of at most two spatial dimensions, as `[vertical, horizontal]` of everything.
pub(crate) struct Window2 {
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) dilation: [usize; 2],
    /// `[top, left, bottom, right]`.
    pub(crate) pad: [usize; 4],
}

impl From<&Window> for Window2 {
    fn from(w: &Window) -> Window2 {
        let last = |v: [usize; 3]| [v[1], v[2]];
        Window2 {
            kernel: last(w.kernel),
            stride: last(w.stride),
            dilation: last(w.dilation),
            pad: [w.pad_begin[1], w.pad_begin[2], w.pad_end[1], w.pad_end[2]],
        }
    }
}

/// `[n, c, h, w]` of an image of one or two spatial dimensions.
pub(crate) fn image(shape: &[usize]) -> Option<[usize; 4]> {
    match *shape {
        [n, c, w] => Some([n, c, 1, w]),
        [n, c, h, w] => Some([n, c, h, w]),
        _ => None,
    }
}

/// The geometry of a convolution call; `None` if it has more than two spatial dimensions.
pub(crate) fn geometry(attrs: &AttrView<'_>, x: &[usize], w: &[usize]) -> Result<Option<ConvGeometry>, NodeError> {
    let (Some([n, c, h, width]), [oc, _, kernel @ ..]) = (image(x), w) else { return Ok(None) };
    let ones = vec![1; kernel.len()];
    let (stride, padding, dilation) = (attrs.ints("stride")?, attrs.ints("padding")?, attrs.ints("dilation")?);
    let window = Window2::from(&Window::new(kernel, &stride, &ones, &padding, &dilation)?);
    let groups = usize::try_from(attrs.int("groups")?).unwrap_or_default();
    let geometry = ConvGeometry {
        n,
        h,
        w: width,
        c,
        oh: 0,
        ow: 0,
        oc: *oc,
        kernel: window.kernel,
        stride: window.stride,
        dilation: window.dilation,
        pad: window.pad,
        groups,
    };
    Ok(Some(geometry.with_output_size()?))
}

/// Weights `[oc][c][taps]` as `[oc][taps][c]`.
pub(crate) fn channels_last_weights<T: Copy>(weights: &[T], channels: usize, taps: usize) -> Vec<T> {
    if taps == 1 {
        return weights.to_vec();
    }
    let filter = channels * taps;
    let mut out = Vec::with_capacity(weights.len());
    for filter in weights.chunks_exact(filter.max(1)) {
        for tap in 0..taps {
            out.extend(filter[tap..].iter().step_by(taps));
        }
    }
    out
}

/// How an operator's weights become those of the convolution that computes it.
pub(crate) struct Form<'a> {
    /// A name for it, to find packed weights again.
    pub(crate) usage: &'static str,
    /// The weights as `[oc][kh][kw][c / groups]`.
    pub(crate) weights: &'a dyn Fn(&[i8]) -> Vec<i8>,
    /// How often the weight's scales are repeated over the output channels.
    pub(crate) scales: usize,
}

/// Multiplications from which on a layer of one row is cut for several threads.
pub(crate) const CUT_MACS: usize = 1 << 20;
/// Parts of a layer that is cut, at most.
const PARTS: usize = 8;
/// Output channels of a part are a multiple of this.
const PART_CHANNELS: usize = 64;

/// The constant operands of an integer layer, as they are stored.
struct Constants {
    weights: QWeights,
    weight_scale: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl Constants {
    fn new(
        lw: &Lowering<'_>,
        call: &Call<'_>,
        geometry: &ConvGeometry,
        form: &Form<'_>,
    ) -> Result<Option<Constants>, NodeError> {
        let (weight, scales) = (call.input(1)?, call.input(2)?);
        let Some(scales) = lw.constant(scales).filter(|_| lw.is_constant(weight)) else { return Ok(None) };
        let scales = weight_scales(&scales, geometry.oc / form.scales.max(1)).map(|s| s.repeat(form.scales));
        let (DType::I8, Some(weight_scale)) = (lw.dtype(weight), scales) else { return Ok(None) };
        let bias = match call.opt(3).map(|b| lw.constant(b)) {
            None => None,
            Some(Some(bias)) => Some(bias.to_f32_vec()),
            Some(None) => return Ok(None),
        };
        let shape = geometry.weight_shape();
        let kernel = if is_depthwise(&shape) { lw.kernels.qdepthwise } else { lw.kernels.qconv };
        // The step of a function has its weights in one part.
        let cut = function_name(call)?.is_none()
            && geometry.rows() == 1
            && shape.groups == 1
            && shape.taps() == 1
            && shape.len() >= CUT_MACS;
        let size = if cut { shape.oc.div_ceil(PARTS).next_multiple_of(PART_CHANNELS) } else { shape.oc.max(1) };
        // Weights that are stored packed may never be needed otherwise.
        let all = LazyCell::new(|| {
            let w = lw.constant(weight);
            (form.weights)(w.as_ref().and_then(|w| w.slice::<i8>().ok()).unwrap_or(&[]))
        });
        let mut parts = Vec::new();
        for first in (0..shape.oc.max(1)).step_by(size) {
            let geometry = ConvGeometry { oc: size.min(shape.oc - first), ..*geometry };
            let shape = geometry.weight_shape();
            let pack = || all.get(first * shape.k()..).and_then(|w| w.get(..shape.len())).unwrap_or(&[]);
            let weights = match lw.param(weight) {
                Some(param) => {
                    let key = PartKey { param: param.to_owned(), usage: form.usage, first };
                    lw.cache.packed(key, kernel, &shape, pack)
                }
                None => Arc::new(kernel.pack(&shape, pack())),
            };
            let plan = ConvPlan::new(geometry)?.with_blocking(lw.cache.blocking(&geometry));
            parts.push(QPart { plan: Arc::new(plan), weights });
        }
        Ok(Some(Constants { weights: QWeights { kernel, size, parts }, weight_scale, bias }))
    }
}

/// An integer layer whose input is quantized with known parameters.
struct Layer {
    weights: QWeights,
    /// `s_x * s_w` of each output channel.
    scale: Vec<f32>,
    offsets: Vec<i32>,
}

/// Scales of the weights, one for each output channel.
pub(crate) fn weight_scales(scales: &Tensor, oc: usize) -> Option<Vec<f32>> {
    let scales = scales.to_f32_vec();
    match scales.len() {
        1 => Some(vec![scales[0]; oc]),
        n if n == oc => Some(scales),
        _ => None,
    }
}

impl Layer {
    fn new(call: &Call<'_>, constants: Constants, x_zero_point: u8) -> Result<Layer, NodeError> {
        let x_scale = call.attrs.float("x_scale")?;
        let Constants { weights, weight_scale, bias } = constants;
        let mut offsets = vec![0; weight_scale.len()];
        weights.offsets(x_zero_point, &mut offsets);
        if let Some(bias) = bias {
            for ((offset, &bias), &scale) in offsets.iter_mut().zip(&bias).zip(&weight_scale) {
                *offset = offset.wrapping_add(quantize_bias(bias, x_scale, scale));
            }
        }
        let scale = weight_scale.iter().map(|s| x_scale * s).collect();
        Ok(Layer { weights, scale, offsets })
    }

    /// Adds the step, given what it reads and writes: the result's slot and the elements from one pixel to the next.
    fn push(
        self,
        lw: &mut Lowering<'_>,
        call: &Call<'_>,
        order: &[usize],
        stage: Stage,
        (x, x_zero_point): (Source, u8),
        (out, out_stride): (Slot, usize),
    ) {
        let Layer { weights, scale, offsets } = self;
        let offsets = Arc::from(offsets);
        match stage {
            Stage::Epilogue(epilogue) => {
                lw.push_in(call, order, QConvStep { weights, offsets, x, x_zero_point, epilogue, out, out_stride });
            }
            Stage::Function(function, clamp) => {
                let scale = Arc::from(scale);
                let step =
                    QConvFunctionStep { weights, offsets, x, x_zero_point, scale, clamp, function, out, out_stride };
                lw.push_in(call, order, step);
            }
        }
    }
}

/// What a layer does with its sums.
enum Stage {
    /// As an epilogue of its kernel.
    Epilogue(QEpilogue),
    /// A function of the real result, which has these bounds.
    Function(QFunction, (f32, f32)),
}

/// The function of one element that a layer applies to its real result.
fn function_name(call: &Call<'_>) -> Result<Option<String>, NodeError> {
    if call.op.signature().attr_name("function").is_none() {
        return Ok(None);
    }
    Ok(Some(call.attrs.str("function")?).filter(|name| name != "none"))
}

/// The kernels of a layer's function; `None` if there are none.
fn function(lw: &Lowering<'_>, call: &Call<'_>, name: &str) -> Result<Option<QFunction>, NodeError> {
    let (Some(op), Some(out), None) =
        (unary_op(name, &call.attrs)?, Quantized::of(&call.attrs, UNCLAMPED)?, call.opt(4))
    else {
        return Ok(None);
    };
    let params = QuantizeParams { inverse_scale: 1.0 / out.scale, zero_point: out.stored_zero_point, clamp: out.clamp };
    Ok(Some(QFunction { float: lw.kernels.float, op, quantize: lw.kernels.quantize, params }))
}

/// What follows the sums of a fused integer layer; `None` if no kernel has it.
fn stage(
    lw: &mut Lowering<'_>,
    call: &Call<'_>,
    layer: &Layer,
    residual: Option<(ValueRef, &[usize], usize)>,
) -> Result<Option<Stage>, NodeError> {
    Ok(match function_name(call)? {
        Some(name) => match function(lw, call, &name)? {
            Some(function) => Some(Stage::Function(function, activation(&call.attrs)?)),
            None => None,
        },
        None => epilogue(lw, call, layer, residual)?.map(Stage::Epilogue),
    })
}

/// The epilogue of a fused integer layer; `None` if no kernel has it.
fn epilogue(
    lw: &mut Lowering<'_>,
    call: &Call<'_>,
    layer: &Layer,
    residual: Option<(ValueRef, &[usize], usize)>,
) -> Result<Option<QEpilogue>, NodeError> {
    let real = activation(&call.attrs)?;
    if call.attrs.dtype("dtype")? == DType::F32 {
        // Sums that are kept are scaled and clamped where they are used.
        let dequantize = if lw.keeps(call.out()) {
            QEpilogue::Dequantize { scale: Arc::from(vec![1.0; layer.scale.len()]), clamp: ScaledInt::UNCLAMPED }
        } else {
            QEpilogue::Dequantize { scale: Arc::from(&layer.scale[..]), clamp: real }
        };
        return Ok(residual.is_none().then_some(dequantize));
    }
    let Some(out) = Quantized::of(&call.attrs, real)? else { return Ok(None) };
    let Some((value, order, stride)) = residual else {
        let multiplier = layer.scale.iter().map(|&s| requantize_multiplier(s, out.scale)).collect();
        return Ok(Some(QEpilogue::Requantize { multiplier, zero_point: out.stored_zero_point, clamp: out.clamp }));
    };
    let dtype = lw.dtype(value);
    let zero_point = stored_zero_point(&call.attrs, "residual_zero_point", dtype)?;
    let (true, Some(residual_zero_point)) = (is_code(dtype), zero_point) else { return Ok(None) };
    let shape = lw.shape(call.out());
    let residual = broadcast_operand(lw, call, value, &shape, order)?;
    Ok(Some(QEpilogue::AddRequantize {
        scale: Arc::from(&layer.scale[..]),
        residual,
        residual_stride: stride,
        residual_scale: call.attrs.float("residual_scale")?,
        residual_zero_point,
        inverse_scale: 1.0 / out.scale,
        zero_point: out.stored_zero_point,
        clamp: out.clamp,
    }))
}

/// What a layer's input is.
#[derive(Clone, Copy)]
pub(crate) enum Input {
    /// Codes, stored with this zero point.
    Codes(u8),
    /// Reals that are quantized over their own range when the plan runs.
    Reals {
        /// Half the range.
        reduce_range: bool,
    },
}

impl Input {
    /// That of a call; `None` if it is neither.
    pub(crate) fn of(lw: &Lowering<'_>, call: &Call<'_>) -> Result<Option<Input>, NodeError> {
        let dtype = lw.dtype(call.input(0)?);
        if call.op.signature().attr_name("reduce_range").is_some() {
            let reduce_range = call.attrs.bool("reduce_range")?;
            return Ok((dtype == DType::F32).then_some(Input::Reals { reduce_range }));
        }
        if !is_code(dtype) {
            return Ok(None);
        }
        let zero_point = stored_zero_point(&call.attrs, "x_zero_point", dtype)?;
        Ok(zero_point.and_then(|z| u8::try_from(z).ok()).map(Input::Codes))
    }
}

/// Adds the step of a layer that computes the call: a convolution of channels-last images, of which linear layers are some. `codes` makes
/// the input of that convolution of the call's codes in the given order; where it pads them, with what it is given.
pub(crate) fn push_layer(
    lw: &mut Lowering<'_>,
    call: &Call<'_>,
    geometry: &ConvGeometry,
    form: &Form<'_>,
    order: &[usize],
    input: Input,
    codes: impl FnOnce(&mut Lowering<'_>, Source, Fill) -> Source,
) -> Result<bool, NodeError> {
    // A result that is not that of the layer itself was broadcast to a larger residual.
    if lw.shape(call.out()).iter().product::<usize>() != geometry.rows() * geometry.oc {
        return Ok(false);
    }
    let Some(constants) = Constants::new(lw, call, geometry, form)? else { return Ok(false) };
    let value = call.input(0)?;
    match input {
        Input::Codes(x_zero_point) => {
            let layer = Layer::new(call, constants, x_zero_point)?;
            let residual = call.opt(4).map(|r| (r, order, geometry.oc));
            let Some(stage) = stage(lw, call, &layer, residual)? else { return Ok(false) };
            let x = lw.operand(value, Some(order))?.source;
            let x = codes(lw, x, Fill::Element(vec![x_zero_point]));
            let out = lw.destination(call.out(), order.to_vec());
            layer.push(lw, call, order, stage, (x, x_zero_point), out);
        }
        Input::Reals { reduce_range } => {
            let (x, params) = dynamic_codes(lw, call, value, reduce_range, order)?;
            let x = codes(lw, Source::Arena(x), Fill::ZeroPoint(params));
            let (out, out_stride) = lw.destination(call.out(), order.to_vec());
            let step = DynamicConvStep {
                weights: constants.weights,
                weight_scale: Arc::from(constants.weight_scale),
                bias: constants.bias.map(Arc::from),
                x,
                params,
                clamp: activation(&call.attrs)?,
                scale: lw.temporary(geometry.oc * size_of::<f32>()),
                offsets: lw.temporary(geometry.oc * size_of::<i32>()),
                out,
                out_stride,
            };
            lw.push_in(call, order, step);
        }
    }
    Ok(true)
}

/// The codes of a value that is quantized when the plan runs, in some order, and their parameters: layers of one input share them.
fn dynamic_codes(
    lw: &mut Lowering<'_>,
    call: &Call<'_>,
    value: ValueRef,
    reduce_range: bool,
    order: &[usize],
) -> Result<(Slot, Slot), NodeError> {
    let key = (value, reduce_range, order.to_vec());
    let len = lw.shape(value).iter().product();
    let (codes, params) = match lw.dynamic.get(&key) {
        Some(slots) => *slots,
        None => {
            let x = lw.operand(value, Some(order))?.source;
            let (out, params) = (lw.temporary(dynamic_codes_len(len)), lw.temporary(DYNAMIC_PARAMS));
            let range = if reduce_range { (0, 127) } else { (0, 255) };
            lw.push_in(call, order, DynamicQuantizeStep { kernel: lw.kernels.quantize, range, x, len, out, params });
            lw.dynamic.insert(key, (out, params));
            (out, params)
        }
    };
    Ok((Slot { len, ..codes }, params))
}

/// `quantized.conv1d`, `quantized.conv2d`, and these with `_dynamic`.
pub(crate) fn quantized_conv(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let (x, w) = (lw.shape(call.input(0)?), lw.shape(call.input(1)?));
    let Some(input) = Input::of(lw, call)? else { return Ok(false) };
    let Some(geometry) = geometry(&call.attrs, &x, &w)? else { return Ok(false) };
    let shape = geometry.weight_shape();
    let weights = |w: &[i8]| channels_last_weights(w, shape.group_c(), shape.taps());
    let form = Form { usage: StoredForm::Conv.name(), weights: &weights, scales: 1 };
    push_layer(lw, call, &geometry, &form, &channels_last(x.len()), input, |_, x, _| x)
}

/// `quantized.linear`, `quantized.linear_dynamic`.
pub(crate) fn quantized_linear(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let (x, w) = (lw.shape(call.input(0)?), lw.shape(call.input(1)?));
    let Some(input) = Input::of(lw, call)? else { return Ok(false) };
    let (&[oc, depth], Some((&last, rows))) = (&w[..], x.split_last()) else { return Ok(false) };
    if last != depth {
        return Ok(false);
    }
    let geometry = ConvGeometry::linear(rows.iter().product(), depth, oc);
    // The weights are as they are stored.
    let form = Form { usage: StoredForm::Linear.name(), weights: &|w| w.to_vec(), scales: 1 };
    push_layer(lw, call, &geometry, &form, &row_major(x.len()), input, |_, x, _| x)
}
