//! The PT2E path.

use super::{Section, item, missing, operator};

pub(super) const SECTION: Section = Section {
    title: "PT2E",
    entries: &[
        item!(
            quantc_quant::pt2e::Quantizer,
            "torch.ao.quantization.quantizer.Quantizer",
            "crates/quant/tests/pt2e.rs::the_callback_changes_observers_before_they_are_inserted"
        ),
        item!(
            quantc_quant::pt2e::Quantizer,
            "torch.ao.quantization.quantizer.Quantizer.transform_for_annotation",
            "crates/quant/tests/pt2e.rs::a_quantizer_changes_the_graph_before_it_annotates_it",
            "the method of that name; gives a new graph or an error"
        ),
        item!(
            quantc_quant::pt2e::Quantizer,
            "torch.ao.quantization.quantizer.Quantizer.annotate",
            "crates/quant/tests/pt2e.rs::implicit_sharing_can_be_turned_off",
            "the method of that name; annotations stand beside the graph, not in it"
        ),
        item!(
            quantc_quant::pt2e::Quantizer,
            "torch.ao.quantization.quantizer.Quantizer.validate",
            "crates/quant/tests/pt2e.rs::quantizers_are_composed_and_leave_each_other_alone",
            "the method of that name; gives an error"
        ),
        item!(
            quantc_quant::pt2e::Quantizer,
            "torch.ao.quantization.quantizer.Quantizer.prepare_obs_or_fq_callback",
            "crates/quant/tests/pt2e.rs::the_callback_changes_observers_before_they_are_inserted",
            "the method of that name; the map is typed"
        ),
        item!(
            quantc_quant::pt2e::QuantizationSpecBase,
            "torch.ao.quantization.quantizer.QuantizationSpecBase",
            "crates/quant/tests/golden_pt2e.rs::observers_are_where_pytorch_puts_them",
            "an enum of the specs"
        ),
        item!(
            quantc_quant::pt2e::QuantizationSpec,
            "torch.ao.quantization.quantizer.QuantizationSpec",
            "crates/quant/tests/golden_pt2e.rs::observers_are_where_pytorch_puts_them"
        ),
        item!(
            quantc_quant::pt2e::FixedQParamsQuantizationSpec,
            "torch.ao.quantization.quantizer.FixedQParamsQuantizationSpec",
            "crates/quant/tests/pt2e.rs::the_callback_changes_observers_before_they_are_inserted"
        ),
        item!(
            quantc_quant::pt2e::SharedQuantizationSpec,
            "torch.ao.quantization.quantizer.SharedQuantizationSpec",
            "crates/quant/tests/golden_pt2e.rs::observers_are_where_pytorch_puts_them"
        ),
        item!(
            quantc_quant::pt2e::DerivedQuantizationSpec,
            "torch.ao.quantization.quantizer.DerivedQuantizationSpec",
            "crates/quant/tests/pt2e.rs::a_derived_bias_is_i32_at_the_scale_of_the_product"
        ),
        item!(
            quantc_quant::pt2e::QuantizationAnnotation,
            "torch.ao.quantization.quantizer.QuantizationAnnotation",
            "crates/quant/tests/pt2e.rs::implicit_sharing_can_be_turned_off"
        ),
        item!(
            quantc_quant::pt2e::EdgeOrNode,
            "torch.ao.quantization.quantizer.EdgeOrNode",
            "crates/quant/tests/pt2e.rs::implicit_sharing_can_be_turned_off"
        ),
        item!(
            quantc_quant::pt2e::ComposableQuantizer,
            "torch.ao.quantization.quantizer.composable_quantizer.ComposableQuantizer",
            "crates/quant/tests/pt2e.rs::quantizers_are_composed_and_leave_each_other_alone"
        ),
        item!(
            quantc_quant::pt2e::XNNPACKQuantizer,
            "torch.ao.quantization.quantizer.xnnpack_quantizer.XNNPACKQuantizer",
            "crates/quant/tests/golden_pt2e.rs::observers_are_where_pytorch_puts_them",
            "differences in docs/pt2e.md"
        ),
        item!(
            quantc_quant::pt2e::get_symmetric_quantization_config,
            "torch.ao.quantization.quantizer.xnnpack_quantizer.get_symmetric_quantization_config",
            "crates/quant/tests/pt2e.rs::operator_types_are_set_and_unset",
            "without is_qat, which is for training"
        ),
        item!(
            quantc_quant::pt2e::X86InductorQuantizer,
            "torch.ao.quantization.quantizer.x86_inductor_quantizer.X86InductorQuantizer",
            "crates/quant/tests/golden_pt2e.rs::the_x86_quantizer_puts_them_where_pytorch_s_does"
        ),
        item!(
            quantc_quant::pt2e::get_default_x86_inductor_quantization_config,
            "torch.ao.quantization.quantizer.x86_inductor_quantizer.get_default_x86_inductor_quantization_config",
            "crates/quant/tests/golden_pt2e.rs::the_x86_quantizer_puts_them_where_pytorch_s_does",
            "without is_qat, which is for training"
        ),
        item!(
            quantc_quant::pt2e::EmbeddingQuantizer,
            "torch.ao.quantization.quantizer.embedding_quantizer.EmbeddingQuantizer",
            "crates/quant/tests/golden_pt2e.rs::observers_are_where_pytorch_puts_them",
            "zero points are added before rounding: at most half a step from the float table, PyTorch's conversion up to one and a half"
        ),
        item!(
            quantc_quant::pt2e::get_embedding_operators_config,
            "torch.ao.quantization.quantizer.embedding_quantizer.get_embedding_operators_config",
            "crates/quant/src/pt2e/embedding.rs::embeddings_are_looked_up_in_codes"
        ),
        item!(
            quantc_quant::pt2e::prepare_pt2e,
            "torch.ao.quantization.quantize_pt2e.prepare_pt2e",
            "crates/quant/tests/golden_pt2e.rs::observers_are_where_pytorch_puts_them"
        ),
        item!(
            quantc_quant::pt2e::convert_pt2e,
            "torch.ao.quantization.quantize_pt2e.convert_pt2e",
            "crates/quant/tests/pt2e.rs::folding_stores_integers_and_changes_nothing"
        ),
        item!(
            quantc_quant::pt2e::reference_representation_rewrite,
            "torch.ao.quantization.pt2e.representation.reference_representation_rewrite",
            "crates/quant/tests/pt2e_reference.rs::quantize_and_dequantize_per_tensor",
            "rounds correctly: the bits of the q/dq graph"
        ),
        missing("torch.ao.quantization.quantize_pt2e.prepare_qat_pt2e", "quantization-aware training comes later"),
        item!(
            quantc_quant::pt2e::generate_numeric_debug_handle,
            "torch.ao.quantization.generate_numeric_debug_handle",
            "crates/quant/tests/numeric_debugger.rs::resnet18"
        ),
        item!(
            quantc_quant::pt2e::prepare_for_propagation_comparison,
            "torch.ao.quantization.prepare_for_propagation_comparison",
            "crates/quant/tests/numeric_debugger.rs::resnet18"
        ),
        item!(
            quantc_quant::pt2e::extract_results_from_loggers,
            "torch.ao.quantization.extract_results_from_loggers",
            "crates/quant/tests/numeric_debugger.rs::resnet18"
        ),
        item!(
            quantc_quant::pt2e::compare_results,
            "torch.ao.quantization.compare_results",
            "crates/quant/tests/numeric_debugger.rs::resnet18"
        ),
        operator(
            "op choose_qparams",
            "torch.ops.quantized_decomposed.choose_qparams",
            "crates/ops/tests/golden_decomposed.rs::decomposed_operators_have_the_bits_of_pytorch",
        ),
        operator(
            "op choose_qparams_symmetric",
            "torch.ops.quantized_decomposed.choose_qparams_symmetric",
            "crates/ops/tests/golden_decomposed.rs::decomposed_operators_have_the_bits_of_pytorch",
        ),
        operator(
            "op choose_qparams_per_token",
            "torch.ops.quantized_decomposed.choose_qparams_per_token",
            "crates/ops/tests/golden_decomposed.rs::decomposed_operators_have_the_bits_of_pytorch",
        ),
        operator(
            "op choose_qparams_per_token_asymmetric",
            "torch.ops.quantized_decomposed.choose_qparams_per_token_asymmetric",
            "crates/ops/tests/golden_decomposed.rs::decomposed_operators_have_the_bits_of_pytorch",
        ),
        operator(
            "op quantize_per_token",
            "torch.ops.quantized_decomposed.quantize_per_token",
            "crates/ops/tests/golden_decomposed.rs::decomposed_operators_have_the_bits_of_pytorch",
        ),
        operator(
            "op dequantize_per_token",
            "torch.ops.quantized_decomposed.dequantize_per_token",
            "crates/ops/tests/golden_decomposed.rs::decomposed_operators_have_the_bits_of_pytorch",
        ),
        operator(
            "op quantize_per_channel_group",
            "torch.ops.quantized_decomposed.quantize_per_channel_group",
            "crates/ops/tests/golden_decomposed.rs::decomposed_operators_have_the_bits_of_pytorch",
        ),
        operator(
            "op dequantize_per_channel_group",
            "torch.ops.quantized_decomposed.dequantize_per_channel_group",
            "crates/ops/tests/golden_decomposed.rs::decomposed_operators_have_the_bits_of_pytorch",
        ),
    ],
};
