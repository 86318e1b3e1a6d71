//! Layers that are quantized statically as modules of torch.ao.nn.quantizable: an LSTM as linear layers and arithmetic for each step, attention
//! with its projections one by one. The new modules are observed and converted as any other.

use std::sync::Arc;

use quantc_ir::{Graph, NodeId, Origin, ValueRef};
use quantc_ops::{Attrs, lookup};
use quantc_tensor::Tensor;

use super::mappings::{get_default_custom_config_dict, swap_module};
use super::model::ModuleInfo;
use super::prepare::unsupported;
use super::{EagerError, EagerModel};
use crate::error::QuantError;
use crate::qconfig::QConfig;
use crate::unroll::{Builder, Layer};

/// Replaces every LSTM and attention layer that has a QConfig by the parts of its quantizable form, modules that have that QConfig.
///
/// # Errors
/// If the length of an LSTM's sequences or a weight is not known.
pub(super) fn make_quantizable(model: &mut EagerModel) -> Result<(), EagerError> {
    let custom = get_default_custom_config_dict().float_to_observed_custom_module_class;
    let wanted = model.modules.iter().filter_map(|(path, module)| {
        let qconfig = module.qconfig.clone().flatten();
        swap_module(&module.module_type, qconfig.is_some(), custom)?;
        Some((path.clone(), module.module_type.clone(), qconfig?))
    });
    for (path, module_type, qconfig) in wanted.collect::<Vec<_>>() {
        let calls = model.calls().remove(&path).unwrap_or_default();
        let mut parts = Parts { model: &mut *model, path, qconfig };
        if module_type == "LSTM" {
            parts.lstm(&calls)?;
        } else {
            parts.attention(&calls)?;
        }
    }
    Ok(())
}

/// Adds the modules of one layer.
struct Parts<'m> {
    model: &'m mut EagerModel,
    path: String,
    qconfig: Arc<QConfig>,
}

impl Parts<'_> {
    fn module(&mut self, name: &str, module_type: &str) {
        let qconfig = Some(Some(self.qconfig.clone()));
        let info = ModuleInfo { module_type: module_type.to_owned(), qconfig, fused: false };
        self.model.modules.insert(format!("{}.{name}", self.path), info);
    }

    fn refused(&self, detail: &str) -> EagerError {
        unsupported(self.model, &self.path, &format!("it can't be quantized statically: {detail}"))
    }

    /// torch.ao.nn.quantizable.LSTM: the operators of the layer, one for each of its layers, step by step.
    fn lstm(&mut self, calls: &[NodeId]) -> Result<(), EagerError> {
        let is_layer = |id: &NodeId| self.model.graph.node(*id).is_op("lstm");
        let layers: Vec<NodeId> = calls.iter().copied().filter(is_layer).collect();
        self.module("layers", "ModuleList");
        for (at, id) in layers.into_iter().enumerate() {
            let layer = Layer::new(&self.model.graph, id).map_err(|reason| self.refused(&reason))?;
            self.module(&format!("layers.{at}"), "_LSTMLayer");
            for reverse in layer.backwards.clone() {
                let direction = format!("layers.{at}.{}", if reverse { "layer_bw" } else { "layer_fw" });
                self.module(&direction, "_LSTMSingleLayer");
                self.module(&format!("{direction}.cell"), "LSTMCell");
                for (name, module_type) in CELL {
                    self.module(&format!("{direction}.cell.{name}"), module_type);
                }
            }
            let place = format!("{}.layers.{at}", self.path);
            layer.unroll_with(&mut self.model.graph, |layer, build, d, reverse, x| {
                steps(layer, build, &place, d, reverse, x)
            })?;
        }
        self.model.graph.eliminate_dead();
        Ok(())
    }

    /// torch.ao.nn.quantizable.MultiheadAttention: projections and scaling on quantized tensors, the products of the heads on reals.
    fn attention(&mut self, calls: &[NodeId]) -> Result<(), EagerError> {
        for (name, module_type) in ATTENTION {
            self.module(name, module_type);
        }
        let graph = &self.model.graph;
        let of = |op: &str| -> Vec<NodeId> { calls.iter().copied().filter(|id| graph.node(*id).is_op(op)).collect() };
        let (linears, splits, matmuls) = (of("linear"), of("split"), of("matmul"));
        let (scalings, softmaxes) = (of("mul"), of("softmax"));
        let (&[scores, mixed], &[scaling], &[softmax], Some((&out, projections))) =
            (&matmuls[..], &scalings[..], &softmaxes[..], linears.split_last())
        else {
            return Err(self.refused("its calls are not those of attention"));
        };
        let projections = match (projections, &splits[..]) {
            (&[q, k, v], []) => [q, k, v],
            (&[joint], &[split]) => self.split_projection(joint, split)?,
            _ => return Err(self.refused("its projections are not those of attention")),
        };
        let path = self.path.clone();
        let graph = &mut self.model.graph;
        let own = projections.into_iter().zip(["linear_Q", "linear_K", "linear_V"]);
        for (id, name) in own.chain([(out, "out_proj")]) {
            graph.set_origins(id, &[Origin::new(&format!("{path}.{name}"), "Linear", "linear", 0)]);
        }
        let name = format!("{path}.q_scaling_product");
        graph.set_origins(scaling, &[Origin::new(&name, "FloatFunctional", "mul", 0)]);
        for (node, input, name) in [(scores, 0, "dequant_q"), (scores, 1, "dequant_k"), (mixed, 1, "dequant_v")] {
            self.stub("dequant_stub", "DeQuantStub", name, node, input)?;
        }
        self.stub("quant_stub", "QuantStub", "quant_attn_output", out, 0)?;
        // Observed, though nobody reads the weights here.
        let graph = &mut self.model.graph;
        let (name, op) = (format!("{path}.quant_attn_output_weights"), stub_op("quant_stub")?);
        let origins = [Origin::new(&name, "QuantStub", "quant_stub", 0)];
        let name = graph.fresh_name(&name);
        graph.call_before(Some(mixed), &name, op, &[Some(softmax.into())], Attrs::new(), &origins)?;
        Ok(())
    }

    /// Puts a stub between a call and one of its inputs.
    fn stub(
        &mut self,
        op: &'static str,
        module_type: &str,
        name: &str,
        node: NodeId,
        input: usize,
    ) -> Result<(), EagerError> {
        let path = format!("{}.{name}", self.path);
        let graph = &mut self.model.graph;
        let Some(value) = graph.node(node).inputs().get(input).copied().flatten() else { return Ok(()) };
        let origins = [Origin::new(&path, module_type, op, 0)];
        let name = graph.fresh_name(&path);
        let stub = graph.call_before(Some(node), &name, stub_op(op)?, &[Some(value)], Attrs::new(), &origins)?;
        graph.set_input(node, input, Some(stub.into()));
        Ok(())
    }

    /// The projections of query, key and value in place of the one of all three.
    fn split_projection(&mut self, joint: NodeId, split: NodeId) -> Result<[NodeId; 3], EagerError> {
        let graph = &self.model.graph;
        let input = |at: usize| graph.node(joint).inputs().get(at).copied().flatten();
        let constant = |at: usize| input(at).and_then(|value| graph.constant(value)).cloned();
        let (Some(x), Some(weight), bias) = (input(0), constant(1), constant(2)) else {
            return Err(self.refused("its weights are not constant"));
        };
        let mut made = [joint; 3];
        for (at, name) in ["linear_Q", "linear_K", "linear_V"].into_iter().enumerate() {
            let graph = &mut self.model.graph;
            let mut inputs = vec![Some(x)];
            for (part, tensor) in [("weight", Some(&weight)), ("bias", bias.as_ref())] {
                let param = tensor.map(|tensor| third(tensor, at)).transpose()?;
                inputs.push(param.map(|param| {
                    let fresh = graph.fresh_param_name(&format!("{}.{name}.{part}", self.path));
                    graph.param(&fresh, param).into()
                }));
            }
            let fresh = graph.fresh_name(&format!("{}.{name}", self.path));
            let new = graph.call_before(Some(joint), &fresh, stub_op("linear")?, &inputs, Attrs::new(), &[])?;
            graph.replace_uses(ValueRef { node: split, output: at as u32 }, new.into(), &[]);
            made[at] = new;
        }
        self.model.graph.eliminate_dead();
        Ok(made)
    }
}

fn stub_op(name: &'static str) -> Result<quantc_ops::OpRef, QuantError> {
    lookup(name).ok_or(QuantError::MissingOperator(name))
}

/// One of three parts of the first axis.
fn third(tensor: &Tensor, at: usize) -> Result<Tensor, QuantError> {
    let mut shape = tensor.shape().to_vec();
    shape[0] /= 3;
    let len: usize = shape.iter().product();
    let values = tensor.to_f32_vec()[at * len..(at + 1) * len].to_vec();
    Tensor::from_vec(&shape, values)
        .map_err(|e| QuantError::Weight { name: "an attention layer's".to_owned(), message: e.to_string() })
}

/// Modules of torch.ao.nn.quantizable.LSTMCell.
const CELL: &[(&str, &str)] = &[
    ("igates", "Linear"),
    ("hgates", "Linear"),
    ("gates", "FloatFunctional"),
    ("input_gate", "Sigmoid"),
    ("forget_gate", "Sigmoid"),
    ("cell_gate", "Tanh"),
    ("output_gate", "Sigmoid"),
    ("fgate_cx", "FloatFunctional"),
    ("igate_cgate", "FloatFunctional"),
    ("fgate_cx_igate_cgate", "FloatFunctional"),
    ("ogate_cy", "FloatFunctional"),
];

/// Modules of torch.ao.nn.quantizable.MultiheadAttention.
const ATTENTION: &[(&str, &str)] = &[
    ("out_proj", "Linear"),
    ("linear_Q", "Linear"),
    ("linear_K", "Linear"),
    ("linear_V", "Linear"),
    ("q_scaling_product", "FloatFunctional"),
    ("quant_attn_output", "QuantStub"),
    ("quant_attn_output_weights", "QuantStub"),
    ("dequant_q", "DeQuantStub"),
    ("dequant_k", "DeQuantStub"),
    ("dequant_v", "DeQuantStub"),
];

/// One direction of a layer: every state `[steps, 1, batch, hidden]`, the last state and the last cell `[1, batch, hidden]`. A state that is
/// absent is 0, quantized with scale 1 (`LSTM.forward`).
fn steps(
    layer: &Layer,
    build: &mut Builder<'_>,
    place: &str,
    d: usize,
    reverse: bool,
    x: ValueRef,
) -> Result<[Option<ValueRef>; 3], QuantError> {
    let place = format!("{place}.{}", if reverse { "layer_bw" } else { "layer_fw" });
    let cell = format!("{place}.cell");
    let suffix = if reverse { "_reverse" } else { "" };
    let param = |build: &mut Builder<'_>, name: &str, value: Tensor| build.param(&format!("{name}{suffix}"), value);
    let w = param(build, "igates.weight", layer.rows(&layer.w, d, 0..4)?);
    let r = param(build, "hgates.weight", layer.rows(&layer.r, d, 0..4)?);
    let [mut of_x, mut of_h] = [None, None];
    if let Some(b) = &layer.b {
        of_x = Some(param(build, "igates.bias", layer.rows(b, d, 0..4)?));
        of_h = Some(param(build, "hgates.bias", layer.rows(b, d, 4..8)?));
    }
    let at = |build: &mut Builder<'_>, path: &str, module_type: &str, step: usize| {
        build.origins = vec![Origin::new(path, module_type, "", step as u32)];
    };
    let member = |build: &mut Builder<'_>, name: &str, step: usize| {
        let module_type = CELL.iter().find(|row| row.0 == name).map_or("", |row| row.1);
        build.origins = vec![Origin::new(&format!("{cell}.{name}"), module_type, "", step as u32)];
    };
    let mut states = [None; 2];
    for (state, initial) in states.iter_mut().zip(layer.initial) {
        at(build, &cell, "LSTMCell", 0);
        *state = Some(match initial {
            Some(value) => build.index(value, i64::from(layer.batch_first), d)?,
            None => {
                let zeros = param(
                    build,
                    "zeros",
                    Tensor::from_vec(&[1, layer.hidden], vec![0.0f32; layer.hidden])
                        .map_err(|e| QuantError::Weight { name: place.clone(), message: e.to_string() })?,
                );
                build.call("quant_stub", &[zeros], Attrs::new())?
            }
        });
    }
    let [Some(mut h), Some(mut c)] = states else { return Ok([None; 3]) };
    let mut all = vec![None; layer.steps];
    for step in 0..layer.steps {
        let t = if reverse { layer.steps - 1 - step } else { step };
        at(build, &place, "_LSTMSingleLayer", step);
        let now = build.index(x, 0, t)?;
        member(build, "igates", step);
        let from_x = build.linear(now, w, of_x)?;
        member(build, "hgates", step);
        let from_h = build.linear(h, r, of_h)?;
        member(build, "gates", step);
        let gates = build.sum(from_x, from_h)?;
        at(build, &cell, "LSTMCell", step);
        let [i, o, f, g] = build.split::<4>(gates, layer.hidden)?;
        member(build, "input_gate", step);
        let i = build.sigmoid(i)?;
        member(build, "forget_gate", step);
        let f = build.sigmoid(f)?;
        member(build, "cell_gate", step);
        let g = build.tanh(g)?;
        member(build, "output_gate", step);
        let o = build.sigmoid(o)?;
        member(build, "fgate_cx", step);
        let kept = build.call("mul", &[f, c], Attrs::new())?;
        member(build, "igate_cgate", step);
        let new = build.call("mul", &[i, g], Attrs::new())?;
        member(build, "fgate_cx_igate_cgate", step);
        c = build.sum(kept, new)?;
        at(build, &cell, "LSTMCell", step);
        let out = build.tanh(c)?;
        member(build, "ogate_cy", step);
        h = build.call("mul", &[o, out], Attrs::new())?;
        at(build, &place, "_LSTMSingleLayer", step);
        all[t] = Some(build.unsqueeze(h, &[0, 1])?);
    }
    let all: Vec<ValueRef> = all.into_iter().flatten().collect();
    let y = build.cat(&all, 0)?;
    Ok([Some(y), Some(build.unsqueeze(h, &[0])?), Some(build.unsqueeze(c, &[0])?)])
}

/// Whether a call is a state that is absent: a stub in the forward of a cell.
pub(super) fn is_absent_state(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    node.is_op("quant_stub") && node.origins().first().is_some_and(|o| &*o.module_type == "LSTMCell")
}
