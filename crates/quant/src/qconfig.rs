//! QConfig: how the activations and the weights of an operator are observed and quantized
//! (torch.ao.quantization.qconfig). A QConfig is data: it can be written as JSON, compared and printed.

use std::sync::Arc;

use quantc_tensor::{DType, QRange, QScheme};
use serde::{Deserialize, Serialize};

/// PyTorch's default `eps`, the smallest scale: 2^-23.
pub const DEFAULT_EPS: f32 = f32::EPSILON;

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
    /// 2048-bin histogram, range chosen by the smallest L2 quantization error.
    Histogram,
    /// Nothing is observed when calibrating; the range is taken from each input when the model runs.
    Dynamic,
    /// Nothing is observed: the value stays as it is.
    Placeholder,
    /// Nothing is observed: the value is rounded to half precision (PyTorch's `PlaceholderObserver` with dtype float16).
    Float16 {
        /// Whether activations stay as they are.
        is_dynamic: bool,
    },
}

fn default_eps() -> f32 {
    DEFAULT_EPS
}

/// An observer with everything that determines its quantization parameters (PyTorch's `observer.with_args(...)`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObserverSpec {
    /// Which observer.
    pub observer: ObserverKind,
    /// `quint8` or `qint8`.
    #[serde(with = "qdtype")]
    pub dtype: DType,
    /// Scheme.
    pub qscheme: QScheme,
    /// Halve the range (for kernels that saturate; quantc's do not).
    #[serde(default)]
    pub reduce_range: bool,
    /// A lowest value above the type's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quant_min: Option<i32>,
    /// A highest value below the type's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quant_max: Option<i32>,
    /// Smallest scale.
    #[serde(default = "default_eps")]
    pub eps: f32,
    /// Channel axis of a per-channel scheme.
    #[serde(default)]
    pub ch_axis: usize,
}

impl ObserverSpec {
    /// The range in use: the type's or the custom one, halved by `reduce_range` (floor, as PyTorch's `// 2`).
    pub fn range(&self) -> QRange {
        let (qmin, qmax) = self.dtype.quantized_range().unwrap_or((0, 255));
        let (qmin, qmax) = (self.quant_min.unwrap_or(qmin), self.quant_max.unwrap_or(qmax));
        if self.reduce_range {
            QRange { dtype: self.dtype, qmin: qmin.div_euclid(2), qmax: qmax.div_euclid(2) }
        } else {
            QRange { dtype: self.dtype, qmin, qmax }
        }
    }

    /// The same with one scale for the whole tensor.
    pub fn to_per_tensor(&self) -> ObserverSpec {
        let qscheme = if self.qscheme.is_symmetric() { QScheme::PerTensorSymmetric } else { QScheme::PerTensorAffine };
        ObserverSpec { qscheme, ..self.clone() }
    }

    /// The observer's class name, as PyTorch has it.
    pub fn name(&self) -> &'static str {
        match (self.observer, self.qscheme.is_per_channel()) {
            (ObserverKind::MinMax, false) => "MinMaxObserver",
            (ObserverKind::MinMax, true) => "PerChannelMinMaxObserver",
            (ObserverKind::MovingAverageMinMax { .. }, false) => "MovingAverageMinMaxObserver",
            (ObserverKind::MovingAverageMinMax { .. }, true) => "MovingAveragePerChannelMinMaxObserver",
            (ObserverKind::Histogram, _) => "HistogramObserver",
            (ObserverKind::Dynamic | ObserverKind::Placeholder | ObserverKind::Float16 { .. }, _) => {
                "PlaceholderObserver"
            }
        }
    }
}

mod qdtype {
    //! PyTorch's names of quantized types.
    use quantc_tensor::DType;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(dtype: &DType, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(match dtype {
            DType::I8 => "qint8",
            DType::U8 => "quint8",
            other => other.name(),
        })
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<DType, D::Error> {
        match String::deserialize(d)?.as_str() {
            "qint8" | "i8" => Ok(DType::I8),
            "quint8" | "u8" => Ok(DType::U8),
            other => Err(D::Error::custom(format!("dtype `{other}` is not one of qint8, quint8"))),
        }
    }
}

/// How one operator is quantized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QConfig {
    /// Observer of activations.
    pub activation: ObserverSpec,
    /// Observer of weights.
    pub weight: ObserverSpec,
}

impl QConfig {
    /// Whether activations are quantized when the model runs, from each input's own range.
    pub fn is_dynamic(&self) -> bool {
        self.activation.observer == ObserverKind::Dynamic
    }
}

/// The names that [`named`] knows, each with a sentence.
pub const NAMES: &[(&str, &str)] = &[
    ("x86", "static: min/max activations u8 full range, per-channel symmetric i8 weights -127..127 (default)"),
    ("histogram", "static: histogram activations u8 full range, per-channel symmetric i8 weights -127..127"),
    ("minmax", "static: min/max activations u8 full range, per-channel symmetric i8 weights"),
    ("moving_average", "static: moving-average min/max activations u8 full range, per-channel symmetric i8 weights"),
    ("fbgemm", "static: histogram activations u8 0..127 (reduce_range), per-channel symmetric i8 weights"),
    ("onednn", "static: histogram activations u8 full range, per-channel symmetric i8 weights"),
    ("qnnpack", "static: histogram activations u8 full range, per-tensor symmetric i8 weights"),
    (
        "qnnpack_symmetric",
        "static: histogram activations i8 symmetric, per-tensor symmetric i8 weights -127..127, eps 2^-12",
    ),
    ("dynamic", "dynamic: activations u8 from each input's range, per-channel symmetric i8 weights -127..127"),
    ("per_tensor_dynamic", "dynamic: activations u8 from each input's range, per-tensor symmetric i8 weights"),
    ("float16_dynamic_qconfig", "weights rounded to half precision, arithmetic f32"),
    ("float16_static_qconfig", "activations, weights and biases rounded to half precision, arithmetic f32"),
    ("default_weight_only_qconfig", "weight-only: per-tensor symmetric i8 weights"),
    ("float_qparams_weight_only_qconfig", "weight-only: embeddings u8 with a scale and float zero point for each row"),
    ("float_qparams_weight_only_qconfig_4bit", "weight-only: embeddings in 4 bits, otherwise the same"),
];

/// A preset (torch.ao.quantization.get_default_qconfig and relatives), `None` if there is none of that name. Ours use the
/// full u8 range where PyTorch's x86 preset reduces it: quantc's kernels never saturate.
pub fn named(name: &str) -> Option<QConfig> {
    let spec = |observer, dtype, qscheme| ObserverSpec {
        observer,
        dtype,
        qscheme,
        reduce_range: false,
        quant_min: None,
        quant_max: None,
        eps: DEFAULT_EPS,
        ch_axis: 0,
    };
    let activation = |observer| spec(observer, DType::U8, QScheme::PerTensorAffine);
    let per_channel = spec(ObserverKind::MinMax, DType::I8, QScheme::PerChannelSymmetric);
    // PyTorch's symmetric scale for the full range, max / 127.5, clips the largest positive weight by half a step.
    let per_channel_127 = ObserverSpec { quant_min: Some(-127), quant_max: Some(127), ..per_channel.clone() };
    let per_tensor = spec(ObserverKind::MinMax, DType::I8, QScheme::PerTensorSymmetric);
    let histogram = activation(ObserverKind::Histogram);
    Some(match name {
        "x86" => QConfig { activation: activation(ObserverKind::MinMax), weight: per_channel_127 },
        "histogram" => QConfig { activation: histogram, weight: per_channel_127 },
        "onednn" => QConfig { activation: histogram, weight: per_channel },
        "minmax" => QConfig { activation: activation(ObserverKind::MinMax), weight: per_channel },
        "moving_average" => QConfig {
            activation: activation(ObserverKind::MovingAverageMinMax { averaging_constant: 0.01 }),
            weight: per_channel,
        },
        "fbgemm" => QConfig { activation: ObserverSpec { reduce_range: true, ..histogram }, weight: per_channel },
        "qnnpack" => QConfig { activation: histogram, weight: per_tensor },
        "qnnpack_symmetric" => {
            let eps = 1.0 / 4096.0;
            QConfig {
                activation: ObserverSpec {
                    eps,
                    ..spec(ObserverKind::Histogram, DType::I8, QScheme::PerTensorSymmetric)
                },
                weight: ObserverSpec { eps, quant_min: Some(-127), quant_max: Some(127), ..per_tensor },
            }
        }
        "dynamic" => QConfig { activation: activation(ObserverKind::Dynamic), weight: per_channel_127 },
        "per_tensor_dynamic" => QConfig { activation: activation(ObserverKind::Dynamic), weight: per_tensor },
        _ => return crate::weight_only::named(name).or_else(|| crate::half::named(name)),
    })
}

/// A shared QConfig or the decision not to quantize.
pub type MaybeQConfig = Option<Arc<QConfig>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_name_exists_and_round_trips_through_json() {
        for (name, _) in NAMES {
            let q = named(name).unwrap_or_else(|| panic!("{name}"));
            let json = serde_json::to_string(&q).expect("serializes");
            assert_eq!(serde_json::from_str::<QConfig>(&json).expect("parses"), q, "{json}");
        }
        assert!(named("nope").is_none());
    }

    #[test]
    fn reduced_range_floors() {
        let mut spec = named("x86").expect("exists").weight;
        spec.reduce_range = true;
        assert_eq!((spec.range().qmin, spec.range().qmax), (-64, 63));
        spec.quant_min = Some(-127);
        assert_eq!((spec.range().qmin, spec.range().qmax), (-64, 63));
    }
}
