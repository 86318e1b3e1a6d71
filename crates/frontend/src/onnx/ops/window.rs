//! Strides, pads and dilations of convolutions and poolings.

use quantc_tensor::{Dim, Shape};

use crate::onnx::error::NodeError;
use crate::onnx::node::NodeCx;

/// The window of a node, in our attributes' form.
pub(super) struct Window {
    pub(super) stride: Vec<i64>,
    pub(super) dilation: Vec<i64>,
    /// One number for each dimension if both sides are equal, else all begins, then all ends.
    pub(super) padding: Vec<i64>,
}

/// Reads `strides`, `dilations`, `pads` and `auto_pad` for `kernel`; `input` is the shape of the image, with batch and channel.
pub(super) fn window(cx: &NodeCx<'_>, input: &Shape, kernel: &[i64]) -> Result<Window, NodeError> {
    let n = kernel.len();
    let stride = list(cx, "strides", n, 1)?;
    let dilation = list(cx, "dilations", n, 1)?;
    if let Some(bad) = kernel.iter().chain(&stride).chain(&dilation).find(|v| **v < 1) {
        return Err(NodeError::mismatch(format!("a size of the window is {bad}, it must be 1 or more")));
    }
    let auto_pad = cx.one_of("auto_pad", "NOTSET", &["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"])?;
    let pads = cx.ints("pads")?;
    let padding = match auto_pad.as_str() {
        "NOTSET" => {
            let pads = pads.unwrap_or_else(|| vec![0; 2 * n]);
            if pads.len() != 2 * n {
                return Err(NodeError::mismatch(format!("pads has {} numbers for {n} dimensions", pads.len())));
            }
            pads
        }
        "VALID" => vec![0; 2 * n],
        same => same_padding(input, kernel, &stride, &dilation, same == "SAME_UPPER")?,
    };
    Ok(Window { stride, dilation, padding: shortest(padding) })
}

/// A list with one number for each dimension, or the same default for all.
pub(super) fn list(cx: &NodeCx<'_>, name: &str, n: usize, default: i64) -> Result<Vec<i64>, NodeError> {
    let values = cx.ints(name)?.unwrap_or_else(|| vec![default; n]);
    if values.len() == n {
        Ok(values)
    } else {
        Err(NodeError::mismatch(format!("{name} has {} numbers for {n} dimensions", values.len())))
    }
}

/// Pads that make the output `ceil(input / stride)`, as the standard's `SAME_UPPER` and `SAME_LOWER`.
fn same_padding(
    input: &Shape,
    kernel: &[i64],
    stride: &[i64],
    dilation: &[i64],
    upper: bool,
) -> Result<Vec<i64>, NodeError> {
    let n = kernel.len();
    let (mut begins, mut ends) = (Vec::with_capacity(n), Vec::with_capacity(n));
    for d in 0..n {
        let extent = (kernel[d] - 1).saturating_mul(dilation[d]);
        let total = match input.0.get(d + 2) {
            // With stride 1 the padding does not depend on the size.
            _ if stride[d] == 1 => extent,
            Some(Dim::Known(size)) => {
                let size = *size as i64;
                let out = size.saturating_add(stride[d] - 1) / stride[d];
                (out - 1).saturating_mul(stride[d]).saturating_add(extent).saturating_sub(size - 1).max(0)
            }
            _ => return Err(NodeError::UnknownShape { shape: input.to_string() }),
        };
        let (small, large) = (total / 2, total - total / 2);
        begins.push(if upper { small } else { large });
        ends.push(if upper { large } else { small });
    }
    begins.extend(ends);
    Ok(begins)
}

/// One number for each dimension where both sides are equal.
pub(super) fn shortest(pads: Vec<i64>) -> Vec<i64> {
    let (begins, ends) = pads.split_at(pads.len() / 2);
    if begins == ends { begins.to_vec() } else { pads }
}
