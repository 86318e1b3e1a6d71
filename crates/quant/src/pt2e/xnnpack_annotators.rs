//! The patterns of [`super::XNNPACKQuantizer`] (torch.ao.quantization.quantizer.xnnpack_quantizer_utils), one function each.

use quantc_ir::{NodeId, ValueRef};
use quantc_tensor::DType;

use super::quantizer::AnnotatedGraph;
use super::spec::{EdgeOrNode, QuantizationAnnotation, QuantizationSpec, QuantizationSpecBase};
use super::xnnpack::{Filter, QuantizationConfig};

/// Annotates what a configuration and a filter select.
pub(crate) type Annotator = fn(&mut AnnotatedGraph, &QuantizationConfig, &Filter<'_>);

/// For static configurations, fusions before single operators.
pub(crate) const STATIC: &[Annotator] = &[
    |m, c, f| layers(m, c, f, &["linear"], true),
    |m, c, f| layers(m, c, f, &["linear"], false),
    |m, c, f| layers(m, c, f, &["conv1d", "conv2d"], true),
    |m, c, f| layers(m, c, f, &["conv1d", "conv2d"], false),
    |m, c, f| layers(m, c, f, &["conv_transpose1d", "conv_transpose2d"], true),
    adaptive_avg_pool2d,
    gru_io_only,
    |m, c, f| arithmetic(m, c, f, "add", true),
    |m, c, f| arithmetic(m, c, f, "add", false),
    |m, c, f| arithmetic(m, c, f, "mul", true),
    |m, c, f| arithmetic(m, c, f, "mul", false),
    cat,
];

/// For dynamic configurations.
pub(crate) const DYNAMIC: &[Annotator] = &[|m, c, f| layers(m, c, f, &["linear"], false)];

/// Operators whose output has the parameters of their input (PyTorch `_is_share_obs_or_fq_op`); `clamp` is also `hardtanh`.
const SHARING: &[&str] = &[
    "relu",
    "relu6",
    "clamp",
    "max_pool2d",
    "mean",
    "permute",
    "squeeze",
    "adaptive_avg_pool2d",
    "reshape",
    "flatten",
];

/// From this magnitude on a constant operand keeps an operator float, as PyTorch's histogram can't count it.
const LARGE_SCALAR: f32 = 3.402_823_5e15;

/// A call of one of the operators, and the relu behind it or the call again.
fn partitions(model: &AnnotatedGraph, filter: &Filter<'_>, ops: &[&str], with_relu: bool) -> Vec<(NodeId, NodeId)> {
    let graph = &model.graph;
    let is_main = |id: NodeId| ops.iter().any(|op| graph.node(id).is_op(op));
    let found = graph.calls().filter_map(|id| {
        if !with_relu {
            return is_main(id).then_some((id, id));
        }
        let main = graph.node(id).inputs().first().copied().flatten()?.node;
        (graph.node(id).is_op("relu") && is_main(main) && graph.is_used_once(main)).then_some((main, id))
    });
    found
        .filter(|(main, root)| !model.is_annotated(*main) && !model.is_annotated(*root))
        .filter(|(main, root)| if main == root { filter(graph, &[*main]) } else { filter(graph, &[*root, *main]) })
        .collect()
}

fn spec(spec: &Option<QuantizationSpec>) -> Option<QuantizationSpecBase> {
    spec.clone().map(QuantizationSpecBase::Spec)
}

/// Annotates the inputs at `main` and the output at `root`.
fn annotate(
    model: &mut AnnotatedGraph,
    (main, root): (NodeId, NodeId),
    inputs: Vec<(ValueRef, Option<QuantizationSpecBase>)>,
    output: Option<QuantizationSpecBase>,
) {
    let mut annotation = QuantizationAnnotation::decided();
    annotation.input_qspec_map.extend(inputs);
    if main == root {
        model.annotate(main, QuantizationAnnotation { output_qspec: output, ..annotation });
        return;
    }
    model.annotate(main, annotation);
    model.annotate(root, QuantizationAnnotation { output_qspec: output, ..QuantizationAnnotation::decided() });
}

/// Linear layers and convolutions, with or without relu.
fn layers(model: &mut AnnotatedGraph, config: &QuantizationConfig, filter: &Filter<'_>, ops: &[&str], with_relu: bool) {
    for (main, root) in partitions(model, filter, ops, with_relu) {
        let input = |i: usize| model.graph.node(main).inputs().get(i).copied().flatten();
        let (x, weight) = (input(0), input(1));
        let mut inputs = Vec::new();
        inputs.extend(x.map(|v| (v, spec(&config.input_activation))));
        inputs.extend(weight.map(|v| (v, spec(&config.weight))));
        annotate(model, (main, root), inputs, spec(&config.output_activation));
        for param in weight.into_iter().chain(model.graph.node(main).inputs().get(2).copied().flatten()) {
            model.mark_annotated(param.node);
        }
    }
}

/// Whether a value can be quantized: f32, and no constant beyond [`LARGE_SCALAR`].
fn quantizable(model: &AnnotatedGraph, value: ValueRef) -> bool {
    let large = model.graph.constant(value).and_then(|t| t.as_scalar_f32()).is_some_and(|v| v.abs() > LARGE_SCALAR);
    model.graph.ty(value).dtype == DType::F32 && !large
}

/// Additions and multiplications, with or without relu.
fn arithmetic(model: &mut AnnotatedGraph, config: &QuantizationConfig, filter: &Filter<'_>, op: &str, with_relu: bool) {
    for (main, root) in partitions(model, filter, &[op], with_relu) {
        let operands: Vec<ValueRef> = model.graph.node(main).inputs().iter().flatten().copied().collect();
        if operands.iter().all(|v| quantizable(model, *v)) {
            let inputs = operands.into_iter().map(|v| (v, spec(&config.input_activation))).collect();
            annotate(model, (main, root), inputs, spec(&config.output_activation));
        }
    }
}

/// Concatenations: everything has the parameters of the first input.
fn cat(model: &mut AnnotatedGraph, config: &QuantizationConfig, filter: &Filter<'_>) {
    for (id, _) in partitions(model, filter, &["cat"], false) {
        let values: Vec<ValueRef> = model.graph.node(id).inputs().iter().flatten().copied().collect();
        let Some(first) = values.first().copied().filter(|v| model.graph.ty(*v).dtype == DType::F32) else { continue };
        let shared = QuantizationSpecBase::shared(EdgeOrNode::edge(first, id));
        let others = values.into_iter().skip(1).filter(|v| *v != first).map(|v| (v, Some(shared.clone())));
        let inputs = std::iter::once((first, spec(&config.input_activation))).chain(others).collect();
        annotate(model, (id, id), inputs, Some(shared.clone()));
    }
}

/// Adaptive average pooling: the output has the parameters of the input.
fn adaptive_avg_pool2d(model: &mut AnnotatedGraph, config: &QuantizationConfig, filter: &Filter<'_>) {
    for (id, _) in partitions(model, filter, &["adaptive_avg_pool2d"], false) {
        let Some(Some(x)) = model.graph.node(id).inputs().first().copied() else { continue };
        let producer = model.annotation(x.node).filter(|a| a.annotated && a.output_qspec.is_some());
        let input = match producer {
            Some(_) => Some(QuantizationSpecBase::shared(EdgeOrNode::Node(x))),
            None => spec(&config.input_activation),
        };
        let output = QuantizationSpecBase::shared(EdgeOrNode::edge(x, id));
        annotate(model, (id, id), vec![(x, input)], Some(output));
    }
}

/// What a GRU takes and gives; inside it stays float.
fn gru_io_only(model: &mut AnnotatedGraph, config: &QuantizationConfig, filter: &Filter<'_>) {
    for (id, _) in partitions(model, filter, &["gru"], false) {
        let inputs = model.graph.node(id).inputs();
        let names = model.graph.node(id).call().map_or(&[][..], |(op, _)| op.signature().inputs);
        let taken = inputs.iter().zip(names).filter(|(_, spec)| matches!(spec.name, "input" | "initial_h"));
        let taken = taken.filter_map(|(v, _)| *v).map(|v| (v, spec(&config.input_activation))).collect();
        annotate(model, (id, id), taken, spec(&config.output_activation));
    }
}

/// Carries the parameters of an annotated output on through operators that only move or clamp values.
pub(crate) fn propagate_annotation(model: &mut AnnotatedGraph) {
    let calls: Vec<NodeId> = model.graph.calls().filter(|id| !model.is_annotated(*id)).collect();
    for id in calls {
        let node = model.graph.node(id);
        if !SHARING.iter().any(|op| node.is_op(op)) {
            continue;
        }
        let Some(Some(x)) = node.inputs().first().copied() else { continue };
        if model.annotation(x.node).is_some_and(|a| a.output_qspec.is_some()) {
            let shared = QuantizationSpecBase::shared(EdgeOrNode::Node(x));
            annotate(model, (id, id), vec![(x, Some(shared.clone()))], Some(shared));
        }
    }
}
