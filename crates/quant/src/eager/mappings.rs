//! Which module types have quantized counterparts (torch.ao.quantization.quantization_mappings), by PyTorch's class names.

use super::EagerError;

/// Module types and the classes they are swapped for.
pub type ModuleMapping<'m> = &'m [(&'m str, &'m str)];

const STATIC: ModuleMapping<'static> = &[
    ("QuantStub", "torch.ao.nn.quantized.Quantize"),
    ("DeQuantStub", "torch.ao.nn.quantized.DeQuantize"),
    ("BatchNorm2d", "torch.ao.nn.quantized.BatchNorm2d"),
    ("BatchNorm3d", "torch.ao.nn.quantized.BatchNorm3d"),
    ("Dropout", "torch.ao.nn.quantized.Dropout"),
    ("Conv1d", "torch.ao.nn.quantized.Conv1d"),
    ("Conv2d", "torch.ao.nn.quantized.Conv2d"),
    ("Conv3d", "torch.ao.nn.quantized.Conv3d"),
    ("ConvTranspose1d", "torch.ao.nn.quantized.ConvTranspose1d"),
    ("ConvTranspose2d", "torch.ao.nn.quantized.ConvTranspose2d"),
    ("ConvTranspose3d", "torch.ao.nn.quantized.ConvTranspose3d"),
    ("ELU", "torch.ao.nn.quantized.ELU"),
    ("Embedding", "torch.ao.nn.quantized.Embedding"),
    ("EmbeddingBag", "torch.ao.nn.quantized.EmbeddingBag"),
    ("GroupNorm", "torch.ao.nn.quantized.GroupNorm"),
    ("Hardswish", "torch.ao.nn.quantized.Hardswish"),
    ("InstanceNorm1d", "torch.ao.nn.quantized.InstanceNorm1d"),
    ("InstanceNorm2d", "torch.ao.nn.quantized.InstanceNorm2d"),
    ("InstanceNorm3d", "torch.ao.nn.quantized.InstanceNorm3d"),
    ("LayerNorm", "torch.ao.nn.quantized.LayerNorm"),
    ("LeakyReLU", "torch.ao.nn.quantized.LeakyReLU"),
    ("NonDynamicallyQuantizableLinear", "torch.ao.nn.quantized.Linear"),
    ("Linear", "torch.ao.nn.quantized.Linear"),
    ("ReLU6", "torch.ao.nn.quantized.ReLU6"),
    ("PReLU", "torch.ao.nn.quantized.PReLU"),
    ("FloatFunctional", "torch.ao.nn.quantized.QFunctional"),
    ("BNReLU2d", "torch.ao.nn.intrinsic.quantized.BNReLU2d"),
    ("BNReLU3d", "torch.ao.nn.intrinsic.quantized.BNReLU3d"),
    ("ConvReLU1d", "torch.ao.nn.intrinsic.quantized.ConvReLU1d"),
    ("ConvReLU2d", "torch.ao.nn.intrinsic.quantized.ConvReLU2d"),
    ("ConvReLU3d", "torch.ao.nn.intrinsic.quantized.ConvReLU3d"),
    ("ConvAdd2d", "torch.ao.nn.intrinsic.quantized.ConvAdd2d"),
    ("ConvAddReLU2d", "torch.ao.nn.intrinsic.quantized.ConvAddReLU2d"),
    ("LinearReLU", "torch.ao.nn.intrinsic.quantized.LinearReLU"),
    ("LinearLeakyReLU", "torch.ao.nn.intrinsic.quantized.LinearLeakyReLU"),
    ("LinearTanh", "torch.ao.nn.intrinsic.quantized.LinearTanh"),
];

const DYNAMIC: ModuleMapping<'static> = &[
    ("GRUCell", "torch.ao.nn.quantized.dynamic.GRUCell"),
    ("Linear", "torch.ao.nn.quantized.dynamic.Linear"),
    ("NonDynamicallyQuantizableLinear", "torch.ao.nn.quantized.dynamic.Linear"),
    ("LSTM", "torch.ao.nn.quantized.dynamic.LSTM"),
    ("GRU", "torch.ao.nn.quantized.dynamic.GRU"),
    ("LSTMCell", "torch.ao.nn.quantized.dynamic.LSTMCell"),
    ("RNNCell", "torch.ao.nn.quantized.dynamic.RNNCell"),
    ("LinearReLU", "torch.ao.nn.intrinsic.quantized.dynamic.LinearReLU"),
    ("EmbeddingBag", "torch.ao.nn.quantized.EmbeddingBag"),
    ("Embedding", "torch.ao.nn.quantized.Embedding"),
];

/// Classes of PyTorch that are in no default mapping, and that a mapping of the user may give these types.
const DYNAMIC_BESIDES: ModuleMapping<'static> = &[
    ("Conv1d", "torch.ao.nn.quantized.dynamic.Conv1d"),
    ("Conv2d", "torch.ao.nn.quantized.dynamic.Conv2d"),
    ("Conv3d", "torch.ao.nn.quantized.dynamic.Conv3d"),
    ("ConvTranspose1d", "torch.ao.nn.quantized.dynamic.ConvTranspose1d"),
    ("ConvTranspose2d", "torch.ao.nn.quantized.dynamic.ConvTranspose2d"),
    ("ConvTranspose3d", "torch.ao.nn.quantized.dynamic.ConvTranspose3d"),
];

const QAT: ModuleMapping<'static> = &[
    ("Conv2d", "torch.ao.nn.qat.Conv2d"),
    ("Conv3d", "torch.ao.nn.qat.Conv3d"),
    ("Linear", "torch.ao.nn.qat.Linear"),
    ("NonDynamicallyQuantizableLinear", "torch.ao.nn.qat.Linear"),
    ("ConvBn1d", "torch.ao.nn.intrinsic.qat.ConvBn1d"),
    ("ConvBn2d", "torch.ao.nn.intrinsic.qat.ConvBn2d"),
    ("ConvBn3d", "torch.ao.nn.intrinsic.qat.ConvBn3d"),
    ("ConvBnReLU1d", "torch.ao.nn.intrinsic.qat.ConvBnReLU1d"),
    ("ConvBnReLU2d", "torch.ao.nn.intrinsic.qat.ConvBnReLU2d"),
    ("ConvBnReLU3d", "torch.ao.nn.intrinsic.qat.ConvBnReLU3d"),
    ("ConvReLU2d", "torch.ao.nn.intrinsic.qat.ConvReLU2d"),
    ("ConvReLU3d", "torch.ao.nn.intrinsic.qat.ConvReLU3d"),
    ("LinearReLU", "torch.ao.nn.intrinsic.qat.LinearReLU"),
    ("LinearBn1d", "torch.ao.nn.intrinsic.qat.LinearBn1d"),
];

const REFERENCE: ModuleMapping<'static> = &[
    ("QuantStub", "torch.ao.nn.quantized.Quantize"),
    ("DeQuantStub", "torch.ao.nn.quantized.DeQuantize"),
    ("Linear", "torch.ao.nn.quantized.reference.Linear"),
    ("Conv1d", "torch.ao.nn.quantized.reference.Conv1d"),
    ("Conv2d", "torch.ao.nn.quantized.reference.Conv2d"),
    ("Conv3d", "torch.ao.nn.quantized.reference.Conv3d"),
    ("ConvTranspose1d", "torch.ao.nn.quantized.reference.ConvTranspose1d"),
    ("ConvTranspose2d", "torch.ao.nn.quantized.reference.ConvTranspose2d"),
    ("ConvTranspose3d", "torch.ao.nn.quantized.reference.ConvTranspose3d"),
    ("Embedding", "torch.ao.nn.quantized.reference.Embedding"),
    ("EmbeddingBag", "torch.ao.nn.quantized.reference.EmbeddingBag"),
    ("GRUCell", "torch.ao.nn.quantized.reference.GRUCell"),
    ("LSTMCell", "torch.ao.nn.quantized.reference.LSTMCell"),
    ("RNNCell", "torch.ao.nn.quantized.reference.RNNCell"),
    ("LSTM", "torch.ao.nn.quantized.reference.LSTM"),
];

/// Functions of `torch.nn.functional` and the operators that run them on quantized tensors.
const OPERATORS: ModuleMapping<'static> = &[
    ("elu", "quantized.elu"),
    ("hardswish", "quantized.hardswish"),
    ("instance_norm", "quantized.instance_norm"),
    ("layer_norm", "quantized.layer_norm"),
    ("leaky_relu", "quantized.leaky_relu"),
    ("dropout", "quantized.dropout"),
];

const FLOAT_TO_OBSERVED: ModuleMapping<'static> =
    &[("LSTM", "torch.ao.nn.quantizable.LSTM"), ("MultiheadAttention", "torch.ao.nn.quantizable.MultiheadAttention")];

const OBSERVED_TO_QUANTIZED: ModuleMapping<'static> = &[
    ("torch.ao.nn.quantizable.LSTM", "torch.ao.nn.quantized.LSTM"),
    ("torch.ao.nn.quantizable.MultiheadAttention", "torch.ao.nn.quantized.MultiheadAttention"),
];

/// Modules that are swapped as they are observed, and again when they are converted (`get_default_custom_config_dict`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CustomConfig {
    /// `float_to_observed_custom_module_class`, what [`super::prepare`] makes of a module.
    pub float_to_observed_custom_module_class: ModuleMapping<'static>,
    /// `observed_to_quantized_custom_module_class`, what [`super::convert`] makes of that.
    pub observed_to_quantized_custom_module_class: ModuleMapping<'static>,
}

/// LSTM and attention layers (torch.ao.quantization.quantize.get_default_custom_config_dict).
pub fn get_default_custom_config_dict() -> CustomConfig {
    CustomConfig {
        float_to_observed_custom_module_class: FLOAT_TO_OBSERVED,
        observed_to_quantized_custom_module_class: OBSERVED_TO_QUANTIZED,
    }
}

/// Classes without an observer of their own: their parts have them (torch.ao.quantization.no_observer_set).
pub fn no_observer_set() -> Vec<&'static str> {
    FLOAT_TO_OBSERVED.iter().map(|row| row.1).collect()
}

/// What `convert(is_reference=True)` swaps (torch.ao.quantization.get_default_static_quant_reference_module_mappings).
pub fn get_default_static_quant_reference_module_mappings() -> ModuleMapping<'static> {
    REFERENCE
}

/// Functions and their quantized operators (torch.ao.quantization.get_default_float_to_quantized_operator_mappings).
pub fn get_default_float_to_quantized_operator_mappings() -> ModuleMapping<'static> {
    OPERATORS
}

/// The quantized operator of a function (torch.ao.quantization.get_quantized_operator), `None` where PyTorch asserts.
pub fn get_quantized_operator(function: &str) -> Option<&'static str> {
    swap_module(function, true, OPERATORS)
}

/// The class of a type when it is quantized statically (torch.ao.quantization.get_static_quant_module_class), `None` where PyTorch asserts.
/// Rows of `additional` come first.
pub fn get_static_quant_module_class<'m>(
    module_type: &str,
    additional: ModuleMapping<'m>,
    is_reference: bool,
) -> Option<&'m str> {
    let default = if is_reference { REFERENCE } else { STATIC };
    swap_module(module_type, true, additional).or_else(|| swap_module(module_type, true, default))
}

/// The class of a type when it is quantized dynamically (torch.ao.quantization.get_dynamic_quant_module_class), `None` where PyTorch asserts.
/// Rows of `additional` come first.
pub fn get_dynamic_quant_module_class<'m>(module_type: &str, additional: ModuleMapping<'m>) -> Option<&'m str> {
    swap_module(module_type, true, additional).or_else(|| swap_module(module_type, true, DYNAMIC))
}

/// The types and classes whose outputs the Numeric Suite records (torch.ao.quantization.get_default_compare_output_module_list).
pub fn get_default_compare_output_module_list() -> Vec<&'static str> {
    let classes = [STATIC, QAT, DYNAMIC].into_iter().flatten().map(|row| row.1);
    let mut all: Vec<&str> = get_default_qconfig_propagation_list().into_iter().chain(classes).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// What [`super::convert`] swaps (torch.ao.quantization.get_default_static_quant_module_mappings).
pub fn get_default_static_quant_module_mappings() -> ModuleMapping<'static> {
    STATIC
}

/// What [`super::quantize_dynamic`] swaps (torch.ao.quantization.get_default_dynamic_quant_module_mappings).
pub fn get_default_dynamic_quant_module_mappings() -> ModuleMapping<'static> {
    DYNAMIC
}

/// Convolutions: [`super::quantize_dynamic_with`] takes these rows too, [`super::quantize_dynamic`] leaves the types as they are, as PyTorch does.
pub fn optional_dynamic_quant_module_mappings() -> ModuleMapping<'static> {
    DYNAMIC_BESIDES
}

/// What `prepare_qat` swaps (torch.ao.quantization.get_default_qat_module_mappings).
pub fn get_default_qat_module_mappings() -> ModuleMapping<'static> {
    QAT
}

/// The types whose outputs [`super::prepare`] observes (torch.ao.quantization.get_default_qconfig_propagation_list).
pub fn get_default_qconfig_propagation_list() -> Vec<&'static str> {
    let all = [STATIC, QAT, DYNAMIC].into_iter().flatten().map(|row| row.0).chain(["Sequential"]);
    let mut types: Vec<&str> = all.collect();
    types.sort_unstable();
    types.dedup();
    types
}

/// The class that a module of this type is swapped for, if it has a QConfig (torch.ao.quantization.swap_module); `None` leaves it as it is.
pub fn swap_module<'m>(module_type: &str, has_qconfig: bool, mapping: ModuleMapping<'m>) -> Option<&'m str> {
    mapping.iter().find(|row| has_qconfig && row.0 == module_type).map(|row| row.1)
}

/// Whether a user's mapping has only rows of the default ones: a row left out keeps a type in float, another class would need kernels of its own.
pub(super) fn check_mapping(mapping: ModuleMapping<'_>, default: &[ModuleMapping<'_>]) -> Result<(), EagerError> {
    let known = |row: &&(&str, &str)| default.iter().any(|rows| rows.contains(row));
    let Some((module_type, class)) = mapping.iter().find(|row| !known(row)) else { return Ok(()) };
    let detail = match default.iter().find_map(|rows| swap_module(module_type, true, rows)) {
        Some(known) => format!("it becomes `{known}`, or stays as it is without a row"),
        None => "only rows of the default mapping are known".to_owned(),
    };
    Err(EagerError::Mapping { module_type: (*module_type).to_owned(), class: (*class).to_owned(), detail })
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value as Json};

    use super::*;

    #[test]
    fn tables_are_pytorchs() {
        let golden: Json = serde_json::from_str(include_str!("../../tests/golden/eager.json")).expect("valid");
        let custom = get_default_custom_config_dict();
        for (name, ours) in [
            ("static", get_default_static_quant_module_mappings()),
            ("dynamic", get_default_dynamic_quant_module_mappings()),
            ("qat", get_default_qat_module_mappings()),
            ("reference", get_default_static_quant_reference_module_mappings()),
            ("operators", get_default_float_to_quantized_operator_mappings()),
            ("float_to_observed", custom.float_to_observed_custom_module_class),
            ("observed_to_quantized", custom.observed_to_quantized_custom_module_class),
        ] {
            let ours: Map<String, Json> = ours.iter().map(|(k, v)| ((*k).to_owned(), Json::from(*v))).collect();
            assert_eq!(Some(&ours), golden["mappings"][name].as_object(), "{name}");
        }
        for (name, mut ours) in [
            ("propagation", get_default_qconfig_propagation_list()),
            ("compare", get_default_compare_output_module_list()),
            ("no_observer", no_observer_set()),
        ] {
            ours.sort_unstable();
            assert_eq!(Json::from(ours), golden["mappings"][name], "{name}");
        }
    }

    #[test]
    fn classes_are_looked_up() {
        assert_eq!(get_quantized_operator("elu"), Some("quantized.elu"));
        assert_eq!(get_quantized_operator("gelu"), None);
        assert_eq!(get_static_quant_module_class("Conv2d", &[], false), Some("torch.ao.nn.quantized.Conv2d"));
        assert_eq!(get_static_quant_module_class("Conv2d", &[], true), Some("torch.ao.nn.quantized.reference.Conv2d"));
        assert_eq!(get_static_quant_module_class("Conv2d", &[("Conv2d", "mine.Conv2d")], false), Some("mine.Conv2d"));
        assert_eq!(get_static_quant_module_class("ReLU", &[], false), None);
        assert_eq!(get_dynamic_quant_module_class("GRU", &[]), Some("torch.ao.nn.quantized.dynamic.GRU"));
        assert_eq!(get_dynamic_quant_module_class("Conv2d", &[]), None);
        assert_eq!(swap_module("Conv2d", false, STATIC), None, "without a qconfig it stays");
        assert_eq!(swap_module("ReLU", true, STATIC), None);
        assert_eq!(swap_module("Conv2d", true, STATIC), Some("torch.ao.nn.quantized.Conv2d"));
    }
}
