//! `BackendConfigQuantizer`: annotations from a QConfigMapping and a BackendConfig.

use std::collections::HashSet;

use quantc_ir::ValueRef;
use quantc_pattern::BackendConfig;
use quantc_tensor::QRange;

use super::error::Pt2eError;
use super::quantizer::{AnnotatedGraph, Quantizer};
use super::spec::{EdgeOrNode, FixedQParamsQuantizationSpec, QuantizationSpec, QuantizationSpecBase};
use crate::custom_config::Edges;
use crate::group::{Group, Plan};
use crate::placement::{float_outputs, worthwhile_groups};
use crate::qconfig_mapping::QConfigMapping;

/// Quantizes what [`crate::prepare_fx`] does with the same mapping and backend, by annotations: the same groups of calls, the same values
/// observed. A quantizer of one's own may stand before it in a [`super::ComposableQuantizer`] for what the backend's patterns do not say.
#[derive(Clone, Debug)]
pub struct BackendConfigQuantizer {
    mapping: QConfigMapping,
    backend: BackendConfig,
}

impl BackendConfigQuantizer {
    /// A quantizer for a backend.
    pub fn new(mapping: QConfigMapping, backend: BackendConfig) -> BackendConfigQuantizer {
        BackendConfigQuantizer { mapping, backend }
    }
}

/// The values that a group takes as activations, by the call that takes them.
fn activations(model: &AnnotatedGraph, group: &Group) -> Vec<EdgeOrNode> {
    let edge = |(node, input): &(_, usize)| {
        let value = model.graph.node(*node).inputs()[*input]?;
        Some(EdgeOrNode::edge(value, *node))
    };
    group.activations.iter().filter_map(edge).collect()
}

/// Annotates one input of a call.
fn set_input(model: &mut AnnotatedGraph, at: EdgeOrNode, spec: QuantizationSpecBase) {
    if let EdgeOrNode::Edge { value, user } = at {
        let annotation = model.annotations.entry(user).or_default();
        annotation.annotated = true;
        annotation.input_qspec_map.insert(value, Some(spec));
    }
}

fn is_static(group: &Group) -> bool {
    matches!(group.plan, Plan::Static { .. })
}

impl Quantizer for BackendConfigQuantizer {
    fn name(&self) -> String {
        format!("BackendConfigQuantizer({})", self.backend.name)
    }

    fn annotate(&self, model: &mut AnnotatedGraph) -> Result<(), Pt2eError> {
        let mut groups = worthwhile_groups(&model.graph, &self.mapping, &self.backend, &Edges::default());
        groups.retain(|g| g.nodes.iter().all(|n| !model.is_annotated(*n)));
        let taken: HashSet<ValueRef> =
            groups.iter().filter(|g| is_static(g)).flat_map(|g| activations(model, g)).map(EdgeOrNode::value).collect();
        let produced: HashSet<ValueRef> =
            groups.iter().filter(|g| is_static(g)).flat_map(|g| float_outputs(&model.graph, g.root)).collect();
        for group in &groups {
            let (Plan::Static { qconfig, .. } | Plan::Dynamic { qconfig, .. }) = &group.plan else { continue };
            let edges = activations(model, group);
            let own = QuantizationSpecBase::from(qconfig.activation.clone());
            for at in &edges {
                let spec = match edges.first() {
                    Some(first) if group.share && at != first => QuantizationSpecBase::shared(*first),
                    // The observer of the value is that of its producer.
                    _ if is_static(group) && produced.contains(&at.value()) => {
                        QuantizationSpecBase::shared(EdgeOrNode::Node(at.value()))
                    }
                    _ => own.clone(),
                };
                set_input(model, *at, spec);
            }
            if let Some((node, input)) = group.weight
                && let Some(value) = model.graph.node(node).inputs()[input]
            {
                let spec = QuantizationSpec::new(qconfig.weight.clone());
                set_input(model, EdgeOrNode::edge(value, node), spec.into());
            }
            group.nodes.iter().for_each(|n| model.mark_annotated(*n));
            let observed = float_outputs(&model.graph, group.root).iter().any(|v| taken.contains(v));
            if !is_static(group) || !observed {
                continue;
            }
            let fixed = group.fixed.iter().find(|f| f.dtype == qconfig.activation.dtype);
            let output = match (edges.first(), fixed) {
                (Some(first), _) if group.share => QuantizationSpecBase::shared(*first),
                (_, Some(f)) => {
                    let range = QRange::full(f.dtype).unwrap_or_else(|| qconfig.activation.range());
                    FixedQParamsQuantizationSpec { scale: f.scale, zero_point: f.zero_point, range }.into()
                }
                _ => own,
            };
            model.annotations.entry(group.root).or_default().output_qspec = Some(output);
        }
        Ok(())
    }

    fn validate(&self, _model: &AnnotatedGraph) -> Result<(), Pt2eError> {
        // The groups are the backend's own.
        Ok(())
    }
}
