//! QConfig: how the activations and the weights of an operator are observed and quantized
//! (torch.ao.quantization.qconfig). A QConfig is data: it can be written as JSON, compared and printed.

mod dtype;
mod named;
pub mod presets;
mod spec;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::observer::ObserverError;

pub use dtype::{ObserverDType, UnknownObserverDType};
pub use named::{NAMES, UnknownQConfig, named, preset};
pub use spec::{DEFAULT_EPS, FakeQuantizeKind, ObserverKind, ObserverSpec, RangeSearch};

/// How one operator is quantized (PyTorch `QConfig`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QConfig {
    /// Observer of activations.
    pub activation: ObserverSpec,
    /// Observer of weights.
    pub weight: ObserverSpec,
}

impl QConfig {
    /// Whether both observers can be built.
    ///
    /// # Errors
    /// For arguments that contradict each other.
    pub fn check(&self) -> Result<(), ObserverError> {
        [&self.activation, &self.weight].into_iter().try_for_each(|spec| spec.build().map(drop))
    }

    /// Whether activations are quantized when the model runs, from each input's own range.
    pub fn is_dynamic(&self) -> bool {
        self.activation.is_dynamic
    }

    /// Whether activations share the observer of the operator's input, as those of a reshape do (PyTorch `_is_reuse_input_qconfig`).
    pub fn is_reuse_input(&self) -> bool {
        self.activation.observer == ObserverKind::ReuseInput && self.weight.observer == ObserverKind::Noop
    }

    /// Whether the activations' observer forgets every tensor but the last (PyTorch `_activation_is_memoryless`).
    pub fn activation_is_memoryless(&self) -> bool {
        matches!(self.activation.observer, ObserverKind::MovingAverageMinMax { averaging_constant: 1.0 })
    }
}

/// A shared QConfig or the decision not to quantize.
pub type MaybeQConfig = Option<Arc<QConfig>>;
