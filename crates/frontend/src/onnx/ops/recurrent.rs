//! LSTM, GRU and RNN.

use quantc_ops::Attrs;

use crate::onnx::error::NodeError;
use crate::onnx::importer::{Importer, Val};
use crate::onnx::node::NodeCx;

fn common(cx: &NodeCx<'_>, activations: &[&str]) -> Result<Attrs, NodeError> {
    let direction = cx.one_of("direction", "forward", &["forward", "reverse", "bidirectional"])?;
    if let Some(given) = cx.strings("activations")? {
        // One list for each direction.
        let default = given.chunks(activations.len()).all(|c| c == activations);
        if !default {
            return Err(NodeError::attribute(
                "activations",
                format!("{given:?}"),
                "only the standard's defaults are supported",
            ));
        }
    }
    for name in ["activation_alpha", "activation_beta"] {
        if cx.floats(name)?.is_some_and(|v| !v.is_empty()) {
            return Err(NodeError::attribute(name, "...", "the default activations have no parameters"));
        }
    }
    if let Some(clip) = cx.opt_float("clip")? {
        return Err(NodeError::attribute("clip", clip, "export the model without cell clipping"));
    }
    Ok(Attrs::new()
        .with("hidden_size", cx.need("hidden_size", cx.opt_int("hidden_size")?)?)
        .with("direction", direction)
        .with("layout", cx.int("layout", 0)?))
}

fn inputs(cx: &NodeCx<'_>, max: usize) -> Result<Vec<Option<Val>>, NodeError> {
    for (i, name) in ["X", "W", "R"].iter().enumerate() {
        cx.input(i, name)?;
    }
    if cx.inputs().len() > max {
        return Err(NodeError::mismatch(format!("it has {} inputs, at most {max} are possible", cx.inputs().len())));
    }
    Ok(cx.inputs().to_vec())
}

pub(super) fn lstm(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    cx.only_int("input_forget", 0, "coupled gates are not supported")?;
    let attrs = common(cx, &["Sigmoid", "Tanh", "Tanh"])?;
    im.emit(cx, "lstm", &inputs(cx, 8)?, attrs)
}

pub(super) fn gru(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let attrs = common(cx, &["Sigmoid", "Tanh"])?.with("linear_before_reset", cx.flag("linear_before_reset", false)?);
    im.emit(cx, "gru", &inputs(cx, 6)?, attrs)
}

pub(super) fn rnn(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let relu = cx.strings("activations")?.is_some_and(|given| given.first().is_some_and(|a| a == "Relu"));
    let (activation, nonlinearity) = if relu { ("Relu", "relu") } else { ("Tanh", "tanh") };
    let attrs = common(cx, &[activation])?.with("nonlinearity", nonlinearity);
    im.emit(cx, "rnn", &inputs(cx, 6)?, attrs)
}
