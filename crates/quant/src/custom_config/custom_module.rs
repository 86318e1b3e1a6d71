//! Custom modules: modules that the user, not a backend's patterns, says how to observe and quantize.

use std::fmt::Debug;
use std::sync::Arc;

use quantc_ir::Graph;
use quantc_pattern::Mode;
use quantc_tensor::QParams;

use crate::qconfig::QConfig;

/// When a module's values become integers (PyTorch `QuantType`, as far as custom modules have it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuantType {
    /// Weights before, activations with parameters from calibration.
    Static,
    /// Activations when the model runs.
    Dynamic,
    /// Weights alone.
    WeightOnly,
}

impl QuantType {
    /// All of them.
    pub const ALL: [QuantType; 3] = [QuantType::Static, QuantType::Dynamic, QuantType::WeightOnly];

    /// Its key in PyTorch's configurations.
    pub fn name(self) -> &'static str {
        match self {
            QuantType::Static => "static",
            QuantType::Dynamic => "dynamic",
            QuantType::WeightOnly => "weight_only",
        }
    }

    /// The type of what a QConfig quantizes that way.
    pub(super) fn of(mode: Mode) -> QuantType {
        match mode {
            Mode::Static | Mode::Float16Static => QuantType::Static,
            Mode::Dynamic | Mode::Float16Dynamic => QuantType::Dynamic,
            Mode::WeightOnly => QuantType::WeightOnly,
        }
    }
}

/// How a float module becomes one that is observed: PyTorch's observed custom module class, a value of this type standing for the class.
///
/// Graphs are those of the module alone: its inputs are the values that it takes from outside, in the order in which its calls take them, its only
/// output is the value that it gives. Names of its parameters are those of the model.
pub trait ObservedCustomModule: Debug + Send + Sync {
    /// The class's name.
    fn name(&self) -> &str;

    /// The observed form of a module (`from_float`), with the same inputs and output. Statically quantized, it is run on the calibration data, and its
    /// inputs and its output are observed around it; calls of `observer` inside, numbered from 0 by `id`, are observers of its own, of the
    /// QConfig's activations.
    ///
    /// # Errors
    /// Why the module can't be observed.
    fn observe(&self, float: &Graph, qconfig: &QConfig) -> Result<Graph, String>;
}

/// How an observed module becomes a quantized one: PyTorch's quantized custom module class.
pub trait QuantizedCustomModule: Debug + Send + Sync {
    /// The class's name.
    fn name(&self) -> &str;

    /// The quantized form of an observed module (`from_observed`). Statically quantized, the inputs that are observed and the output are integers of the
    /// types in `qparams`; otherwise inputs and output are the same as before.
    ///
    /// # Errors
    /// Why the module can't be quantized.
    fn quantize(&self, observed: &Graph, qparams: &CustomModuleQParams<'_>) -> Result<Graph, String>;
}

/// What calibration found about a custom module.
#[derive(Clone, Debug)]
pub struct CustomModuleQParams<'q> {
    /// The module's QConfig.
    pub qconfig: &'q QConfig,
    /// Of each input; `None` if it is not observed.
    pub inputs: Vec<Option<QParams>>,
    /// Of the output; `None` unless quantized statically.
    pub output: Option<QParams>,
    /// Of the observers inside, by their numbers.
    pub observers: Vec<QParams>,
}

/// An observed class in a [`super::PrepareCustomConfig`].
#[derive(Clone, Debug)]
pub enum ObservedClass {
    /// PyTorch's own, torch.ao.nn.quantizable.LSTM or MultiheadAttention: the layer's operators one by one, each observed and quantized as the backend says.
    Quantizable,
    /// The user's.
    Custom(Arc<dyn ObservedCustomModule>),
}
