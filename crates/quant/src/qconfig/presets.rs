//! PyTorch's presets under PyTorch's names: observers (torch.ao.quantization.observer), fake-quantize modules (`fake_quantize`) and
//! QConfigs (`qconfig`), with PyTorch 2.8's arguments. The tables list them all.

use quantc_tensor::QScheme::{PerChannelAffineFloatQParams, PerChannelSymmetric, PerTensorAffine, PerTensorSymmetric};

use super::ObserverDType::{Float16, Float32, Qint8, Quint4x2, Quint8};
use super::ObserverKind::{FixedQParams, Histogram, Identity, MinMax, Noop, Placeholder, Recording, ReuseInput};
use super::{FakeQuantizeKind, ObserverKind, ObserverSpec, QConfig};

/// A preset: its name in PyTorch, and what it is.
pub type Preset<T> = (&'static str, fn() -> T);

/// Defines a function for each preset and the table of them all.
macro_rules! presets {
    ($(#[$about:meta])* $table:ident: $type:ty; $($(#[$doc:meta])* $name:ident = $value:expr;)*) => {
        $($(#[$doc])*
        pub fn $name() -> $type {
            $value
        })*

        $(#[$about])*
        pub const $table: &[Preset<$type>] = &[$((stringify!($name), $name)),*];
    };
}

/// The smallest scale of the presets made for qnnpack.
const QNNPACK_EPS: f32 = 1.0 / 4096.0;

const MOVING_AVERAGE: ObserverKind = ObserverKind::MovingAverageMinMax { averaging_constant: 0.01 };
/// A moving average that keeps the last batch only.
const MEMORYLESS: ObserverKind = ObserverKind::MovingAverageMinMax { averaging_constant: 1.0 };

fn within(quant_min: i32, quant_max: i32, spec: ObserverSpec) -> ObserverSpec {
    ObserverSpec { quant_min: Some(quant_min), quant_max: Some(quant_max), ..spec }
}

fn reduced(spec: ObserverSpec) -> ObserverSpec {
    ObserverSpec { reduce_range: true, ..spec }
}

/// The smallest scale of qnnpack's presets.
fn qnnpack_eps(spec: ObserverSpec) -> ObserverSpec {
    ObserverSpec { eps: QNNPACK_EPS, ..spec }
}

fn fake_quantize(spec: ObserverSpec) -> ObserverSpec {
    ObserverSpec { fake_quantize: Some(FakeQuantizeKind::FakeQuantize), ..spec }
}

fn fused(spec: ObserverSpec) -> ObserverSpec {
    ObserverSpec { fake_quantize: Some(FakeQuantizeKind::FusedMovingAvgObsFakeQuantize), ..spec }
}

fn fixed(spec: ObserverSpec) -> ObserverSpec {
    ObserverSpec { fake_quantize: Some(FakeQuantizeKind::FixedQParamsFakeQuantize), ..spec }
}

/// A dtype and nothing else.
const fn carrying(observer: ObserverKind, dtype: super::ObserverDType) -> ObserverSpec {
    ObserverSpec::new(observer, dtype, PerTensorAffine)
}

/// `torch.nn.Identity` where a QConfig wants an observer.
const fn identity() -> ObserverSpec {
    carrying(Identity, Float32)
}

presets! {
    /// The observers.
    OBSERVERS: ObserverSpec;

    /// Activations in 0..127, min/max.
    default_observer = within(0, 127, ObserverSpec::new(MinMax, Quint8, PerTensorAffine));
    /// A dtype and nothing else: float32, for values that stay float.
    default_placeholder_observer = carrying(Placeholder, Float32);
    /// Keeps all tensors.
    default_debug_observer = carrying(Recording, Quint8);
    /// Weights, symmetric, per tensor.
    default_weight_observer = ObserverSpec::new(MinMax, Qint8, PerTensorSymmetric);
    /// Weights in -127..127, symmetric, per tensor, with qnnpack's smallest scale.
    weight_observer_range_neg_127_to_127 =
        qnnpack_eps(within(-127, 127, ObserverSpec::new(MinMax, Qint8, PerTensorSymmetric)));
    /// Activations in 0..127, histogram.
    default_histogram_observer = within(0, 127, ObserverSpec::new(Histogram, Quint8, PerTensorAffine));
    /// Weights, symmetric, per channel.
    default_per_channel_weight_observer = ObserverSpec::new(MinMax, Qint8, PerChannelSymmetric);
    /// Weights in -127..127, symmetric, per channel, with qnnpack's smallest scale.
    per_channel_weight_observer_range_neg_127_to_127 =
        qnnpack_eps(within(-127, 127, ObserverSpec::new(MinMax, Qint8, PerChannelSymmetric)));
    /// Activations quantized when the model runs.
    default_dynamic_quant_observer =
        ObserverSpec { is_dynamic: true, ..within(0, 255, carrying(Placeholder, Quint8)) };
    /// Embeddings, float zero points.
    default_float_qparams_observer = ObserverSpec::new(MinMax, Quint8, PerChannelAffineFloatQParams);
    /// Embeddings in 4 bits, float zero points.
    default_float_qparams_observer_4bit = ObserverSpec::new(MinMax, Quint4x2, PerChannelAffineFloatQParams);
    /// Outputs in -1..1, of tanh.
    default_fixed_qparams_range_neg1to1_observer =
        within(0, 255, carrying(FixedQParams { scale: 2.0 / 256.0, zero_point: 128 }, Quint8));
    /// Outputs in 0..1, of sigmoid.
    default_fixed_qparams_range_0to1_observer =
        within(0, 255, carrying(FixedQParams { scale: 1.0 / 256.0, zero_point: 0 }, Quint8));
    /// The older name of [`default_fixed_qparams_range_neg1to1_observer`].
    default_symmetric_fixed_qparams_observer = default_fixed_qparams_range_neg1to1_observer();
    /// The older name of [`default_fixed_qparams_range_0to1_observer`].
    default_affine_fixed_qparams_observer = default_fixed_qparams_range_0to1_observer();
    /// Shares the observer of the operator's input.
    default_reuse_input_observer = carrying(ReuseInput, Quint8);
}

presets! {
    /// The fake-quantize modules.
    FAKE_QUANTS: ObserverSpec;

    /// Activations, the range 0..255 reduced to 0..127.
    default_fake_quant =
        fake_quantize(reduced(within(0, 255, ObserverSpec::new(MOVING_AVERAGE, Quint8, PerTensorAffine))));
    /// Weights, symmetric, per tensor.
    default_weight_fake_quant =
        fake_quantize(within(-128, 127, ObserverSpec::new(MOVING_AVERAGE, Qint8, PerTensorSymmetric)));
    /// Activations quantized when the model runs: the observer keeps the last batch only.
    default_dynamic_fake_quant = ObserverSpec {
        is_dynamic: true,
        ..fake_quantize(within(0, 255, ObserverSpec::new(MEMORYLESS, Quint8, PerTensorAffine)))
    };
    /// Outputs in -1..1, of tanh.
    default_fixed_qparams_range_neg1to1_fake_quant = fixed(default_fixed_qparams_range_neg1to1_observer());
    /// Outputs in 0..1, of sigmoid.
    default_fixed_qparams_range_0to1_fake_quant = fixed(default_fixed_qparams_range_0to1_observer());
    /// The older name of [`default_fixed_qparams_range_neg1to1_fake_quant`].
    default_symmetric_fixed_qparams_fake_quant = default_fixed_qparams_range_neg1to1_fake_quant();
    /// The older name of [`default_fixed_qparams_range_0to1_fake_quant`].
    default_affine_fixed_qparams_fake_quant = default_fixed_qparams_range_0to1_fake_quant();
    /// Weights, symmetric, per channel.
    default_per_channel_weight_fake_quant =
        fake_quantize(within(-128, 127, ObserverSpec::new(MOVING_AVERAGE, Qint8, PerChannelSymmetric)));
    /// Embeddings, float zero points.
    default_embedding_fake_quant =
        fake_quantize(within(0, 255, ObserverSpec::new(MEMORYLESS, Quint8, PerChannelAffineFloatQParams)));
    /// Embeddings in 4 bits, float zero points.
    default_embedding_fake_quant_4bit =
        fake_quantize(ObserverSpec::new(MEMORYLESS, Quint4x2, PerChannelAffineFloatQParams));
    /// Activations, histogram, the range 0..255 reduced to 0..127.
    default_histogram_fake_quant =
        fake_quantize(reduced(within(0, 255, ObserverSpec::new(Histogram, Quint8, PerTensorAffine))));
    /// Activations, observed and quantized in one.
    default_fused_act_fake_quant = fused(within(0, 255, ObserverSpec::new(MOVING_AVERAGE, Quint8, PerTensorAffine)));
    /// Weights, symmetric, per tensor, observed and quantized in one.
    default_fused_wt_fake_quant =
        fused(within(-128, 127, ObserverSpec::new(MOVING_AVERAGE, Qint8, PerTensorSymmetric)));
    /// Weights, symmetric, per channel, observed and quantized in one.
    default_fused_per_channel_wt_fake_quant =
        fused(within(-128, 127, ObserverSpec::new(MOVING_AVERAGE, Qint8, PerChannelSymmetric)));
    /// Weights in -127..127, symmetric, per tensor, observed and quantized in one.
    fused_wt_fake_quant_range_neg_127_to_127 =
        qnnpack_eps(fused(within(-127, 127, ObserverSpec::new(MOVING_AVERAGE, Qint8, PerTensorSymmetric))));
    /// Weights in -127..127, symmetric, per channel, observed and quantized in one.
    fused_per_channel_wt_fake_quant_range_neg_127_to_127 =
        qnnpack_eps(fused(within(-127, 127, ObserverSpec::new(MOVING_AVERAGE, Qint8, PerChannelSymmetric))));
}

presets! {
    /// The QConfigs. Those of a backend are [`get_default_qconfig`] and [`get_default_qat_qconfig`].
    QCONFIGS: QConfig;

    /// Static, per tensor.
    default_qconfig = QConfig { activation: default_observer(), weight: default_weight_observer() };
    /// Keeps all activations.
    default_debug_qconfig = QConfig { activation: default_debug_observer(), weight: default_weight_observer() };
    /// Static, weights per channel.
    default_per_channel_qconfig =
        QConfig { activation: default_observer(), weight: default_per_channel_weight_observer() };
    /// Dynamic, weights per tensor.
    default_dynamic_qconfig =
        QConfig { activation: default_dynamic_quant_observer(), weight: default_weight_observer() };
    /// Weights rounded to float16.
    float16_dynamic_qconfig = QConfig {
        activation: ObserverSpec { is_dynamic: true, ..carrying(Placeholder, Float16) },
        weight: carrying(Placeholder, Float16),
    };
    /// Weights and activations rounded to float16.
    float16_static_qconfig =
        QConfig { activation: carrying(Placeholder, Float16), weight: carrying(Placeholder, Float16) };
    /// Dynamic, weights per channel.
    per_channel_dynamic_qconfig =
        QConfig { activation: default_dynamic_quant_observer(), weight: default_per_channel_weight_observer() };
    /// Embeddings: weights only, float zero points.
    float_qparams_weight_only_qconfig =
        QConfig { activation: default_placeholder_observer(), weight: default_float_qparams_observer() };
    /// Embeddings: weights only, 4 bits, float zero points.
    float_qparams_weight_only_qconfig_4bit =
        QConfig { activation: default_placeholder_observer(), weight: default_float_qparams_observer_4bit() };
    /// Training, per tensor.
    default_qat_qconfig = QConfig { activation: default_fake_quant(), weight: default_weight_fake_quant() };
    /// Training for dynamic quantization.
    default_dynamic_qat_qconfig =
        QConfig { activation: default_dynamic_fake_quant(), weight: default_weight_fake_quant() };
    /// Training with quantized weights only.
    default_weight_only_qconfig = QConfig { activation: identity(), weight: default_weight_fake_quant() };
    /// Training with quantized activations only.
    default_activation_only_qconfig = QConfig { activation: default_fake_quant(), weight: identity() };
    /// Training, per tensor, fused modules.
    default_qat_qconfig_v2 =
        QConfig { activation: default_fused_act_fake_quant(), weight: default_fused_wt_fake_quant() };
    /// For operators such as reshape: the input's observer is the output's.
    default_reuse_input_qconfig =
        QConfig { activation: default_reuse_input_observer(), weight: carrying(Noop, Float16) };
    /// qnnpack with signed activations, weights per tensor.
    default_symmetric_qnnpack_qconfig = QConfig {
        activation: qnnpack_eps(ObserverSpec::new(Histogram, Qint8, PerTensorAffine)),
        weight: weight_observer_range_neg_127_to_127(),
    };
    /// qnnpack with signed activations, weights per channel.
    default_per_channel_symmetric_qnnpack_qconfig = QConfig {
        weight: per_channel_weight_observer_range_neg_127_to_127(),
        ..default_symmetric_qnnpack_qconfig()
    };
    /// Training of embeddings.
    default_embedding_qat_qconfig =
        QConfig { activation: carrying(Noop, Float32), weight: default_embedding_fake_quant() };
    /// Training of embeddings in 4 bits.
    default_embedding_qat_qconfig_4bit =
        QConfig { activation: carrying(Noop, Float32), weight: default_embedding_fake_quant_4bit() };
    /// Unsigned weights (PReLU's).
    default_quint8_weight_qconfig = QConfig {
        activation: ObserverSpec::new(Histogram, Quint8, PerTensorAffine),
        weight: ObserverSpec::new(MinMax, Quint8, PerTensorAffine),
    };
    /// Training for qnnpack with signed activations, weights per tensor.
    default_symmetric_qnnpack_qat_qconfig = QConfig {
        activation: qnnpack_eps(fused(within(
            -128,
            127,
            ObserverSpec::new(MOVING_AVERAGE, Qint8, PerTensorAffine),
        ))),
        weight: fused_wt_fake_quant_range_neg_127_to_127(),
    };
    /// Training for qnnpack with signed activations, weights per channel.
    default_per_channel_symmetric_qnnpack_qat_qconfig = QConfig {
        weight: fused_per_channel_wt_fake_quant_range_neg_127_to_127(),
        ..default_symmetric_qnnpack_qat_qconfig()
    };
}

/// The backends that [`get_default_qconfig`] knows.
pub const BACKENDS: &[&str] = &["fbgemm", "x86", "qnnpack", "onednn"];

/// A backend or a version that PyTorch has no preset for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PresetError {
    /// No such backend.
    #[error("no default QConfig for the backend `{0}` (hint: one of fbgemm, x86, qnnpack, onednn)")]
    Backend(String),
    /// No such version.
    #[error("no default QConfig of version {version} (hint: {known})")]
    Version {
        /// The version asked for.
        version: u32,
        /// The versions there are.
        known: &'static str,
    },
}

fn known_backend(backend: &str) -> Result<(), PresetError> {
    if BACKENDS.contains(&backend) { Ok(()) } else { Err(PresetError::Backend(backend.to_owned())) }
}

/// PyTorch's QConfig for static quantization on a backend, version 0 (torch.ao.quantization.get_default_qconfig). On
/// fbgemm and x86 activations are kept in 0..127, since the kernels there may saturate; quantc's do not.
///
/// # Errors
/// For a backend that is not one of [`BACKENDS`], and for any version but 0.
pub fn get_default_qconfig(backend: &str, version: u32) -> Result<QConfig, PresetError> {
    known_backend(backend)?;
    if version != 0 {
        return Err(PresetError::Version { version, known: "0" });
    }
    let histogram = ObserverSpec::new(Histogram, Quint8, PerTensorAffine);
    Ok(match backend {
        "qnnpack" => QConfig { activation: histogram, weight: default_weight_observer() },
        "onednn" => QConfig { activation: histogram, weight: default_per_channel_weight_observer() },
        _ => QConfig { activation: reduced(histogram), weight: default_per_channel_weight_observer() },
    })
}

/// PyTorch's QConfig for training on a backend (torch.ao.quantization.get_default_qat_qconfig): version 0 has observer and fake
/// quantization apart, version 1, PyTorch's default, in one module.
///
/// # Errors
/// For a backend that is not one of [`BACKENDS`], and for any version but 0 and 1.
pub fn get_default_qat_qconfig(backend: &str, version: u32) -> Result<QConfig, PresetError> {
    known_backend(backend)?;
    let activation = within(0, 255, ObserverSpec::new(MOVING_AVERAGE, Quint8, PerTensorAffine));
    let activation = if matches!(backend, "fbgemm" | "x86") { reduced(activation) } else { activation };
    match version {
        0 => Ok(QConfig {
            activation: fake_quantize(activation),
            weight: if backend == "qnnpack" {
                default_weight_fake_quant()
            } else {
                default_per_channel_weight_fake_quant()
            },
        }),
        1 => Ok(QConfig {
            activation: fused(activation),
            weight: if backend == "qnnpack" {
                default_fused_wt_fake_quant()
            } else {
                default_fused_per_channel_wt_fake_quant()
            },
        }),
        _ => Err(PresetError::Version { version, known: "0 or 1" }),
    }
}
