//! Fused modules, modules of the eager workflow, reference modules.

use super::{Section, differs, item, missing, operator};

pub(super) const SECTION: Section = Section {
    title: "Fused, custom and reference modules",
    entries: &[
        item!(
            quantc_quant::eager::fuse_modules,
            "torch.ao.nn.intrinsic.ConvReLU1d",
            "crates/quant/src/eager/fuse.rs::sequences_are_pytorchs",
            "the type that `fuse_modules` gives a module; the calls inside stay calls of their own"
        ),
        item!(
            quantc_quant::eager::fuse_modules,
            "torch.ao.nn.intrinsic.ConvReLU2d",
            "crates/quant/src/eager/fuse.rs::sequences_are_pytorchs",
            "the type that `fuse_modules` gives a module; the calls inside stay calls of their own"
        ),
        item!(
            quantc_quant::eager::fuse_modules,
            "torch.ao.nn.intrinsic.ConvReLU3d",
            "crates/quant/src/eager/fuse.rs::sequences_are_pytorchs",
            "the type that `fuse_modules` gives a module; the calls inside stay calls of their own"
        ),
        item!(
            quantc_quant::eager::fuse_modules,
            "torch.ao.nn.intrinsic.LinearReLU",
            "crates/quant/src/eager/fuse.rs::sequences_are_pytorchs",
            "the type that `fuse_modules` gives a module; the calls inside stay calls of their own"
        ),
        item!(
            quantc_quant::eager::fuse_modules,
            "torch.ao.nn.intrinsic.BNReLU2d",
            "crates/quant/src/eager/fuse.rs::sequences_are_pytorchs",
            "the type that `fuse_modules` gives a module; the calls inside stay calls of their own"
        ),
        item!(
            quantc_quant::eager::fuse_modules,
            "torch.ao.nn.intrinsic.BNReLU3d",
            "crates/quant/src/eager/fuse.rs::sequences_are_pytorchs",
            "the type that `fuse_modules` gives a module; the calls inside stay calls of their own"
        ),
        item!(
            quantc_quant::fuse_fx,
            "torch.ao.nn.intrinsic.ConvAdd2d",
            "crates/quantc/tests/quantized_layers.rs::onednn_fuses_additions_and_functions_into_layers",
            "a pattern of the backend onednn makes a group of the calls; `fuse_modules` has no sequence for it, as in PyTorch"
        ),
        item!(
            quantc_quant::fuse_fx,
            "torch.ao.nn.intrinsic.ConvAddReLU2d",
            "crates/quantc/tests/quantized_layers.rs::onednn_fuses_additions_and_functions_into_layers",
            "a pattern of the backend onednn makes a group of the calls; `fuse_modules` has no sequence for it, as in PyTorch"
        ),
        item!(
            quantc_quant::fuse_fx,
            "torch.ao.nn.intrinsic.LinearLeakyReLU",
            "crates/quantc/tests/quantized_layers.rs::onednn_fuses_additions_and_functions_into_layers",
            "a pattern of the backend onednn makes a group of the calls; `fuse_modules` has no sequence for it, as in PyTorch"
        ),
        item!(
            quantc_quant::fuse_fx,
            "torch.ao.nn.intrinsic.LinearTanh",
            "crates/quantc/tests/quantized_layers.rs::onednn_fuses_additions_and_functions_into_layers",
            "a pattern of the backend onednn makes a group of the calls; `fuse_modules` has no sequence for it, as in PyTorch"
        ),
        missing(
            "torch.ao.nn.intrinsic.ConvBn1d",
            "PyTorch makes it in training only; quantization-aware training comes later",
        ),
        missing(
            "torch.ao.nn.intrinsic.ConvBn2d",
            "PyTorch makes it in training only; quantization-aware training comes later",
        ),
        missing(
            "torch.ao.nn.intrinsic.ConvBn3d",
            "PyTorch makes it in training only; quantization-aware training comes later",
        ),
        missing(
            "torch.ao.nn.intrinsic.ConvBnReLU1d",
            "PyTorch makes it in training only; quantization-aware training comes later",
        ),
        missing(
            "torch.ao.nn.intrinsic.ConvBnReLU2d",
            "PyTorch makes it in training only; quantization-aware training comes later",
        ),
        missing(
            "torch.ao.nn.intrinsic.ConvBnReLU3d",
            "PyTorch makes it in training only; quantization-aware training comes later",
        ),
        missing(
            "torch.ao.nn.intrinsic.LinearBn1d",
            "PyTorch makes it in training only; quantization-aware training comes later",
        ),
        differs(
            operator(
                "op quantized.batch_norm",
                "torch.ao.nn.intrinsic.quantized.BNReLU2d",
                "crates/quantc/tests/quantized_layers.rs::batch_norm_before_an_activation",
            ),
            "with the activation's bound",
        ),
        differs(
            operator(
                "op quantized.batch_norm",
                "torch.ao.nn.intrinsic.quantized.BNReLU3d",
                "crates/quantc/tests/quantized_layers.rs::batch_norm_of_rows_and_volumes",
            ),
            "with the activation's bound",
        ),
        differs(
            operator(
                "op quantized.conv2d",
                "torch.ao.nn.intrinsic.quantized.ConvAdd2d",
                "crates/quantc/tests/quantized_layers.rs::onednn_fuses_additions_and_functions_into_layers",
            ),
            "the group of a pattern of the backend onednn",
        ),
        differs(
            operator(
                "op quantized.conv2d",
                "torch.ao.nn.intrinsic.quantized.ConvAddReLU2d",
                "crates/quantc/tests/quantized_layers.rs::onednn_fuses_additions_and_functions_into_layers",
            ),
            "the group of a pattern of the backend onednn",
        ),
        differs(
            operator(
                "op quantized.linear",
                "torch.ao.nn.intrinsic.quantized.LinearLeakyReLU",
                "crates/quantc/tests/quantized_layers.rs::onednn_fuses_additions_and_functions_into_layers",
            ),
            "the group of a pattern of the backend onednn",
        ),
        differs(
            operator(
                "op quantized.linear",
                "torch.ao.nn.intrinsic.quantized.LinearTanh",
                "crates/quantc/tests/quantized_layers.rs::onednn_fuses_additions_and_functions_into_layers",
            ),
            "the group of a pattern of the backend onednn",
        ),
        differs(
            operator(
                "op quantized.linear_dynamic",
                "torch.ao.nn.intrinsic.quantized.dynamic.LinearReLU",
                "crates/quant/tests/eager.rs::dynamic_quantization_gives_pytorchs_outputs",
            ),
            "with the activation's bound",
        ),
        operator(
            "op quantize_per_tensor",
            "torch.ao.nn.quantized.Quantize",
            "crates/quant/tests/eager.rs::qconfigs_observers_and_outputs_are_pytorchs",
        ),
        operator(
            "op dequantize_per_tensor",
            "torch.ao.nn.quantized.DeQuantize",
            "crates/quant/tests/eager.rs::qconfigs_observers_and_outputs_are_pytorchs",
        ),
        differs(
            operator(
                "op quantized.add",
                "torch.ao.nn.quantized.QFunctional",
                "crates/quant/tests/eager.rs::qconfigs_observers_and_outputs_are_pytorchs",
            ),
            "each method is an operator; numbers are taken into scale and zero point, as in PyTorch",
        ),
        item!(
            quantc_frontend::trace::nn::FloatFunctional,
            "torch.ao.nn.quantized.FXFloatFunctional",
            "crates/quant/tests/eager.rs::qconfigs_observers_and_outputs_are_pytorchs",
            "traced to the operators of its methods in both workflows"
        ),
        differs(
            operator(
                "op dropout",
                "torch.ao.nn.quantized.Dropout",
                "crates/quant/src/eager/kernels.rs::kernels_are_those_that_pytorch_has",
            ),
            "keeps scale and zero point",
        ),
        differs(
            operator(
                "op softmax",
                "torch.ao.nn.quantized.Softmax",
                "crates/pattern/tests/golden_backend_config.rs::backends_of_pytorchs_names_have_its_patterns",
            ),
            "computed on reals between dequantize and quantize, with PyTorch's fixed parameters",
        ),
        differs(
            operator(
                "op prelu",
                "torch.ao.nn.quantized.PReLU",
                "crates/pattern/tests/golden_backend_config.rs::backends_of_pytorchs_names_have_its_patterns",
            ),
            "computed on reals between dequantize and quantize, its weight in float; not in eager mode, where PyTorch's kernel is wrong: it multiplies what is above 0 by the slope's code nearest to 1",
        ),
        item!(
            quantc_quant::eager::convert,
            "torch.ao.nn.quantized.LSTM",
            "crates/quant/tests/eager.rs::qconfigs_observers_and_outputs_are_pytorchs",
            "its parts are quantized one by one, bit for bit as PyTorch's"
        ),
        item!(
            quantc_quant::eager::convert,
            "torch.ao.nn.quantized.MultiheadAttention",
            "crates/quant/tests/eager.rs::qconfigs_observers_and_outputs_are_pytorchs",
            "its parts are quantized one by one, bit for bit as PyTorch's with time first; with the batch first PyTorch's is wrong"
        ),
        item!(
            quantc_quant::eager::prepare,
            "torch.ao.nn.quantizable.LSTMCell",
            "crates/quant/tests/eager.rs::qconfigs_observers_and_outputs_are_pytorchs",
            "the steps of an LSTM; no module of its own"
        ),
        item!(
            quantc_quant::convert_to_reference_fx,
            "torch.ao.nn.quantized.reference.Linear",
            "crates/quant/tests/reference.rs::the_reference_graph_computes_what_pytorchs_does",
            "quantize and dequantize around the float operator"
        ),
        item!(
            quantc_quant::convert_to_reference_fx,
            "torch.ao.nn.quantized.reference.Conv1d",
            "crates/quant/tests/reference.rs::the_reference_graph_computes_what_pytorchs_does",
            "quantize and dequantize around the float operator"
        ),
        item!(
            quantc_quant::convert_to_reference_fx,
            "torch.ao.nn.quantized.reference.Conv2d",
            "crates/quant/tests/reference.rs::the_reference_graph_computes_what_pytorchs_does",
            "quantize and dequantize around the float operator"
        ),
        item!(
            quantc_quant::convert_to_reference_fx,
            "torch.ao.nn.quantized.reference.Conv3d",
            "crates/quant/tests/reference.rs::the_reference_graph_computes_what_pytorchs_does",
            "quantize and dequantize around the float operator"
        ),
        item!(
            quantc_quant::convert_to_reference_fx,
            "torch.ao.nn.quantized.reference.ConvTranspose1d",
            "crates/quant/tests/reference.rs::the_reference_graph_computes_what_pytorchs_does",
            "quantize and dequantize around the float operator"
        ),
        item!(
            quantc_quant::convert_to_reference_fx,
            "torch.ao.nn.quantized.reference.ConvTranspose2d",
            "crates/quant/tests/reference.rs::the_reference_graph_computes_what_pytorchs_does",
            "quantize and dequantize around the float operator"
        ),
        item!(
            quantc_quant::convert_to_reference_fx,
            "torch.ao.nn.quantized.reference.ConvTranspose3d",
            "crates/quant/tests/reference.rs::the_reference_graph_computes_what_pytorchs_does",
            "quantize and dequantize around the float operator"
        ),
        differs(
            operator(
                "op dequantize_float_qparams",
                "torch.ao.nn.quantized.reference.Embedding",
                "crates/quantc/tests/torch_modules.rs::embeddings_are_pytorchs",
            ),
            "in front of the float operator",
        ),
        differs(
            operator(
                "op dequantize_float_qparams",
                "torch.ao.nn.quantized.reference.EmbeddingBag",
                "crates/quantc/tests/torch_modules.rs::embeddings_are_pytorchs",
            ),
            "in front of the float operator",
        ),
        differs(
            operator(
                "op quantized.lstm_dynamic",
                "torch.ao.nn.quantized.reference.LSTM",
                "crates/quantc/tests/torch_modules.rs::dynamic_layers_are_pytorchs",
            ),
            "evaluated as the composition that it stands for",
        ),
        differs(
            operator(
                "op quantized.gru_dynamic",
                "torch.ao.nn.quantized.reference.GRU",
                "crates/quantc/tests/torch_modules.rs::dynamic_layers_are_pytorchs",
            ),
            "evaluated as the composition that it stands for",
        ),
        differs(
            operator(
                "op quantized.lstm_dynamic",
                "torch.ao.nn.quantized.reference.LSTMCell",
                "crates/quantc/tests/torch_modules.rs::dynamic_layers_are_pytorchs",
            ),
            "evaluated as the composition that it stands for",
        ),
        differs(
            operator(
                "op quantized.gru_dynamic",
                "torch.ao.nn.quantized.reference.GRUCell",
                "crates/quantc/tests/torch_modules.rs::dynamic_layers_are_pytorchs",
            ),
            "evaluated as the composition that it stands for",
        ),
        differs(
            operator(
                "op quantized.rnn_dynamic",
                "torch.ao.nn.quantized.reference.RNNCell",
                "crates/quantc/tests/torch_modules.rs::dynamic_layers_are_pytorchs",
            ),
            "evaluated as the composition that it stands for",
        ),
        missing("torch.ao.nn.qat.Conv1d", "quantization-aware training comes later"),
        missing("torch.ao.nn.qat.Embedding", "quantization-aware training comes later"),
        missing("torch.ao.nn.qat.EmbeddingBag", "quantization-aware training comes later"),
    ],
};
