//! An observer as data.

use quantc_tensor::{DType, QRange, QScheme};
use serde::{Deserialize, Serialize};

use super::ObserverDType;

/// PyTorch's default `eps`, the smallest scale: 2^-23.
pub const DEFAULT_EPS: f32 = f32::EPSILON;

/// How [`ObserverKind::AlignedHistogram`] chooses a range within the one it saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RangeSearch {
    /// PyTorch's search over PyTorch's L2 error estimate, which takes 256 steps over the range whatever its zero point.
    #[default]
    L2,
    /// The range with the smallest mean squared error of what is quantized: rounding, clipping, zero point and scheme included.
    Mse,
    /// The values between the two percentiles `100 - p` and `p`, in percent.
    Percentile(f32),
    /// The range whose quantized distribution has the smallest Kullback-Leibler divergence from what was seen.
    Entropy,
}

/// Which observer watches a value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObserverKind {
    /// Running minimum and maximum; per channel if the scheme is.
    MinMax,
    /// Exponential moving average of each batch's minimum and maximum; per channel if the scheme is.
    MovingAverageMinMax {
        /// Weight of the new batch.
        averaging_constant: f32,
    },
    /// PyTorch's 2048-bin histogram and its search for the smallest L2 quantization error: the same parameters as PyTorch's, which
    /// depend a little on the order of the batches.
    Histogram,
    /// quantc's histogram: integer counts in bins aligned to powers of two, so that neither the order of the batches nor how they
    /// are divided among observers changes the result.
    AlignedHistogram {
        /// How the range is chosen.
        #[serde(default)]
        search: RangeSearch,
    },
    /// Nothing is observed: scale and zero point are given.
    #[serde(rename = "fixed_qparams")]
    FixedQParams {
        /// The scale.
        scale: f32,
        /// The zero point.
        zero_point: i32,
    },
    /// Nothing is observed when calibrating; carries a dtype, and whether the range is taken from each input when the model runs.
    Placeholder,
    /// Nothing is observed; carries a dtype.
    Noop,
    /// Keeps every tensor it sees. For debugging: memory grows with the data.
    Recording,
    /// The observer of the operator's input is shared.
    ReuseInput,
    /// No observer (`torch.nn.Identity` in a QConfig): the value stays float.
    Identity,
}

/// The fake-quantize module around an observer, for training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FakeQuantizeKind {
    /// `FakeQuantize`.
    FakeQuantize,
    /// `FixedQParamsFakeQuantize`.
    #[serde(rename = "fixed_qparams_fake_quantize")]
    FixedQParamsFakeQuantize,
    /// `FusedMovingAvgObsFakeQuantize`.
    FusedMovingAvgObsFakeQuantize,
}

impl FakeQuantizeKind {
    /// The class name, as PyTorch has it.
    pub fn name(self) -> &'static str {
        match self {
            FakeQuantizeKind::FakeQuantize => "FakeQuantize",
            FakeQuantizeKind::FixedQParamsFakeQuantize => "FixedQParamsFakeQuantize",
            FakeQuantizeKind::FusedMovingAvgObsFakeQuantize => "FusedMovingAvgObsFakeQuantize",
        }
    }
}

fn default_eps() -> f32 {
    DEFAULT_EPS
}

fn is_false(b: &bool) -> bool {
    !b
}

/// An observer with everything that determines its quantization parameters (PyTorch's `observer.with_args(...)`), alone or inside
/// a fake-quantize module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "SpecJson")]
pub struct ObserverSpec {
    /// Which observer.
    pub observer: ObserverKind,
    /// What it quantizes to.
    pub dtype: ObserverDType,
    /// Scheme.
    pub qscheme: QScheme,
    /// Halve the range (for kernels that saturate; quantc's do not).
    pub reduce_range: bool,
    /// A lowest value above the type's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quant_min: Option<i32>,
    /// A highest value below the type's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quant_max: Option<i32>,
    /// Smallest scale.
    pub eps: f32,
    /// Channel axis of a per-channel scheme.
    pub ch_axis: usize,
    /// Whether the value is quantized when the model runs, from its own range.
    #[serde(skip_serializing_if = "is_false")]
    pub is_dynamic: bool,
    /// The fake-quantize module that the observer is in, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fake_quantize: Option<FakeQuantizeKind>,
}

impl ObserverSpec {
    /// An observer with PyTorch's default arguments otherwise: the type's full range, `eps` 2^-23, channel axis 0, static, no fake
    /// quantization.
    pub const fn new(observer: ObserverKind, dtype: ObserverDType, qscheme: QScheme) -> ObserverSpec {
        ObserverSpec {
            observer,
            dtype,
            qscheme,
            reduce_range: false,
            quant_min: None,
            quant_max: None,
            eps: DEFAULT_EPS,
            ch_axis: 0,
            is_dynamic: false,
            fake_quantize: None,
        }
    }

    /// The range in use: the type's or the custom one, halved by `reduce_range` (floor, as PyTorch's `// 2`). As in PyTorch
    /// `reduce_range` does nothing to the full range of a type that has not 8 bits.
    pub fn range(&self) -> QRange {
        let (lowest, highest) = self.dtype.quantized_range().unwrap_or((0, 255));
        let (qmin, qmax) = (self.quant_min.unwrap_or(lowest), self.quant_max.unwrap_or(highest));
        let custom = self.quant_min.is_some() || self.quant_max.is_some();
        let halved =
            self.reduce_range && (custom || matches!(self.dtype, ObserverDType::Quint8 | ObserverDType::Qint8));
        let (qmin, qmax) = if halved { (qmin.div_euclid(2), qmax.div_euclid(2)) } else { (qmin, qmax) };
        QRange { dtype: self.dtype.storage().unwrap_or(DType::U8), qmin, qmax }
    }

    /// The same with one scale for the whole tensor.
    pub fn to_per_tensor(&self) -> ObserverSpec {
        let qscheme = if self.qscheme.is_symmetric() { QScheme::PerTensorSymmetric } else { QScheme::PerTensorAffine };
        ObserverSpec { qscheme, ..self.clone() }
    }

    /// The observer's class name, as PyTorch has it; quantc's own for a histogram that PyTorch does not have.
    pub fn name(&self) -> &'static str {
        match (self.observer, self.qscheme.is_per_channel()) {
            (ObserverKind::MinMax, false) => "MinMaxObserver",
            (ObserverKind::MinMax, true) => "PerChannelMinMaxObserver",
            (ObserverKind::MovingAverageMinMax { .. }, false) => "MovingAverageMinMaxObserver",
            (ObserverKind::MovingAverageMinMax { .. }, true) => "MovingAveragePerChannelMinMaxObserver",
            (ObserverKind::Histogram, _) => "HistogramObserver",
            (ObserverKind::AlignedHistogram { .. }, _) => "AlignedHistogramObserver",
            (ObserverKind::FixedQParams { .. }, _) => "FixedQParamsObserver",
            (ObserverKind::Placeholder, _) => "PlaceholderObserver",
            (ObserverKind::Noop, _) => "NoopObserver",
            (ObserverKind::Recording, _) => "RecordingObserver",
            (ObserverKind::ReuseInput, _) => "ReuseInputObserver",
            (ObserverKind::Identity, _) => "Identity",
        }
    }
}

/// [`ObserverSpec`] as JSON may say it: `dynamic` is short for a dynamic placeholder.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecJson {
    observer: serde_json::Value,
    dtype: ObserverDType,
    qscheme: QScheme,
    #[serde(default)]
    reduce_range: bool,
    quant_min: Option<i32>,
    quant_max: Option<i32>,
    #[serde(default = "default_eps")]
    eps: f32,
    #[serde(default)]
    ch_axis: usize,
    #[serde(default)]
    is_dynamic: bool,
    fake_quantize: Option<FakeQuantizeKind>,
}

impl TryFrom<SpecJson> for ObserverSpec {
    type Error = serde_json::Error;

    fn try_from(json: SpecJson) -> Result<ObserverSpec, serde_json::Error> {
        let dynamic = json.observer == "dynamic";
        Ok(ObserverSpec {
            observer: if dynamic { ObserverKind::Placeholder } else { serde_json::from_value(json.observer)? },
            dtype: json.dtype,
            qscheme: json.qscheme,
            reduce_range: json.reduce_range,
            quant_min: json.quant_min,
            quant_max: json.quant_max,
            eps: json.eps,
            ch_axis: json.ch_axis,
            is_dynamic: json.is_dynamic || dynamic,
            fake_quantize: json.fake_quantize,
        })
    }
}
