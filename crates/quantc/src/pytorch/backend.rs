//! BackendConfig, QConfigMapping and custom configurations.

use super::{Section, item, method};

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
            "crates/quant/tests/constraints.rs::the_scale_of_an_input_is_held_to_its_bounds",
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
            quantc_pattern::export_backend,
            "torch.ao.quantization.backend_config.get_native_backend_config_dict",
            "crates/pattern/tests/golden_backend_config.rs::backends_of_pytorchs_names_have_its_patterns",
            "gives the dictionary of any backend, as JSON"
        ),
        item!(
            quantc_pattern::Pattern,
            "torch.ao.quantization.utils.MatchAllNode",
            "crates/pattern/tests/backend_json.rs::additions_in_the_complex_format_have_their_order",
            "`?x` or `_` in a pattern; `import_backend` and `export_backend` know the name"
        ),
        item!(
            quantc_pattern::Library,
            "torch.ao.quantization.backend_config.get_x86_backend_config",
            "crates/pattern/tests/golden_backend_config.rs::x86_covers_pytorchs_x86",
            "x86 has more patterns than PyTorch's, which fbgemm has"
        ),
        item!(
            quantc_quant::PrepareCustomConfig,
            "torch.ao.quantization.fx.custom_config.PrepareCustomConfig",
            "crates/quant/tests/placement.rs::parts_that_are_apart_are_observed_as_in_prepare_fx",
            "has every setting; what differs of a method, its own row says"
        ),
        item!(
            quantc_quant::custom_config::StandaloneModuleConfigEntry,
            "torch.ao.quantization.fx.custom_config.StandaloneModuleConfigEntry",
            "crates/quant/tests/placement.rs::parts_that_are_apart_are_observed_as_in_prepare_fx",
            "without example inputs, which a graph does not need"
        ),
        method!(
            quantc_quant::PrepareCustomConfig::set_standalone_module_name,
            "torch.ao.quantization.fx.custom_config.PrepareCustomConfig.set_standalone_module_name",
            "crates/quant/tests/placement.rs::parts_that_are_apart_are_observed_as_in_prepare_fx"
        ),
        method!(
            quantc_quant::PrepareCustomConfig::set_standalone_module_class,
            "torch.ao.quantization.fx.custom_config.PrepareCustomConfig.set_standalone_module_class",
            "crates/quant/tests/placement.rs::parts_that_are_apart_are_observed_as_in_prepare_fx"
        ),
        method!(
            quantc_quant::PrepareCustomConfig::set_non_traceable_module_names,
            "torch.ao.quantization.fx.custom_config.PrepareCustomConfig.set_non_traceable_module_names",
            "crates/quant/tests/placement.rs::parts_that_are_apart_are_observed_as_in_prepare_fx"
        ),
        method!(
            quantc_quant::PrepareCustomConfig::set_non_traceable_module_classes,
            "torch.ao.quantization.fx.custom_config.PrepareCustomConfig.set_non_traceable_module_classes",
            "crates/quant/tests/placement.rs::parts_that_are_apart_are_observed_as_in_prepare_fx"
        ),
        method!(
            quantc_quant::PrepareCustomConfig::set_input_quantized_indexes,
            "torch.ao.quantization.fx.custom_config.PrepareCustomConfig.set_input_quantized_indexes",
            "crates/quant/src/custom_config/tests.rs::integers_come_in_and_go_out",
            "calibration finds the parameters, the report gives them: a tensor has none of its own"
        ),
        method!(
            quantc_quant::PrepareCustomConfig::set_output_quantized_indexes,
            "torch.ao.quantization.fx.custom_config.PrepareCustomConfig.set_output_quantized_indexes",
            "crates/quant/src/custom_config/tests.rs::integers_come_in_and_go_out",
            "the report gives the parameters: a tensor has none of its own"
        ),
        method!(
            quantc_quant::PrepareCustomConfig::to_json,
            "torch.ao.quantization.fx.custom_config.PrepareCustomConfig.to_dict",
            "crates/quant/src/custom_config/tests.rs::json_has_pytorchs_keys",
            "gives JSON; of a backend the name"
        ),
        method!(
            quantc_quant::PrepareCustomConfig::from_json,
            "torch.ao.quantization.fx.custom_config.PrepareCustomConfig.from_dict",
            "crates/quant/src/custom_config/tests.rs::json_has_pytorchs_keys",
            "of JSON; a backend by its name"
        ),
        method!(
            quantc_quant::PrepareCustomConfig::set_float_to_observed_mapping,
            "torch.ao.quantization.fx.custom_config.PrepareCustomConfig.set_float_to_observed_mapping",
            "crates/quant/src/custom_config/custom_module_tests.rs::a_custom_module_is_swapped_twice",
            "a class is a value that makes the graph of a module's observed form"
        ),
        item!(
            quantc_quant::custom_config::QuantType,
            "torch.ao.quantization.quant_type.QuantType",
            "crates/quant/src/custom_config/custom_module_tests.rs::a_custom_module_is_swapped_twice",
            "without QAT: training comes later"
        ),
        item!(
            quantc_quant::custom_config::preserve_attributes,
            "torch.ao.quantization.quantize_fx.attach_preserved_attrs_to_model",
            "crates/quant/src/custom_config/custom_module_tests.rs::attributes_are_preserved",
            "a graph's attributes are its parameters"
        ),
        method!(
            quantc_quant::PrepareCustomConfig::set_preserved_attributes,
            "torch.ao.quantization.fx.custom_config.PrepareCustomConfig.set_preserved_attributes",
            "crates/quant/src/custom_config/custom_module_tests.rs::attributes_are_preserved",
            "a graph's attributes are its parameters"
        ),
        item!(
            quantc_quant::ConvertCustomConfig,
            "torch.ao.quantization.fx.custom_config.ConvertCustomConfig",
            "crates/quant/src/custom_config/custom_module_tests.rs::a_custom_module_is_swapped_twice"
        ),
        method!(
            quantc_quant::ConvertCustomConfig::set_observed_to_quantized_mapping,
            "torch.ao.quantization.fx.custom_config.ConvertCustomConfig.set_observed_to_quantized_mapping",
            "crates/quant/src/custom_config/custom_module_tests.rs::other_types_have_classes_of_their_own",
            "a class is a value that makes the graph of a module's quantized form"
        ),
        method!(
            quantc_quant::ConvertCustomConfig::set_preserved_attributes,
            "torch.ao.quantization.fx.custom_config.ConvertCustomConfig.set_preserved_attributes",
            "crates/quant/src/custom_config/custom_module_tests.rs::attributes_are_preserved",
            "a graph's attributes are its parameters"
        ),
        item!(
            quantc_quant::FuseCustomConfig,
            "torch.ao.quantization.fx.custom_config.FuseCustomConfig",
            "crates/quant/src/custom_config/custom_module_tests.rs::attributes_are_preserved"
        ),
        method!(
            quantc_quant::FuseCustomConfig::set_preserved_attributes,
            "torch.ao.quantization.fx.custom_config.FuseCustomConfig.set_preserved_attributes",
            "crates/quant/src/custom_config/custom_module_tests.rs::attributes_are_preserved",
            "a graph's attributes are its parameters"
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
