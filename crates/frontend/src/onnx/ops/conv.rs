//! Convolutions and Gemm.

use quantc_ops::Attrs;

use super::window::{list, shortest, window};
use crate::onnx::error::NodeError;
use crate::onnx::importer::{Importer, Val};
use crate::onnx::node::NodeCx;

/// The operator of that number of image dimensions.
pub(super) fn by_dims(names: [&'static str; 3], n: usize) -> Result<&'static str, NodeError> {
    match n {
        1..=3 => Ok(names[n - 1]),
        _ => Err(NodeError::mismatch(format!("it has {n} image dimensions, 1 to 3 are supported"))),
    }
}

/// The sizes of the kernel: those of the weight, which `kernel_shape` may repeat.
fn kernel_of(im: &Importer, cx: &NodeCx<'_>, weight: Val) -> Result<Vec<i64>, NodeError> {
    let shape = im.need_shape(weight)?;
    if shape.len() < 3 {
        return Err(NodeError::mismatch(format!("its weight has shape {shape:?}, it needs 3 dimensions or more")));
    }
    let kernel: Vec<i64> = shape[2..].iter().map(|&d| d as i64).collect();
    match cx.ints("kernel_shape")? {
        Some(given) if given != kernel => {
            Err(NodeError::mismatch(format!("kernel_shape is {given:?}, its weight has {kernel:?}")))
        }
        _ => Ok(kernel),
    }
}

pub(super) fn conv(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let (x, w) = (cx.input(0, "X")?, cx.input(1, "W")?);
    let kernel = kernel_of(im, cx, w)?;
    let op = by_dims(["conv1d", "conv2d", "conv3d"], kernel.len())?;
    let window = window(cx, &im.ty(x).shape, &kernel)?;
    let attrs = Attrs::new()
        .with("stride", trim(window.stride, 1))
        .with("padding", trim(window.padding, 0))
        .with("dilation", trim(window.dilation, 1))
        .with("groups", cx.int("group", 1)?);
    im.emit(cx, op, &[Some(x), Some(w), cx.opt_input(2)], attrs)
}

/// The empty list for a list of defaults, which is how our operators write it.
pub(super) fn trim(values: Vec<i64>, default: i64) -> Vec<i64> {
    if values.iter().all(|v| *v == default) { Vec::new() } else { values }
}

pub(super) fn conv_transpose(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let (x, w) = (cx.input(0, "X")?, cx.input(1, "W")?);
    let kernel = kernel_of(im, cx, w)?;
    let n = kernel.len();
    let op = by_dims(["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"], n)?;
    let (stride, dilation) = (list(cx, "strides", n, 1)?, list(cx, "dilations", n, 1)?);
    let output_padding = list(cx, "output_padding", n, 0)?;
    let auto_pad = cx.one_of("auto_pad", "NOTSET", &["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"])?;
    let mut pads = cx.ints("pads")?.unwrap_or_else(|| vec![0; 2 * n]);
    let output_shape = cx.ints("output_shape")?;
    if output_shape.is_some() || auto_pad.starts_with("SAME") {
        let input = im.ty(x).shape;
        // The standard lets the shape include batch and channel.
        let target = output_shape.as_ref().map(|shape| &shape[shape.len().saturating_sub(n)..]);
        if let Some(target) = target.filter(|t| t.len() != n) {
            return Err(NodeError::mismatch(format!("output_shape has {} numbers for {n} dimensions", target.len())));
        }
        pads = vec![0; 2 * n];
        for d in 0..n {
            // What the full result has beyond `stride` times the input, which is what the others ask for, whatever the size is.
            let beyond = (kernel[d] - 1).saturating_mul(dilation[d]).saturating_add(output_padding[d] + 1 - stride[d]);
            let total = match (target, input.0.get(d + 2).and_then(|d| d.known())) {
                (None, _) => beyond,
                (Some(target), Some(size)) => {
                    beyond.saturating_add(stride[d].saturating_mul(size as i64)).saturating_sub(target[d])
                }
                (Some(_), None) => return Err(NodeError::UnknownShape { shape: input.to_string() }),
            };
            if total < 0 {
                let message = "the result asked for is larger than the full one";
                return Err(NodeError::mismatch(format!("{message} in dimension {d}")));
            }
            let (small, large) = (total / 2, total - total / 2);
            let upper = auto_pad == "SAME_UPPER";
            (pads[d], pads[d + n]) = if upper { (small, large) } else { (large, small) };
        }
    } else if auto_pad == "VALID" {
        pads = vec![0; 2 * n];
    }
    if pads.len() != 2 * n {
        return Err(NodeError::mismatch(format!("pads has {} numbers for {n} dimensions", pads.len())));
    }
    let attrs = Attrs::new()
        .with("stride", trim(stride, 1))
        .with("padding", trim(shortest(pads), 0))
        .with("output_padding", trim(output_padding, 0))
        .with("dilation", trim(dilation, 1))
        .with("groups", cx.int("group", 1)?);
    im.emit(cx, op, &[Some(x), Some(w), cx.opt_input(2)], attrs)
}

/// `alpha * A' * B' + beta * C`: `linear` where B' is a weight, else in parts.
pub(super) fn gemm(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let (mut a, mut b) = (cx.input(0, "A")?, cx.input(1, "B")?);
    let (alpha, beta) = (cx.float("alpha", 1.0)?, cx.float("beta", 1.0)?);
    let (trans_a, trans_b) = (cx.flag("transA", false)?, cx.flag("transB", false)?);
    for (v, name) in [(a, "A"), (b, "B")] {
        if im.rank(v) != 2 {
            return Err(NodeError::mismatch(format!("its input {name} is {}, it must have 2 dimensions", im.ty(v))));
        }
    }
    let swap = || Attrs::new().with("dims", vec![1i64, 0]);
    if trans_a {
        a = im.emit1(cx, "permute", &[a], swap())?;
    }
    let c = cx.opt_input(2);
    let weight = trans_b || im.constant(b).is_some();
    if !weight {
        let y = im.emit1(cx, "matmul", &[a, b], Attrs::new())?;
        return scale_and_add(im, cx, y, alpha, beta, c);
    }
    let out_features = im.ty(b).shape.0[usize::from(!trans_b)].known();
    if !trans_b {
        b = im.emit1(cx, "permute", &[b], swap())?;
    }
    let bias = if alpha == 1.0 { bias_of(im, cx, c, beta, out_features)? } else { None };
    let y = im.emit(cx, "linear", &[Some(a), Some(b), bias], Attrs::new())?;
    match (y.first(), bias) {
        (Some(&y), None) => scale_and_add(im, cx, y, alpha, beta, c),
        _ => Ok(y),
    }
}

/// C as the bias of `linear`: a constant row, scaled by beta.
fn bias_of(
    im: &mut Importer,
    cx: &NodeCx<'_>,
    c: Option<Val>,
    beta: f32,
    out_features: Option<usize>,
) -> Result<Option<Val>, NodeError> {
    let (Some(c), Some(n)) = (c, out_features) else { return Ok(None) };
    let Some(tensor) = im.constant(c) else { return Ok(None) };
    if tensor.numel() != n || tensor.shape().last() != Some(&n) {
        return Ok(None);
    }
    let mut bias = c;
    if tensor.rank() != 1 {
        bias = im.emit1(cx, "reshape", &[bias], Attrs::new().with("shape", vec![n as i64]))?;
    }
    if beta != 1.0 {
        let factor = im.constant_val("", quantc_tensor::Tensor::scalar(beta));
        bias = im.emit1(cx, "mul", &[bias, factor], Attrs::new())?;
    }
    Ok(Some(bias))
}

fn scale_and_add(
    im: &mut Importer,
    cx: &NodeCx<'_>,
    mut y: Val,
    alpha: f32,
    beta: f32,
    c: Option<Val>,
) -> Result<Vec<Val>, NodeError> {
    let scaled = |im: &mut Importer, v: Val, factor: f32| {
        if factor == 1.0 {
            return Ok(v);
        }
        let factor = im.constant_val("", quantc_tensor::Tensor::scalar(factor));
        im.emit1(cx, "mul", &[v, factor], Attrs::new())
    };
    y = scaled(im, y, alpha)?;
    if let Some(c) = c {
        let c = scaled(im, c, beta)?;
        y = im.emit1(cx, "add", &[y, c], Attrs::new())?;
    }
    Ok(vec![y])
}
