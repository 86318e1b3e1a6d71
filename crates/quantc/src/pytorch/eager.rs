//! The eager workflow.

use super::{Section, item};

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
            quantc_quant::eager::prepare,
            "torch.ao.quantization.prepare",
            "crates/quant/tests/eager.rs::qconfigs_observers_and_outputs_are_pytorchs",
            "without allow_list and custom configs"
        ),
        item!(
            quantc_quant::eager::convert,
            "torch.ao.quantization.convert",
            "crates/quant/tests/eager.rs::qconfigs_observers_and_outputs_are_pytorchs",
            "a missing stub is an error here, which names both nodes; PyTorch fails when the model runs"
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
            "qint8 for Linear, float16 for Linear, LSTM and GRU; `quantize --mode dynamic` has the recurrent layers in int8"
        ),
        item!(
            quantc_quant::eager::swap_module,
            "torch.ao.quantization.swap_module",
            "crates/quant/src/eager/mappings.rs::tables_are_pytorchs",
            "gives the class by module type"
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
    ],
};
