//! The eager workflow.

use super::{Section, item, missing};

pub(super) const SECTION: Section = Section {
    title: "Eager workflow",
    entries: &[
        item!(
            quantc_frontend::trace::nn::QuantWrapper,
            "torch.ao.quantization.QuantWrapper",
            "crates/quant/tests/eager.rs::qconfigs_observers_and_outputs_are_pytorchs"
        ),
        item!(
            quantc_ops::stubs,
            "torch.ao.quantization.QuantStub",
            "crates/quant/tests/eager.rs::qconfigs_observers_and_outputs_are_pytorchs",
            "a type of model descriptions, traced to the operator `quant_stub`"
        ),
        item!(
            quantc_ops::stubs,
            "torch.ao.quantization.DeQuantStub",
            "crates/quant/tests/eager.rs::qconfigs_observers_and_outputs_are_pytorchs",
            "a type of model descriptions, traced to the operator `dequant_stub`"
        ),
        item!(
            quantc_frontend::trace::nn::FloatFunctional,
            "torch.ao.nn.quantized.FloatFunctional",
            "crates/quant/tests/eager.rs::qconfigs_observers_and_outputs_are_pytorchs"
        ),
        item!(
            quantc_quant::eager::add_quant_dequant,
            "torch.ao.quantization.add_quant_dequant",
            "crates/quant/tests/eager.rs::qconfigs_are_propagated_as_pytorch_does"
        ),
        item!(
            quantc_quant::eager::propagate_qconfig,
            "torch.ao.quantization.propagate_qconfig_",
            "crates/quant/tests/eager.rs::qconfigs_are_propagated_as_pytorch_does"
        ),
        item!(
            quantc_quant::eager::fuse_modules,
            "torch.ao.quantization.fuse_modules",
            "crates/quant/tests/eager.rs::qconfigs_observers_and_outputs_are_pytorchs",
            "modules that do not follow each other are refused too"
        ),
        item!(
            quantc_quant::eager::fuse_modules,
            "torch.ao.quantization.fuse_modules.fuse_known_modules",
            "crates/quant/src/eager/fuse.rs::sequences_are_pytorchs",
            "`fuse_modules` has the known sequences; no other function can be given"
        ),
        item!(
            quantc_quant::eager::prepare,
            "torch.ao.quantization.prepare",
            "crates/quant/tests/eager.rs::qconfigs_observers_and_outputs_are_pytorchs",
            "`prepare_with` has `allow_list`; custom modules are LSTM and MultiheadAttention, no classes of the user's"
        ),
        item!(
            quantc_quant::eager::convert,
            "torch.ao.quantization.convert",
            "crates/quant/tests/eager.rs::qconfigs_observers_and_outputs_are_pytorchs",
            "a missing stub is an error here, which names both nodes; PyTorch fails when the model runs. `convert_with` has `mapping`"
        ),
        item!(
            quantc_quant::eager::quantize,
            "torch.ao.quantization.quantize",
            "crates/quant/tests/eager.rs::qconfigs_are_propagated_as_pytorch_does"
        ),
        item!(
            quantc_quant::eager::quantize_dynamic,
            "torch.ao.quantization.quantize_dynamic",
            "crates/quant/tests/eager.rs::dynamic_quantization_gives_pytorchs_outputs",
            "every type and dtype; a QConfig's range for activations is its own, PyTorch always halves it. `quantize_dynamic_with` has `mapping`, which may have convolutions"
        ),
        item!(
            quantc_quant::eager::swap_module,
            "torch.ao.quantization.swap_module",
            "crates/quant/src/eager/mappings.rs::tables_are_pytorchs",
            "gives the name of the class by that of the type"
        ),
        item!(
            quantc_quant::eager::default_eval_fn,
            "torch.ao.quantization.default_eval_fn",
            "crates/quant/tests/eager.rs::qconfigs_observers_and_outputs_are_pytorchs"
        ),
        item!(
            quantc_quant::eager::quantize_qat,
            "torch.ao.quantization.quantize_qat",
            "crates/quant/tests/eager.rs::qconfigs_that_cannot_be_used_are_refused",
            "a typed error: training comes later"
        ),
        item!(
            quantc_quant::eager::prepare_qat,
            "torch.ao.quantization.prepare_qat",
            "crates/quant/tests/eager.rs::qconfigs_that_cannot_be_used_are_refused",
            "a typed error: training comes later"
        ),
        item!(
            quantc_quant::eager::fuse_modules_qat,
            "torch.ao.quantization.fuse_modules_qat",
            "crates/quant/tests/eager.rs::qconfigs_that_cannot_be_used_are_refused",
            "a typed error: training comes later"
        ),
        item!(
            quantc_quant::eager::fuse_modules,
            "torch.ao.quantization.fuse_conv_bn",
            "crates/quant/src/eager/fuse.rs::sequences_are_pytorchs",
            "`fuse_modules` does it, in eval mode"
        ),
        item!(
            quantc_quant::eager::fuse_modules,
            "torch.ao.quantization.fuse_conv_bn_relu",
            "crates/quant/src/eager/fuse.rs::sequences_are_pytorchs",
            "`fuse_modules` does it, in eval mode"
        ),
        item!(
            quantc_quant::eager::fuse_modules,
            "torch.ao.quantization.fuse_linear_bn",
            "crates/quant/src/eager/fuse.rs::sequences_are_pytorchs",
            "`fuse_modules` does it, in eval mode"
        ),
        item!(
            quantc_quant::eager::fuse_modules,
            "torch.ao.quantization.fuse_convtranspose_bn",
            "crates/quant/src/eager/fuse.rs::sequences_are_pytorchs",
            "`fuse_modules` does it, in eval mode"
        ),
        item!(
            quantc_quant::eager::fuse_modules,
            "torch.ao.quantization.get_fuser_method",
            "crates/quant/src/eager/fuse.rs::sequences_are_pytorchs",
            "`fuse_modules` has the table; none can be added"
        ),
        item!(
            quantc_quant::eager::fuse_modules,
            "torch.ao.quantization.get_fuser_method_new",
            "crates/quant/src/eager/fuse.rs::sequences_are_pytorchs",
            "`fuse_modules` has the table; none can be added"
        ),
        item!(
            quantc_quant::eager::get_default_static_quant_module_mappings,
            "torch.ao.quantization.get_default_static_quant_module_mappings",
            "crates/quant/src/eager/mappings.rs::tables_are_pytorchs",
            "names of classes; without the rows of modules in training"
        ),
        item!(
            quantc_quant::eager::get_default_dynamic_quant_module_mappings,
            "torch.ao.quantization.get_default_dynamic_quant_module_mappings",
            "crates/quant/src/eager/mappings.rs::tables_are_pytorchs",
            "names of classes"
        ),
        item!(
            quantc_quant::eager::get_default_qat_module_mappings,
            "torch.ao.quantization.get_default_qat_module_mappings",
            "crates/quant/src/eager/mappings.rs::tables_are_pytorchs",
            "names of classes: data alone, training comes later"
        ),
        item!(
            quantc_quant::eager::get_default_static_quant_reference_module_mappings,
            "torch.ao.quantization.get_default_static_quant_reference_module_mappings",
            "crates/quant/src/eager/mappings.rs::tables_are_pytorchs",
            "names of classes: data alone, converted graphs are reference graphs anyway"
        ),
        item!(
            quantc_quant::eager::get_default_float_to_quantized_operator_mappings,
            "torch.ao.quantization.get_default_float_to_quantized_operator_mappings",
            "crates/quant/src/eager/mappings.rs::tables_are_pytorchs",
            "names of functions and operators"
        ),
        item!(
            quantc_quant::eager::get_default_qconfig_propagation_list,
            "torch.ao.quantization.get_default_qconfig_propagation_list",
            "crates/quant/src/eager/mappings.rs::tables_are_pytorchs"
        ),
        item!(
            quantc_quant::eager::get_default_compare_output_module_list,
            "torch.ao.quantization.get_default_compare_output_module_list",
            "crates/quant/src/eager/mappings.rs::tables_are_pytorchs"
        ),
        item!(
            quantc_quant::eager::no_observer_set,
            "torch.ao.quantization.no_observer_set",
            "crates/quant/src/eager/mappings.rs::tables_are_pytorchs"
        ),
        item!(
            quantc_quant::eager::get_default_custom_config_dict,
            "torch.ao.quantization.get_default_custom_config_dict",
            "crates/quant/src/eager/mappings.rs::tables_are_pytorchs"
        ),
        item!(
            quantc_quant::eager::get_static_quant_module_class,
            "torch.ao.quantization.get_static_quant_module_class",
            "crates/quant/src/eager/mappings.rs::classes_are_looked_up",
            "`None` where PyTorch asserts"
        ),
        item!(
            quantc_quant::eager::get_dynamic_quant_module_class,
            "torch.ao.quantization.get_dynamic_quant_module_class",
            "crates/quant/src/eager/mappings.rs::classes_are_looked_up",
            "`None` where PyTorch asserts"
        ),
        item!(
            quantc_quant::eager::get_quantized_operator,
            "torch.ao.quantization.get_quantized_operator",
            "crates/quant/src/eager/mappings.rs::classes_are_looked_up",
            "`None` where PyTorch asserts"
        ),
        missing(
            "torch.ao.quantization.get_embedding_static_quant_module_mappings",
            "not a table of its own: the default static one has the embeddings too",
        ),
        missing("torch.ao.quantization.get_embedding_qat_module_mappings", "quantization-aware training comes later"),
        missing(
            "torch.ao.quantization.get_default_static_sparse_quant_module_mappings",
            "there are no kernels for sparse weights",
        ),
        missing(
            "torch.ao.quantization.get_default_dynamic_sparse_quant_module_mappings",
            "there are no kernels for sparse weights",
        ),
        missing("torch.ao.quantization.get_combined_dict", "mappings are slices of rows, which Rust joins"),
        missing("torch.ao.quantization.quantize_jit", "there is no TorchScript here; models are traced"),
        missing("torch.ao.quantization.quantize_dynamic_jit", "there is no TorchScript here; models are traced"),
        missing("torch.ao.quantization.prepare_jit", "there is no TorchScript here; models are traced"),
        missing("torch.ao.quantization.prepare_dynamic_jit", "there is no TorchScript here; models are traced"),
        missing("torch.ao.quantization.convert_jit", "there is no TorchScript here; models are traced"),
        missing("torch.ao.quantization.convert_dynamic_jit", "there is no TorchScript here; models are traced"),
        missing("torch.ao.quantization.fuse_conv_bn_jit", "there is no TorchScript here; models are traced"),
        missing("torch.ao.quantization.script_qconfig", "there is no TorchScript here; models are traced"),
        missing("torch.ao.quantization.script_qconfig_dict", "there is no TorchScript here; models are traced"),
    ],
};
