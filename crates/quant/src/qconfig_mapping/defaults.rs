//! PyTorch's default mappings (torch.ao.quantization.qconfig_mapping), and quantc's.

use super::QConfigMapping;
use crate::qconfig::presets::{
    PresetError, default_fixed_qparams_range_0to1_fake_quant, default_fixed_qparams_range_0to1_observer,
    default_fixed_qparams_range_neg1to1_fake_quant, default_fixed_qparams_range_neg1to1_observer,
    default_placeholder_observer, default_quint8_weight_qconfig, default_reuse_input_qconfig,
    default_symmetric_qnnpack_qat_qconfig, default_symmetric_qnnpack_qconfig, default_weight_fake_quant,
    default_weight_observer, get_default_qat_qconfig, get_default_qconfig,
};
use crate::qconfig::{ObserverSpec, QConfig};

const CONV_TRANSPOSE: [&str; 6] = [
    "torch.nn.ConvTranspose1d",
    "torch.nn.ConvTranspose2d",
    "torch.nn.ConvTranspose3d",
    "torch.nn.functional.conv_transpose1d",
    "torch.nn.functional.conv_transpose2d",
    "torch.nn.functional.conv_transpose3d",
];
const LAYER_NORM: [&str; 2] = ["torch.nn.functional.layer_norm", "torch.nn.LayerNorm"];
/// Their results are in 0..1.
const RANGE_0TO1: [&str; 9] = [
    "torch.nn.Hardsigmoid",
    "torch.nn.functional.hardsigmoid",
    "hardsigmoid",
    "hardsigmoid_",
    "torch.nn.Sigmoid",
    "torch.sigmoid",
    "sigmoid",
    "sigmoid_",
    "torch.nn.Softmax",
];
/// Their results are in -1..1.
const RANGE_NEG1TO1: [&str; 4] = ["torch.nn.Tanh", "torch.tanh", "tanh", "tanh_"];

impl QConfigMapping {
    /// quantc's default mapping around a QConfig: everything gets it, but transposed convolutions get a per-tensor weight. Which results
    /// have fixed parameters, and which share their input's, the backend's patterns say.
    pub fn default_for(qconfig: QConfig) -> QConfigMapping {
        let per_tensor = QConfig { weight: qconfig.weight.to_per_tensor(), ..qconfig.clone() };
        ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]
            .iter()
            .fold(QConfigMapping::new().set_global(Some(qconfig)), |mapping, op| {
                mapping.set_object_type(op, Some(per_tensor.clone()))
            })
    }

    fn set_object_types(self, object_types: &[&str], qconfig: &QConfig) -> QConfigMapping {
        object_types.iter().fold(self, |mapping, t| mapping.set_object_type(t, Some(qconfig.clone())))
    }

    /// The QConfigs of operators whose results have fixed parameters.
    fn set_fixed(self, activation: impl Fn(bool) -> ObserverSpec, weight: &ObserverSpec) -> QConfigMapping {
        let qconfig = |neg1| QConfig { activation: activation(neg1), weight: weight.clone() };
        self.set_object_types(&RANGE_0TO1, &qconfig(false)).set_object_types(&RANGE_NEG1TO1, &qconfig(true))
    }
}

/// What PyTorch's mappings give everything, and the types that are not to have that.
struct Defaults {
    global: QConfig,
    conv_transpose: QConfig,
    layer_norm: QConfig,
    reshape: QConfig,
    prelu: QConfig,
}

impl Defaults {
    fn of_backend(global: QConfig, backend: &str, default_weight: ObserverSpec) -> Defaults {
        // The kernels of fbgemm and x86 take one scale for the weights of a transposed convolution.
        let per_tensor = matches!(backend, "fbgemm" | "x86");
        let weight = if per_tensor { default_weight } else { global.weight.clone() };
        Defaults {
            conv_transpose: QConfig { weight, ..global.clone() },
            layer_norm: QConfig { weight: default_placeholder_observer(), ..global.clone() },
            reshape: default_reuse_input_qconfig(),
            prelu: default_quint8_weight_qconfig(),
            global,
        }
    }

    /// Everything has the QConfig but what has fixed parameters (PyTorch `_get_default_qconfig_mapping_with_default_qconfig`).
    fn all(qconfig: QConfig) -> Defaults {
        Defaults {
            conv_transpose: qconfig.clone(),
            layer_norm: qconfig.clone(),
            reshape: qconfig.clone(),
            prelu: qconfig.clone(),
            global: qconfig,
        }
    }

    fn mapping(self, is_qat: bool) -> QConfigMapping {
        let mapping = QConfigMapping::new()
            .set_global(Some(self.global))
            .set_object_types(&["reshape"], &self.reshape)
            .set_object_types(&CONV_TRANSPOSE, &self.conv_transpose)
            .set_object_types(&LAYER_NORM, &self.layer_norm)
            .set_object_types(&["torch.nn.PReLU"], &self.prelu);
        let activation = |neg1| match (is_qat, neg1) {
            (false, false) => default_fixed_qparams_range_0to1_observer(),
            (false, true) => default_fixed_qparams_range_neg1to1_observer(),
            (true, false) => default_fixed_qparams_range_0to1_fake_quant(),
            (true, true) => default_fixed_qparams_range_neg1to1_fake_quant(),
        };
        mapping.set_fixed(activation, &default_weight(is_qat))
    }
}

fn default_weight(is_qat: bool) -> ObserverSpec {
    if is_qat { default_weight_fake_quant() } else { default_weight_observer() }
}

/// PyTorch's default mapping for static quantization on a backend, version 0 (torch.ao.quantization.get_default_qconfig_mapping): everything
/// gets [`get_default_qconfig`]; a reshape shares its input's observer, transposed convolutions have a weight per tensor on fbgemm and x86,
/// layer norms a float one, and sigmoid, hardsigmoid, softmax and tanh fixed parameters.
///
/// # Errors
/// For a backend or version that PyTorch has no preset for.
pub fn get_default_qconfig_mapping(backend: &str, version: u32) -> Result<QConfigMapping, PresetError> {
    let qconfig = get_default_qconfig(backend, version)?;
    Ok(Defaults::of_backend(qconfig, backend, default_weight(false)).mapping(false))
}

/// The same for training, version 0 or 1 (torch.ao.quantization.get_default_qat_qconfig_mapping), which PyTorch's own default is.
///
/// # Errors
/// For a backend or version that PyTorch has no preset for.
pub fn get_default_qat_qconfig_mapping(backend: &str, version: u32) -> Result<QConfigMapping, PresetError> {
    let qconfig = get_default_qat_qconfig(backend, version)?;
    Ok(Defaults::of_backend(qconfig, backend, default_weight(true)).mapping(true))
}

/// qnnpack with signed activations: all but the operators with fixed parameters get `default_symmetric_qnnpack_qconfig`
/// (torch.ao.quantization.qconfig_mapping._get_symmetric_qnnpack_qconfig_mapping).
pub fn get_symmetric_qnnpack_qconfig_mapping() -> QConfigMapping {
    Defaults::all(default_symmetric_qnnpack_qconfig()).mapping(false)
}

/// The same for training (torch.ao.quantization.qconfig_mapping._get_symmetric_qnnpack_qat_qconfig_mapping).
pub fn get_symmetric_qnnpack_qat_qconfig_mapping() -> QConfigMapping {
    Defaults::all(default_symmetric_qnnpack_qat_qconfig()).mapping(true)
}
