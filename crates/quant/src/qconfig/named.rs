//! The QConfigs that quantc names itself.

use quantc_ops::names::nearest;
use quantc_tensor::QScheme;

use super::presets;
use super::{ObserverDType, ObserverKind, ObserverSpec, QConfig, RangeSearch};

/// quantc's own names that [`named`] knows, each with a sentence; all of them quantize. It knows those of [`presets::QCONFIGS`] too.
pub const NAMES: &[(&str, &str)] = &[
    ("x86", "static: min/max activations u8 full range, per-channel symmetric i8 weights -127..127 (default)"),
    (
        "histogram",
        "static: histogram activations u8 full range, independent of the order of the samples, per-channel symmetric i8 weights -127..127",
    ),
    ("minmax", "static: min/max activations u8 full range, per-channel symmetric i8 weights"),
    ("moving_average", "static: moving-average min/max activations u8 full range, per-channel symmetric i8 weights"),
    ("fbgemm", "static: PyTorch's: histogram activations u8 0..127 (reduce_range), per-channel symmetric i8 weights"),
    ("onednn", "static: PyTorch's: histogram activations u8 full range, per-channel symmetric i8 weights"),
    ("qnnpack", "static: PyTorch's: histogram activations u8 full range, per-tensor symmetric i8 weights"),
    (
        "qnnpack_symmetric",
        "static: histogram activations i8 symmetric, per-tensor symmetric i8 weights -127..127, eps 2^-12",
    ),
    ("dynamic", "dynamic: activations u8 from each input's range, per-channel symmetric i8 weights -127..127"),
    ("per_tensor_dynamic", "dynamic: activations u8 from each input's range, per-tensor symmetric i8 weights"),
];

/// A name that no preset has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown qconfig `{name}` (hint: {hint})")]
pub struct UnknownQConfig {
    name: String,
    hint: String,
}

/// A preset as [`named`] gives it.
///
/// # Errors
/// If there is none of that name, with the nearest one.
pub fn preset(name: &str) -> Result<QConfig, UnknownQConfig> {
    named(name).ok_or_else(|| {
        let own = || NAMES.iter().map(|n| n.0);
        let hint = match nearest(name, own().chain(presets::QCONFIGS.iter().map(|p| p.0))) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => {
                format!("one of {}, or of PyTorch's, such as default_qconfig", own().collect::<Vec<_>>().join(", "))
            }
        };
        UnknownQConfig { name: name.to_owned(), hint }
    })
}

/// A preset, `None` if there is none of that name: one of [`NAMES`] or of [`presets::QCONFIGS`]. `fbgemm`, `qnnpack` and `onednn`
/// are [`presets::get_default_qconfig`]'s; `x86` is not: it uses the full u8 range where PyTorch's reduces it, since quantc's kernels
/// never saturate.
pub fn named(name: &str) -> Option<QConfig> {
    let activation = |observer| ObserverSpec::new(observer, ObserverDType::Quint8, QScheme::PerTensorAffine);
    let per_channel = presets::default_per_channel_weight_observer();
    // PyTorch's symmetric scale for the full range, max / 127.5, clips the largest positive weight by half a step.
    let per_channel_127 = ObserverSpec { quant_min: Some(-127), quant_max: Some(127), ..per_channel.clone() };
    let aligned = ObserverKind::AlignedHistogram { search: RangeSearch::L2 };
    Some(match name {
        "x86" => QConfig { activation: activation(ObserverKind::MinMax), weight: per_channel_127 },
        "histogram" => QConfig { activation: activation(aligned), weight: per_channel_127 },
        "minmax" => QConfig { activation: activation(ObserverKind::MinMax), weight: per_channel },
        "moving_average" => QConfig {
            activation: activation(ObserverKind::MovingAverageMinMax { averaging_constant: 0.01 }),
            weight: per_channel,
        },
        "fbgemm" | "qnnpack" | "onednn" => presets::get_default_qconfig(name, 0).ok()?,
        "qnnpack_symmetric" => {
            let QConfig { activation, weight } = presets::default_symmetric_qnnpack_qconfig();
            QConfig { activation: ObserverSpec { qscheme: QScheme::PerTensorSymmetric, ..activation }, weight }
        }
        "dynamic" => QConfig { activation: presets::default_dynamic_quant_observer(), weight: per_channel_127 },
        "per_tensor_dynamic" => presets::default_dynamic_qconfig(),
        _ => return presets::QCONFIGS.iter().find(|p| p.0 == name).map(|p| (p.1)()),
    })
}
