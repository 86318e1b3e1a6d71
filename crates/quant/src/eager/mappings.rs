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

/// What [`super::convert`] swaps (torch.ao.quantization.get_default_static_quant_module_mappings).
pub fn get_default_static_quant_module_mappings() -> ModuleMapping<'static> {
    STATIC
}

/// What [`super::quantize_dynamic`] swaps (torch.ao.quantization.get_default_dynamic_quant_module_mappings).
pub fn get_default_dynamic_quant_module_mappings() -> ModuleMapping<'static> {
    DYNAMIC
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

/// Whether a user's mapping has only rows of the default one: a row left out keeps a type in float, another class would need kernels of its own.
pub(super) fn check_mapping(mapping: ModuleMapping<'_>, default: ModuleMapping<'_>) -> Result<(), EagerError> {
    let Some((module_type, class)) = mapping.iter().find(|row| !default.contains(row)) else { return Ok(()) };
    let detail = match swap_module(module_type, true, default) {
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
        for (name, ours) in [
            ("static", get_default_static_quant_module_mappings()),
            ("dynamic", get_default_dynamic_quant_module_mappings()),
            ("qat", get_default_qat_module_mappings()),
        ] {
            let ours: Map<String, Json> = ours.iter().map(|(k, v)| ((*k).to_owned(), Json::from(*v))).collect();
            assert_eq!(Some(&ours), golden["mappings"][name].as_object(), "{name}");
        }
        let list = get_default_qconfig_propagation_list();
        assert!(list.contains(&"Sequential") && list.contains(&"GRUCell") && !list.contains(&"ReLU"), "{list:?}");
        assert_eq!(swap_module("Conv2d", false, STATIC), None, "without a qconfig it stays");
        assert_eq!(swap_module("ReLU", true, STATIC), None);
        assert_eq!(swap_module("Conv2d", true, STATIC), Some("torch.ao.nn.quantized.Conv2d"));
    }
}
