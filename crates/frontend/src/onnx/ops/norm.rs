//! Normalisations.

use quantc_ops::Attrs;

use crate::onnx::error::NodeError;
use crate::onnx::importer::{Importer, Val};
use crate::onnx::node::NodeCx;

const EVALUATION: &str = "export the model in evaluation mode";

pub(super) fn batch_norm(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    cx.ignore(&["momentum"]);
    cx.only_int("training_mode", 0, EVALUATION)?;
    cx.only_int("spatial", 1, "only statistics for each channel are supported")?;
    let names = ["X", "scale", "B", "input_mean", "input_var"];
    let inputs: Vec<_> = names.iter().enumerate().map(|(i, n)| cx.input(i, n).map(Some)).collect::<Result<_, _>>()?;
    im.emit(cx, "batch_norm", &inputs, Attrs::new().with("eps", cx.float("epsilon", 1e-5)?))
}

pub(super) fn instance_norm(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let inputs = [Some(cx.input(0, "input")?), Some(cx.input(1, "scale")?), Some(cx.input(2, "B")?)];
    im.emit(cx, "instance_norm", &inputs, Attrs::new().with("eps", cx.float("epsilon", 1e-5)?))
}

pub(super) fn layer_norm(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    cx.only_int("stash_type", 1, "only float32 statistics are supported")?;
    let attrs = Attrs::new().with("axis", cx.int("axis", -1)?).with("eps", cx.float("epsilon", 1e-5)?);
    im.emit(cx, "layer_norm", &[Some(cx.input(0, "X")?), Some(cx.input(1, "Scale")?), cx.opt_input(2)], attrs)
}

/// Scale and bias are given for each group before opset 21, for each channel since.
pub(super) fn group_norm(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    cx.only_int("stash_type", 1, "only float32 statistics are supported")?;
    let x = cx.input(0, "X")?;
    let (mut scale, mut bias) = (cx.input(1, "scale")?, cx.input(2, "bias")?);
    let groups = cx.need("num_groups", cx.opt_int("num_groups")?)?;
    if cx.opset < 21 {
        let shape = im.ty(x).shape;
        let Some(channels) = shape.0.get(1).and_then(|d| d.known()) else {
            return Err(NodeError::UnknownShape { shape: shape.to_string() });
        };
        if groups < 1 || channels as i64 % groups != 0 {
            return Err(NodeError::mismatch(format!("{channels} channels can't be in {groups} groups")));
        }
        for v in [&mut scale, &mut bias] {
            let column = im.emit1(cx, "reshape", &[*v], Attrs::new().with("shape", vec![groups, 1]))?;
            let each = vec![groups, channels as i64 / groups];
            let wide = im.emit1(cx, "expand", &[column], Attrs::new().with("shape", each))?;
            *v = im.emit1(cx, "reshape", &[wide], Attrs::new().with("shape", vec![channels as i64]))?;
        }
    }
    let attrs = Attrs::new().with("num_groups", groups).with("eps", cx.float("epsilon", 1e-5)?);
    im.emit(cx, "group_norm", &[Some(x), Some(scale), Some(bias)], attrs)
}
