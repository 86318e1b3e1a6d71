//! Comparing models, reports on what could be better, equalization and bias correction.

use super::{Section, differs, item, missing, operator};

pub(super) const SECTION: Section = Section {
    title: "Numeric Suite, ModelReport, equalization, others",
    entries: &[
        missing(
            "torch.ao.ns._numeric_suite.compare_weights",
            "not built: numeric debug handles compare the values of two graphs (`compare_results`), `quantc compare` their outputs",
        ),
        missing(
            "torch.ao.ns._numeric_suite.get_logger_dict",
            "not built: numeric debug handles compare the values of two graphs (`compare_results`), `quantc compare` their outputs",
        ),
        missing(
            "torch.ao.ns._numeric_suite.get_matching_activations",
            "not built: numeric debug handles compare the values of two graphs (`compare_results`), `quantc compare` their outputs",
        ),
        missing(
            "torch.ao.ns._numeric_suite.prepare_model_outputs",
            "not built: numeric debug handles compare the values of two graphs (`compare_results`), `quantc compare` their outputs",
        ),
        missing(
            "torch.ao.ns._numeric_suite.compare_model_outputs",
            "not built: numeric debug handles compare the values of two graphs (`compare_results`), `quantc compare` their outputs",
        ),
        missing(
            "torch.ao.ns._numeric_suite.prepare_model_with_stubs",
            "not built: numeric debug handles compare the values of two graphs (`compare_results`), `quantc compare` their outputs",
        ),
        missing(
            "torch.ao.ns._numeric_suite.compare_model_stub",
            "not built: numeric debug handles compare the values of two graphs (`compare_results`), `quantc compare` their outputs",
        ),
        missing(
            "torch.ao.ns._numeric_suite.Logger",
            "not built: numeric debug handles compare the values of two graphs (`compare_results`), `quantc compare` their outputs",
        ),
        missing(
            "torch.ao.ns._numeric_suite.OutputLogger",
            "not built: numeric debug handles compare the values of two graphs (`compare_results`), `quantc compare` their outputs",
        ),
        missing(
            "torch.ao.ns._numeric_suite.Shadow",
            "not built: numeric debug handles compare the values of two graphs (`compare_results`), `quantc compare` their outputs",
        ),
        missing(
            "torch.ao.ns._numeric_suite.ShadowLogger",
            "not built: numeric debug handles compare the values of two graphs (`compare_results`), `quantc compare` their outputs",
        ),
        missing(
            "torch.ao.ns._numeric_suite_fx.extract_weights",
            "not built: numeric debug handles compare the values of two graphs (`compare_results`), `quantc compare` their outputs",
        ),
        missing(
            "torch.ao.ns._numeric_suite_fx.add_loggers",
            "not built: numeric debug handles compare the values of two graphs (`compare_results`), `quantc compare` their outputs",
        ),
        missing(
            "torch.ao.ns._numeric_suite_fx.extract_logger_info",
            "not built: numeric debug handles compare the values of two graphs (`compare_results`), `quantc compare` their outputs",
        ),
        missing(
            "torch.ao.ns._numeric_suite_fx.add_shadow_loggers",
            "not built: numeric debug handles compare the values of two graphs (`compare_results`), `quantc compare` their outputs",
        ),
        missing(
            "torch.ao.ns._numeric_suite_fx.extract_shadow_logger_info",
            "not built: numeric debug handles compare the values of two graphs (`compare_results`), `quantc compare` their outputs",
        ),
        missing(
            "torch.ao.ns._numeric_suite_fx.extend_logger_results_with_comparison",
            "not built: numeric debug handles compare the values of two graphs (`compare_results`), `quantc compare` their outputs",
        ),
        missing(
            "torch.ao.ns._numeric_suite_fx.NSTracer",
            "not built: numeric debug handles compare the values of two graphs (`compare_results`), `quantc compare` their outputs",
        ),
        missing(
            "torch.ao.ns._numeric_suite_fx.OutputLogger",
            "not built: numeric debug handles compare the values of two graphs (`compare_results`), `quantc compare` their outputs",
        ),
        missing(
            "torch.ao.ns._numeric_suite_fx.OutputComparisonLogger",
            "not built: numeric debug handles compare the values of two graphs (`compare_results`), `quantc compare` their outputs",
        ),
        missing(
            "torch.ao.ns._numeric_suite_fx.prepare_n_shadows_model",
            "not built: each QConfigMapping is quantized and compared (`quantc compare`) on its own",
        ),
        missing(
            "torch.ao.ns._numeric_suite_fx.loggers_set_enabled",
            "not built: each QConfigMapping is quantized and compared (`quantc compare`) on its own",
        ),
        missing(
            "torch.ao.ns._numeric_suite_fx.loggers_set_save_activations",
            "not built: each QConfigMapping is quantized and compared (`quantc compare`) on its own",
        ),
        missing(
            "torch.ao.ns._numeric_suite_fx.convert_n_shadows_model",
            "not built: each QConfigMapping is quantized and compared (`quantc compare`) on its own",
        ),
        missing(
            "torch.ao.ns._numeric_suite_fx.extract_results_n_shadows_model",
            "not built: each QConfigMapping is quantized and compared (`quantc compare`) on its own",
        ),
        missing(
            "torch.ao.ns._numeric_suite_fx.print_comparisons_n_shadows_model",
            "not built: each QConfigMapping is quantized and compared (`quantc compare`) on its own",
        ),
        differs(
            operator(
                "quantc compare",
                "torch.ao.ns.fx.utils.compute_sqnr",
                "crates/quantc/src/metrics.rs::difference_of_a_tenth",
            ),
            "one of the numbers that it gives",
        ),
        differs(
            operator(
                "quantc compare",
                "torch.ao.ns.fx.utils.compute_cosine_similarity",
                "crates/quantc/src/metrics.rs::difference_of_a_tenth",
            ),
            "one of the numbers that it gives, over all elements",
        ),
        missing("torch.ao.ns.fx.utils.compute_normalized_l2_error", "not built: it says what the SQNR says"),
        missing(
            "torch.ao.quantization.fx._model_report.model_report.ModelReport",
            "not built: `quantc explain` says what was decided and why, not what would be better",
        ),
        missing(
            "torch.ao.quantization.fx._model_report.detector.PerChannelDetector",
            "not built, as the rest of ModelReport",
        ),
        missing(
            "torch.ao.quantization.fx._model_report.detector.DynamicStaticDetector",
            "not built, as the rest of ModelReport",
        ),
        missing(
            "torch.ao.quantization.fx._model_report.detector.InputWeightEqualizationDetector",
            "not built, as the rest of ModelReport",
        ),
        missing(
            "torch.ao.quantization.fx._model_report.detector.OutlierDetector",
            "not built, as the rest of ModelReport",
        ),
        missing(
            "torch.ao.quantization.fx._model_report.model_report_observer.ModelReportObserver",
            "not built, as the rest of ModelReport",
        ),
        missing(
            "torch.ao.quantization.fx._model_report.model_report_visualizer.ModelReportVisualizer",
            "not built, as the rest of ModelReport",
        ),
        missing(
            "torch.ao.quantization._equalize.cross_layer_equalization",
            "not built: weights have a scale for each channel by default, which leaves it little to do",
        ),
        missing(
            "torch.ao.quantization._equalize.equalize",
            "not built: weights have a scale for each channel by default, which leaves it little to do",
        ),
        missing(
            "torch.ao.quantization.fx._equalize._InputEqualizationObserver",
            "not built: input-weight equalization scales channels of activations, which no pass here does",
        ),
        missing(
            "torch.ao.quantization.fx._equalize._WeightEqualizationObserver",
            "not built: input-weight equalization scales channels of activations, which no pass here does",
        ),
        missing(
            "torch.ao.quantization.fx._equalize.EqualizationQConfig",
            "not built: input-weight equalization scales channels of activations, which no pass here does",
        ),
        missing(
            "torch.ao.quantization.fx._equalize.convert_eq_obs",
            "not built: input-weight equalization scales channels of activations, which no pass here does",
        ),
        missing(
            "torch.ao.quantization.fx._equalize.get_layer_sqnr_dict",
            "not built: input-weight equalization scales channels of activations, which no pass here does",
        ),
        missing(
            "torch.ao.quantization.fx._equalize.get_equalization_qconfig_dict",
            "not built: input-weight equalization scales channels of activations, which no pass here does",
        ),
        item!(
            quantc_quant::correct_biases,
            "torch.ao.quantization._correct_bias.bias_correction",
            "crates/quant/tests/bias_correction.rs::grouped_convolution_with_bias",
            "from the means of the inputs seen in calibration, before anything runs quantized; on by default"
        ),
        missing(
            "torch.ao.quantization._learnable_fake_quantize._LearnableFakeQuantize",
            "quantization-aware training comes later",
        ),
        missing(
            "torch.ao.quantization.experimental.APoT_tensor.TensorAPoT",
            "no kernel computes with sums of powers of two",
        ),
        missing(
            "torch.ao.quantization.experimental.adaround_optimization.AdaptiveRoundingOptimizer",
            "not built: weights are rounded to the nearest integer, biases make up for the mean",
        ),
        operator(
            "op quantize_per_tensor",
            "torch.ops.quantized_decomposed.quantize_per_tensor",
            "crates/ops/tests/golden_decomposed.rs::decomposed_operators_have_the_bits_of_pytorch",
        ),
        operator(
            "op dequantize_per_tensor",
            "torch.ops.quantized_decomposed.dequantize_per_tensor",
            "crates/ops/tests/golden_decomposed.rs::decomposed_operators_have_the_bits_of_pytorch",
        ),
        differs(
            operator(
                "op quantize_per_channel",
                "torch.ops.quantized_decomposed.quantize_per_channel",
                "crates/ops/tests/golden.rs::operators_agree_with_pytorch_and_onnx_runtime",
            ),
            "integer zero points; those of tables are float in `dequantize_float_qparams`",
        ),
        differs(
            operator(
                "op dequantize_per_channel",
                "torch.ops.quantized_decomposed.dequantize_per_channel",
                "crates/ops/tests/golden.rs::operators_agree_with_pytorch_and_onnx_runtime",
            ),
            "integer zero points; those of tables are float in `dequantize_float_qparams`",
        ),
        item!(
            quantc_quant::QConfig,
            "torch.ao.quantization.qconfig_equals",
            "crates/quant/tests/presets.rs::every_name_is_known_and_round_trips_through_json",
            "`==`: QConfigs are data"
        ),
        item!(
            quantc_quant::qconfig_mapping::get_default_qconfig_mapping,
            "torch.ao.quantization.get_default_qconfig_dict",
            "crates/quant/tests/golden_qconfig_mapping.rs::default_mappings_are_torch_s",
            "`to_json` writes the dictionary"
        ),
        item!(
            quantc_quant::qconfig_mapping::get_default_qat_qconfig_mapping,
            "torch.ao.quantization.get_default_qat_qconfig_dict",
            "crates/quant/tests/golden_qconfig_mapping.rs::default_mappings_are_torch_s",
            "`to_json` writes the dictionary"
        ),
        missing(
            "torch.ao.quantization.qconfig.QConfigDynamic",
            "deprecated in PyTorch: a QConfig whose activation `is_dynamic` says the same",
        ),
        missing(
            "torch.ao.quantization.move_exported_model_to_eval",
            "graphs are traced in eval mode; training comes later",
        ),
        missing(
            "torch.ao.quantization.move_exported_model_to_train",
            "graphs are traced in eval mode; training comes later",
        ),
        missing(
            "torch.ao.quantization.allow_exported_model_train_eval",
            "graphs are traced in eval mode; training comes later",
        ),
        missing(
            "torch.ao.quantization.backend_config.get_tensorrt_backend_config",
            "no TensorRT here; a `.qpat` file can list its patterns",
        ),
        missing(
            "torch.ao.quantization.backend_config.get_executorch_backend_config",
            "no ExecuTorch here; a `.qpat` file can list its patterns",
        ),
        missing(
            "torch.ao.quantization.observer.AffineQuantizedObserverBase",
            "torchao's observers by blocks; QSchemes say per tensor or per channel, `quantize_per_channel_group` and `quantize_per_token` are operators",
        ),
        missing(
            "torch.ao.quantization.observer.Granularity",
            "torchao's observers by blocks; QSchemes say per tensor or per channel, `quantize_per_channel_group` and `quantize_per_token` are operators",
        ),
        missing(
            "torch.ao.quantization.observer.MappingType",
            "torchao's observers by blocks; QSchemes say per tensor or per channel, `quantize_per_channel_group` and `quantize_per_token` are operators",
        ),
        missing(
            "torch.ao.quantization.observer.PerAxis",
            "torchao's observers by blocks; QSchemes say per tensor or per channel, `quantize_per_channel_group` and `quantize_per_token` are operators",
        ),
        missing(
            "torch.ao.quantization.observer.PerBlock",
            "torchao's observers by blocks; QSchemes say per tensor or per channel, `quantize_per_channel_group` and `quantize_per_token` are operators",
        ),
        missing(
            "torch.ao.quantization.observer.PerGroup",
            "torchao's observers by blocks; QSchemes say per tensor or per channel, `quantize_per_channel_group` and `quantize_per_token` are operators",
        ),
        missing(
            "torch.ao.quantization.observer.PerRow",
            "torchao's observers by blocks; QSchemes say per tensor or per channel, `quantize_per_channel_group` and `quantize_per_token` are operators",
        ),
        missing(
            "torch.ao.quantization.observer.PerTensor",
            "torchao's observers by blocks; QSchemes say per tensor or per channel, `quantize_per_channel_group` and `quantize_per_token` are operators",
        ),
        missing(
            "torch.ao.quantization.observer.PerToken",
            "torchao's observers by blocks; QSchemes say per tensor or per channel, `quantize_per_channel_group` and `quantize_per_token` are operators",
        ),
        missing(
            "torch.ao.quantization.observer.ZeroPointDomain",
            "torchao's observers by blocks; QSchemes say per tensor or per channel, `quantize_per_channel_group` and `quantize_per_token` are operators",
        ),
        missing(
            "torch.ao.quantization.observer.TorchAODType",
            "torchao's observers by blocks; QSchemes say per tensor or per channel, `quantize_per_channel_group` and `quantize_per_token` are operators",
        ),
        missing(
            "torch.ao.quantization.observer.get_block_size",
            "torchao's observers by blocks; QSchemes say per tensor or per channel, `quantize_per_channel_group` and `quantize_per_token` are operators",
        ),
    ],
};
