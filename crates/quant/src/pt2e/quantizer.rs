//! What decides how a graph is quantized.

use std::collections::BTreeMap;

use quantc_ir::{Graph, NodeId};

use super::error::Pt2eError;
use super::prepare::ObserverMap;
use super::spec::QuantizationAnnotation;

/// A graph with annotations.
#[derive(Clone, Debug)]
pub struct AnnotatedGraph {
    /// The graph.
    pub graph: Graph,
    /// By node (PyTorch `node.meta["quantization_annotation"]`).
    pub annotations: BTreeMap<NodeId, QuantizationAnnotation>,
}

impl AnnotatedGraph {
    /// A graph without annotations.
    pub fn new(graph: Graph) -> AnnotatedGraph {
        AnnotatedGraph { graph, annotations: BTreeMap::new() }
    }

    /// The annotation of a node.
    pub fn annotation(&self, node: NodeId) -> Option<&QuantizationAnnotation> {
        self.annotations.get(&node)
    }

    /// Annotates a node, replacing what was there.
    pub fn annotate(&mut self, node: NodeId, annotation: QuantizationAnnotation) {
        self.annotations.insert(node, annotation);
    }

    /// Whether a quantizer has decided on the node.
    pub fn is_annotated(&self, node: NodeId) -> bool {
        self.annotation(node).is_some_and(|a| a.annotated)
    }

    /// Marks a node as decided on, without quantizing anything.
    pub fn mark_annotated(&mut self, node: NodeId) {
        self.annotations.entry(node).or_default().annotated = true;
    }
}

/// Decides how a graph is quantized, by annotating its nodes (PyTorch `Quantizer`).
pub trait Quantizer {
    /// Its name, for messages.
    fn name(&self) -> String;

    /// Changes the graph before it is annotated: writes an operator out in parts that can be quantized, for instance.
    ///
    /// # Errors
    /// If the graph can't be changed.
    fn transform_for_annotation(&self, graph: Graph) -> Result<Graph, Pt2eError> {
        Ok(graph)
    }

    /// Annotates the nodes.
    ///
    /// # Errors
    /// If the graph has something the quantizer can't deal with.
    fn annotate(&self, model: &mut AnnotatedGraph) -> Result<(), Pt2eError>;

    /// Checks the annotated graph against what the target can run.
    ///
    /// # Errors
    /// What it can't.
    fn validate(&self, model: &AnnotatedGraph) -> Result<(), Pt2eError>;

    /// Sees, and may change, the observers before they are put into the graph: to give the model's inputs fixed parameters, for
    /// instance.
    ///
    /// # Errors
    /// If what it needs is not there.
    fn prepare_obs_or_fq_callback(&self, model: &AnnotatedGraph, observers: &mut ObserverMap) -> Result<(), Pt2eError> {
        let _ = (model, observers);
        Ok(())
    }
}

/// Several quantizers one after the other (PyTorch `ComposableQuantizer`): what one has annotated the next must leave alone. Unlike
/// PyTorch's, it also validates with each and calls back each.
pub struct ComposableQuantizer {
    quantizers: Vec<Box<dyn Quantizer>>,
}

impl ComposableQuantizer {
    /// The quantizers in order.
    pub fn new(quantizers: Vec<Box<dyn Quantizer>>) -> ComposableQuantizer {
        ComposableQuantizer { quantizers }
    }
}

/// Fails if annotations that were there before have changed; being marked as decided on is no change.
fn check_kept(
    quantizer: &dyn Quantizer,
    before: &BTreeMap<NodeId, QuantizationAnnotation>,
    after: &AnnotatedGraph,
) -> Result<(), Pt2eError> {
    for (node, old) in before {
        let what = match after.annotation(*node) {
            None => "removed",
            Some(new) if QuantizationAnnotation { annotated: old.annotated, ..new.clone() } != *old => "changed",
            Some(_) => continue,
        };
        let node = after.graph.node(*node).name().to_owned();
        return Err(Pt2eError::Overridden { quantizer: quantizer.name(), what, node });
    }
    Ok(())
}

impl Quantizer for ComposableQuantizer {
    fn name(&self) -> String {
        let names: Vec<String> = self.quantizers.iter().map(|q| q.name()).collect();
        format!("ComposableQuantizer({})", names.join(", "))
    }

    fn transform_for_annotation(&self, graph: Graph) -> Result<Graph, Pt2eError> {
        self.quantizers.iter().try_fold(graph, |graph, q| q.transform_for_annotation(graph))
    }

    fn annotate(&self, model: &mut AnnotatedGraph) -> Result<(), Pt2eError> {
        for quantizer in &self.quantizers {
            let before = model.annotations.clone();
            quantizer.annotate(model)?;
            check_kept(quantizer.as_ref(), &before, model)?;
        }
        Ok(())
    }

    fn validate(&self, model: &AnnotatedGraph) -> Result<(), Pt2eError> {
        self.quantizers.iter().try_for_each(|q| q.validate(model))
    }

    fn prepare_obs_or_fq_callback(&self, model: &AnnotatedGraph, observers: &mut ObserverMap) -> Result<(), Pt2eError> {
        self.quantizers.iter().try_for_each(|q| q.prepare_obs_or_fq_callback(model, observers))
    }
}
