//! BackendConfig, QConfigMapping and custom configurations.

use super::{Section, item, method, missing};

pub(super) const SECTION: Section = Section {
    title: "BackendConfig, QConfigMapping, custom configurations",
    entries: &[
        item!(
            quantc_pattern::BackendConfig,
            "torch.ao.quantization.backend_config.BackendConfig",
            "crates/pattern/tests/golden_backend_config.rs::backends_of_pytorchs_names_have_its_patterns"
        ),
        item!(
            quantc_pattern::BackendPatternConfig,
            "torch.ao.quantization.backend_config.BackendPatternConfig",
            "crates/pattern/tests/golden_backend_config.rs::backends_of_pytorchs_names_have_its_patterns"
        ),
        item!(
            quantc_pattern::DTypeConfig,
            "torch.ao.quantization.backend_config.DTypeConfig",
            "crates/pattern/tests/golden_backend_config.rs::backends_of_pytorchs_names_have_its_patterns"
        ),
        item!(
            quantc_pattern::DTypeWithConstraints,
            "torch.ao.quantization.backend_config.DTypeWithConstraints",
            "crates/pattern/tests/golden_backend_config.rs::backends_of_pytorchs_names_have_its_patterns",
            "bounds of a scale are held to the scale"
        ),
        item!(
            quantc_pattern::ObservationType,
            "torch.ao.quantization.backend_config.ObservationType",
            "crates/pattern/tests/golden_backend_config.rs::backends_of_pytorchs_names_have_its_patterns"
        ),
        item!(
            quantc_pattern::export_backend,
            "torch.ao.quantization.backend_config.BackendConfig.to_dict",
            "crates/pattern/tests/golden_backend_config.rs::backends_of_pytorchs_names_have_its_patterns"
        ),
        item!(
            quantc_pattern::import_backend,
            "torch.ao.quantization.backend_config.BackendConfig.from_dict",
            "crates/pattern/tests/backend_json.rs::what_ships_comes_back_as_it_was",
            "gives a .qpat file, which can be read and changed"
        ),
        item!(
            quantc_quant::QConfigMapping,
            "torch.ao.quantization.qconfig_mapping.QConfigMapping",
            "crates/quant/tests/golden_qconfig_mapping.rs::each_node_gets_the_qconfig_that_prepare_fx_gives_it"
        ),
        item!(
            quantc_pattern::Library,
            "torch.ao.quantization.backend_config.get_fbgemm_backend_config",
            "crates/pattern/tests/golden_backend_config.rs::backends_of_pytorchs_names_have_its_patterns",
            "the backend of that name in patterns/backend; what differs is listed in the test"
        ),
        item!(
            quantc_pattern::Library,
            "torch.ao.quantization.backend_config.get_qnnpack_backend_config",
            "crates/pattern/tests/golden_backend_config.rs::backends_of_pytorchs_names_have_its_patterns",
            "the backend of that name in patterns/backend; what differs is listed in the test"
        ),
        item!(
            quantc_pattern::Library,
            "torch.ao.quantization.backend_config.get_onednn_backend_config",
            "crates/pattern/tests/golden_backend_config.rs::backends_of_pytorchs_names_have_its_patterns",
            "the backend of that name in patterns/backend; what differs is listed in the test"
        ),
        item!(
            quantc_pattern::Library,
            "torch.ao.quantization.backend_config.get_native_backend_config",
            "crates/pattern/tests/golden_backend_config.rs::backends_of_pytorchs_names_have_its_patterns",
            "the backend of that name in patterns/backend; what differs is listed in the test"
        ),
        item!(
            quantc_pattern::Library,
            "torch.ao.quantization.backend_config.get_x86_backend_config",
            "crates/pattern/tests/golden_backend_config.rs::x86_covers_pytorchs_x86",
            "x86 has more patterns than PyTorch's, which fbgemm has"
        ),
        missing(
            "torch.ao.quantization.fx.custom_config.PrepareCustomConfig",
            "in work, not merged: quantized inputs and outputs, standalone and non-traceable modules",
        ),
        missing(
            "torch.ao.quantization.fx.custom_config.ConvertCustomConfig",
            "in work, not merged: quantized inputs and outputs, standalone and non-traceable modules",
        ),
        missing(
            "torch.ao.quantization.fx.custom_config.FuseCustomConfig",
            "in work, not merged: quantized inputs and outputs, standalone and non-traceable modules",
        ),
        missing(
            "torch.ao.quantization.fx.custom_config.StandaloneModuleConfigEntry",
            "in work, not merged: quantized inputs and outputs, standalone and non-traceable modules",
        ),
        item!(
            quantc_quant::qconfig_mapping::get_default_qconfig_mapping,
            "torch.ao.quantization.qconfig_mapping.get_default_qconfig_mapping",
            "crates/quant/tests/golden_qconfig_mapping.rs::default_mappings_are_torch_s"
        ),
        item!(
            quantc_quant::qconfig_mapping::get_default_qat_qconfig_mapping,
            "torch.ao.quantization.qconfig_mapping.get_default_qat_qconfig_mapping",
            "crates/quant/tests/golden_qconfig_mapping.rs::default_mappings_are_torch_s"
        ),
        item!(
            quantc_quant::qconfig_mapping::get_symmetric_qnnpack_qconfig_mapping,
            "torch.ao.quantization.qconfig_mapping._get_symmetric_qnnpack_qconfig_mapping",
            "crates/quant/tests/golden_qconfig_mapping.rs::default_mappings_are_torch_s"
        ),
        item!(
            quantc_quant::qconfig_mapping::get_symmetric_qnnpack_qat_qconfig_mapping,
            "torch.ao.quantization.qconfig_mapping._get_symmetric_qnnpack_qat_qconfig_mapping",
            "crates/quant/tests/golden_qconfig_mapping.rs::default_mappings_are_torch_s"
        ),
        method!(
            quantc_quant::QConfigMapping::set_global,
            "torch.ao.quantization.qconfig_mapping.QConfigMapping.set_global",
            "crates/quant/tests/golden_qconfig_mapping.rs::each_node_gets_the_qconfig_that_prepare_fx_gives_it"
        ),
        method!(
            quantc_quant::QConfigMapping::set_object_type,
            "torch.ao.quantization.qconfig_mapping.QConfigMapping.set_object_type",
            "crates/quant/tests/golden_qconfig_mapping.rs::two_hundred_random_pairs_resolve_as_in_prepare_fx"
        ),
        method!(
            quantc_quant::QConfigMapping::set_module_name_regex,
            "torch.ao.quantization.qconfig_mapping.QConfigMapping.set_module_name_regex",
            "crates/quant/tests/golden_qconfig_mapping.rs::two_hundred_random_pairs_resolve_as_in_prepare_fx"
        ),
        method!(
            quantc_quant::QConfigMapping::set_module_name,
            "torch.ao.quantization.qconfig_mapping.QConfigMapping.set_module_name",
            "crates/quant/tests/golden_qconfig_mapping.rs::two_hundred_random_pairs_resolve_as_in_prepare_fx"
        ),
        method!(
            quantc_quant::QConfigMapping::set_module_name_object_type_order,
            "torch.ao.quantization.qconfig_mapping.QConfigMapping.set_module_name_object_type_order",
            "crates/quant/tests/golden_qconfig_mapping.rs::two_hundred_random_pairs_resolve_as_in_prepare_fx",
            "methods are counted too"
        ),
        method!(
            quantc_quant::QConfigMapping::to_json,
            "torch.ao.quantization.qconfig_mapping.QConfigMapping.to_dict",
            "crates/quant/tests/golden_qconfig_mapping.rs::default_mappings_are_torch_s",
            "gives JSON; QConfigs are data"
        ),
        method!(
            quantc_quant::QConfigMapping::from_json,
            "torch.ao.quantization.qconfig_mapping.QConfigMapping.from_dict",
            "crates/quant/tests/golden_qconfig_mapping.rs::each_node_gets_the_qconfig_that_prepare_fx_gives_it",
            "of JSON; names of presets may stand for QConfigs"
        ),
    ],
};
