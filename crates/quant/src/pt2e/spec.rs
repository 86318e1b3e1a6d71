//! How tensors are to be quantized, and the annotation of a node with it (torch.ao.quantization.quantizer.quantizer).

use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;
use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_tensor::{DType, QParams, QRange, QScheme};

use crate::qconfig::ObserverSpec;

/// A tensor of the graph as an annotation refers to it (PyTorch `EdgeOrNode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EdgeOrNode {
    /// A value as one node takes it.
    Edge {
        /// The value.
        value: ValueRef,
        /// The node that takes it.
        user: NodeId,
    },
    /// A value as its node gives it.
    Node(ValueRef),
}

impl EdgeOrNode {
    /// The edge from a value to a node.
    pub fn edge(value: impl Into<ValueRef>, user: NodeId) -> EdgeOrNode {
        EdgeOrNode::Edge { value: value.into(), user }
    }

    /// The output of a node.
    pub fn node(value: impl Into<ValueRef>) -> EdgeOrNode {
        EdgeOrNode::Node(value.into())
    }

    /// The value it is about.
    pub fn value(self) -> ValueRef {
        match self {
            EdgeOrNode::Edge { value, .. } | EdgeOrNode::Node(value) => value,
        }
    }

    /// In words, with the names of the graph.
    pub fn describe(self, graph: &Graph) -> String {
        let name = |id: NodeId| if graph.contains(id) { graph.node(id).name() } else { "a removed node" };
        match self {
            EdgeOrNode::Edge { value, user } => format!("the edge `{}` -> `{}`", name(value.node), name(user)),
            EdgeOrNode::Node(value) if value.output > 0 => {
                format!("output {} of `{}`", value.output, name(value.node))
            }
            EdgeOrNode::Node(value) => format!("the output of `{}`", name(value.node)),
        }
    }
}

/// An observed tensor (PyTorch `QuantizationSpec`): the observer with its dtype, range, scheme and channel axis. One of
/// `is_dynamic` takes the range from each input when the model runs.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizationSpec {
    /// The observer (PyTorch `observer_or_fake_quant_ctr` with its arguments).
    pub observer: ObserverSpec,
}

impl QuantizationSpec {
    /// A tensor watched by this observer.
    pub fn new(observer: ObserverSpec) -> QuantizationSpec {
        QuantizationSpec { observer }
    }

    /// Whether the range is taken from each input when the model runs.
    pub fn is_dynamic(&self) -> bool {
        self.observer.is_dynamic
    }

    /// Whether it has float zero points, which tables of embeddings alone have.
    pub(crate) fn is_table(&self) -> bool {
        self.observer.qscheme == QScheme::PerChannelAffineFloatQParams
    }
}

/// A tensor whose parameters are known before calibration (PyTorch `FixedQParamsQuantizationSpec`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FixedQParamsQuantizationSpec {
    /// The scale.
    pub scale: f32,
    /// The zero point.
    pub zero_point: i32,
    /// Integer type and range.
    pub range: QRange,
}

/// A tensor with the parameters of another one (PyTorch `SharedQuantizationSpec`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedQuantizationSpec {
    /// The other one.
    pub edge_or_node: EdgeOrNode,
}

/// What a derived spec computes: scales and zero points, one or one for each channel, from the parameters of other tensors.
pub type DeriveQParams = dyn Fn(&[QParams]) -> Result<(Vec<f32>, Vec<i32>), String> + Send + Sync;

/// A tensor whose parameters follow from those of others (PyTorch `DerivedQuantizationSpec`): a bias at the scale `s_x * s_w`.
#[derive(Clone)]
pub struct DerivedQuantizationSpec {
    /// The other tensors.
    pub derived_from: Vec<EdgeOrNode>,
    /// Scales and zero points from their parameters, in the same order.
    pub derive_qparams_fn: Arc<DeriveQParams>,
    /// Integer type and range.
    pub range: QRange,
    /// The scheme: per channel if the function gives a scale for each channel.
    pub qscheme: QScheme,
    /// The channel axis of a scheme per channel.
    pub ch_axis: usize,
}

impl DerivedQuantizationSpec {
    /// The spec of a bias: i32 at the product of the scales of activation and weight, for each channel if the weight has them.
    pub fn bias(activation: EdgeOrNode, weight: EdgeOrNode, per_channel: bool) -> DerivedQuantizationSpec {
        let derive = |qparams: &[QParams]| {
            let [x, w] = qparams else { return Err(format!("{} parameters given, not 2", qparams.len())) };
            let [sx] = x.scale[..] else { return Err("the activation has a scale for each channel".to_owned()) };
            Ok((w.scale.iter().map(|sw| sx * sw).collect(), vec![0; w.scale.len()]))
        };
        DerivedQuantizationSpec {
            derived_from: vec![activation, weight],
            derive_qparams_fn: Arc::new(derive),
            range: QRange { dtype: DType::I32, qmin: i32::MIN, qmax: i32::MAX },
            qscheme: if per_channel { QScheme::PerChannelSymmetric } else { QScheme::PerTensorSymmetric },
            ch_axis: 0,
        }
    }
}

impl fmt::Debug for DerivedQuantizationSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DerivedQuantizationSpec")
            .field("derived_from", &self.derived_from)
            .field("range", &self.range)
            .field("qscheme", &self.qscheme)
            .field("ch_axis", &self.ch_axis)
            .finish_non_exhaustive()
    }
}

impl PartialEq for DerivedQuantizationSpec {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.derive_qparams_fn, &other.derive_qparams_fn)
            && self.derived_from == other.derived_from
            && (self.range, self.qscheme, self.ch_axis) == (other.range, other.qscheme, other.ch_axis)
    }
}

/// How a tensor is to be quantized (PyTorch `QuantizationSpecBase`).
#[derive(Clone, Debug, PartialEq)]
pub enum QuantizationSpecBase {
    /// With parameters of its own, from an observer.
    Spec(QuantizationSpec),
    /// With parameters that are fixed.
    FixedQParams(FixedQParamsQuantizationSpec),
    /// With the parameters of another tensor.
    Shared(SharedQuantizationSpec),
    /// With parameters computed from those of others.
    Derived(DerivedQuantizationSpec),
}

impl From<ObserverSpec> for QuantizationSpecBase {
    fn from(observer: ObserverSpec) -> Self {
        QuantizationSpecBase::Spec(QuantizationSpec { observer })
    }
}
impl From<QuantizationSpec> for QuantizationSpecBase {
    fn from(spec: QuantizationSpec) -> Self {
        QuantizationSpecBase::Spec(spec)
    }
}
impl From<FixedQParamsQuantizationSpec> for QuantizationSpecBase {
    fn from(spec: FixedQParamsQuantizationSpec) -> Self {
        QuantizationSpecBase::FixedQParams(spec)
    }
}
impl From<DerivedQuantizationSpec> for QuantizationSpecBase {
    fn from(spec: DerivedQuantizationSpec) -> Self {
        QuantizationSpecBase::Derived(spec)
    }
}

/// What two specs must have in common for the tensors to share an observer without being told to.
#[derive(PartialEq)]
struct Attributes {
    range: QRange,
    dynamic: bool,
    qscheme: Option<QScheme>,
    ch_axis: Option<usize>,
    fixed: Option<(u32, i32)>,
}

impl QuantizationSpecBase {
    /// The spec "with the parameters of that tensor".
    pub fn shared(with: EdgeOrNode) -> QuantizationSpecBase {
        QuantizationSpecBase::Shared(SharedQuantizationSpec { edge_or_node: with })
    }

    fn attributes(&self) -> Option<Attributes> {
        Some(match self {
            QuantizationSpecBase::Spec(spec) => Attributes {
                range: spec.observer.range(),
                dynamic: spec.is_dynamic(),
                qscheme: Some(spec.observer.qscheme),
                ch_axis: Some(spec.observer.ch_axis),
                fixed: None,
            },
            QuantizationSpecBase::FixedQParams(spec) => Attributes {
                range: spec.range,
                dynamic: false,
                qscheme: None,
                ch_axis: None,
                fixed: Some((spec.scale.to_bits(), spec.zero_point)),
            },
            QuantizationSpecBase::Derived(spec) => Attributes {
                range: spec.range,
                dynamic: false,
                qscheme: Some(spec.qscheme),
                ch_axis: Some(spec.ch_axis),
                fixed: None,
            },
            QuantizationSpecBase::Shared(_) => return None,
        })
    }

    /// Whether two specs, neither of them shared, ask for the same quantization: dtype, range, scheme, axis, being dynamic, fixed
    /// parameters. As in PyTorch the observers may differ.
    pub fn same_quantization(&self, other: &QuantizationSpecBase) -> bool {
        self.attributes().is_some_and(|a| Some(a) == other.attributes())
    }
}

/// How the inputs and the output of a node are to be quantized (PyTorch `QuantizationAnnotation`).
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizationAnnotation {
    /// By the value that the node takes; `None` leaves it as it is. A value that is taken twice has one entry.
    pub input_qspec_map: IndexMap<ValueRef, Option<QuantizationSpecBase>>,
    /// Each f32 output of the node.
    pub output_qspec: Option<QuantizationSpecBase>,
    /// Whether the inputs may share an observer with the same tensor elsewhere (its node's output, its other users) if that asks for
    /// the same quantization.
    pub allow_implicit_sharing: bool,
    /// Whether a quantizer has decided on the node: the next one leaves it alone (PyTorch `_annotated`).
    pub annotated: bool,
}

impl Default for QuantizationAnnotation {
    fn default() -> Self {
        QuantizationAnnotation {
            input_qspec_map: IndexMap::new(),
            output_qspec: None,
            allow_implicit_sharing: true,
            annotated: false,
        }
    }
}

impl QuantizationAnnotation {
    /// A decision on a node, which quantizes nothing yet.
    pub fn decided() -> QuantizationAnnotation {
        QuantizationAnnotation { annotated: true, ..QuantizationAnnotation::default() }
    }

    /// The same with an input quantized so.
    #[must_use]
    pub fn input(mut self, value: impl Into<ValueRef>, spec: impl Into<QuantizationSpecBase>) -> Self {
        self.input_qspec_map.insert(value.into(), Some(spec.into()));
        self
    }

    /// The same with the output quantized so.
    #[must_use]
    pub fn output(mut self, spec: impl Into<QuantizationSpecBase>) -> Self {
        self.output_qspec = Some(spec.into());
        self
    }
}
