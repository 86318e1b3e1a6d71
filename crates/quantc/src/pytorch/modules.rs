//! Modules and functions: operators here, whose axes docs/pytorch.md explains.

use super::{Section, differs, missing, operator};

/// How a dynamic convolution differs.
const DYNAMIC_CONV: &str = "the result stays real, PyTorch's is rounded to the input's scale and cut off at the input's range. By the backends native and \
     arm, or `quantize_dynamic_with` and rows of `optional_dynamic_quant_module_mappings`: in no default mapping, as in PyTorch";

const TRAINING: &str = "quantization-aware training comes later";

pub(super) const SECTION: Section = Section {
    title: "Modules and functions",
    entries: &[
        operator(
            "op quantized.linear",
            "torch.ao.nn.quantized.Linear",
            "crates/quantc/tests/quantized_modules.rs::the_table_is_true",
        ),
        operator(
            "op quantized.conv1d",
            "torch.ao.nn.quantized.Conv1d",
            "crates/quantc/tests/quantized_modules.rs::the_table_is_true",
        ),
        operator(
            "op quantized.conv2d",
            "torch.ao.nn.quantized.Conv2d",
            "crates/quantc/tests/quantized_modules.rs::the_table_is_true",
        ),
        operator(
            "op quantized.conv3d",
            "torch.ao.nn.quantized.Conv3d",
            "crates/quantc/tests/quantized_modules.rs::the_table_is_true",
        ),
        operator(
            "op quantized.conv_transpose1d",
            "torch.ao.nn.quantized.ConvTranspose1d",
            "crates/quantc/tests/quantized_modules.rs::the_table_is_true",
        ),
        operator(
            "op quantized.conv_transpose2d",
            "torch.ao.nn.quantized.ConvTranspose2d",
            "crates/quantc/tests/quantized_modules.rs::the_table_is_true",
        ),
        operator(
            "op quantized.conv_transpose3d",
            "torch.ao.nn.quantized.ConvTranspose3d",
            "crates/quantc/tests/quantized_modules.rs::the_table_is_true",
        ),
        differs(
            operator(
                "op quantized.linear",
                "torch.ao.nn.intrinsic.quantized.LinearReLU",
                "crates/testkit/tests/files.rs::every_file_gives_what_it_says",
            ),
            "the same operator, its range cut at 0 (tests/backend/linear-relu.qtest)",
        ),
        differs(
            operator(
                "op quantized.conv1d",
                "torch.ao.nn.intrinsic.quantized.ConvReLU1d",
                "crates/quantc/tests/quantized_modules.rs::the_table_is_true",
            ),
            "the same operator, its range cut at 0",
        ),
        differs(
            operator(
                "op quantized.conv2d",
                "torch.ao.nn.intrinsic.quantized.ConvReLU2d",
                "crates/quantc/tests/quantized_modules.rs::the_table_is_true",
            ),
            "the same operator, its range cut at 0",
        ),
        differs(
            operator(
                "op quantized.conv3d",
                "torch.ao.nn.intrinsic.quantized.ConvReLU3d",
                "crates/quantc/tests/quantized_modules.rs::the_table_is_true",
            ),
            "the same operator, its range cut at 0",
        ),
        differs(
            operator(
                "op quantized.lookup",
                "torch.ao.nn.quantized.ReLU6",
                "crates/quantc/tests/quantized_modules.rs::the_table_is_true",
            ),
            "a table of 256 entries, or part of the layer before it",
        ),
        differs(
            operator(
                "op quantized.lookup",
                "torch.ao.nn.quantized.Hardswish",
                "crates/quantc/tests/quantized_modules.rs::the_table_is_true",
            ),
            "a table of 256 entries, or part of the layer before it",
        ),
        differs(
            operator(
                "op quantized.lookup",
                "torch.ao.nn.quantized.ELU",
                "crates/quantc/tests/quantized_modules.rs::the_table_is_true",
            ),
            "a table of 256 entries, or part of the layer before it",
        ),
        differs(
            operator(
                "op quantized.lookup",
                "torch.ao.nn.quantized.LeakyReLU",
                "crates/quantc/tests/quantized_modules.rs::the_table_is_true",
            ),
            "a table of 256 entries, or part of the layer before it",
        ),
        differs(
            operator(
                "op quantized.lookup",
                "torch.ao.nn.quantized.Sigmoid",
                "crates/quantc/tests/quantized_modules.rs::the_table_is_true",
            ),
            "a table of 256 entries, or part of the layer before it",
        ),
        operator(
            "op quantized.batch_norm",
            "torch.ao.nn.quantized.BatchNorm2d",
            "crates/quantc/tests/quantized_modules.rs::the_table_is_true",
        ),
        operator(
            "op quantized.batch_norm",
            "torch.ao.nn.quantized.BatchNorm3d",
            "crates/quantc/tests/quantized_modules.rs::the_table_is_true",
        ),
        operator(
            "op quantized.embedding",
            "torch.ao.nn.quantized.Embedding",
            "crates/quantc/tests/torch_modules.rs::embeddings_are_pytorchs",
        ),
        operator(
            "op quantized.embedding_bag",
            "torch.ao.nn.quantized.EmbeddingBag",
            "crates/quantc/tests/torch_modules.rs::embeddings_are_pytorchs",
        ),
        differs(
            operator(
                "op quantized.layer_norm",
                "torch.ao.nn.quantized.LayerNorm",
                "crates/quantc/tests/quantized_modules.rs::the_table_is_true",
            ),
            "with the backends native and onednn",
        ),
        operator(
            "op quantized.group_norm",
            "torch.ao.nn.quantized.GroupNorm",
            "crates/quantc/tests/quantized_modules.rs::the_table_is_true",
        ),
        operator(
            "op quantized.instance_norm",
            "torch.ao.nn.quantized.InstanceNorm1d",
            "crates/quantc/tests/quantized_modules.rs::the_table_is_true",
        ),
        operator(
            "op quantized.instance_norm",
            "torch.ao.nn.quantized.InstanceNorm2d",
            "crates/quantc/tests/quantized_modules.rs::the_table_is_true",
        ),
        operator(
            "op quantized.instance_norm",
            "torch.ao.nn.quantized.InstanceNorm3d",
            "crates/quantc/tests/quantized_modules.rs::the_table_is_true",
        ),
        operator(
            "op quantized.linear_dynamic",
            "torch.ao.nn.quantized.dynamic.Linear",
            "crates/quantc/tests/quantized_modules.rs::the_table_is_true",
        ),
        differs(
            operator(
                "op quantized.conv1d_dynamic",
                "torch.ao.nn.quantized.dynamic.Conv1d",
                "crates/quantc/tests/torch_modules.rs::dynamic_convolutions_are_pytorchs",
            ),
            DYNAMIC_CONV,
        ),
        differs(
            operator(
                "op quantized.conv2d_dynamic",
                "torch.ao.nn.quantized.dynamic.Conv2d",
                "crates/quantc/tests/torch_modules.rs::dynamic_convolutions_are_pytorchs",
            ),
            DYNAMIC_CONV,
        ),
        differs(
            operator(
                "op quantized.conv3d_dynamic",
                "torch.ao.nn.quantized.dynamic.Conv3d",
                "crates/quantc/tests/torch_modules.rs::dynamic_convolutions_are_pytorchs",
            ),
            DYNAMIC_CONV,
        ),
        differs(
            operator(
                "op quantized.conv_transpose1d_dynamic",
                "torch.ao.nn.quantized.dynamic.ConvTranspose1d",
                "crates/quantc/tests/torch_modules.rs::dynamic_convolutions_are_pytorchs",
            ),
            DYNAMIC_CONV,
        ),
        differs(
            operator(
                "op quantized.conv_transpose2d_dynamic",
                "torch.ao.nn.quantized.dynamic.ConvTranspose2d",
                "crates/quantc/tests/torch_modules.rs::dynamic_convolutions_are_pytorchs",
            ),
            DYNAMIC_CONV,
        ),
        differs(
            operator(
                "op quantized.conv_transpose3d_dynamic",
                "torch.ao.nn.quantized.dynamic.ConvTranspose3d",
                "crates/quantc/tests/torch_modules.rs::dynamic_convolutions_are_pytorchs",
            ),
            DYNAMIC_CONV,
        ),
        operator(
            "op quantized.lstm_dynamic",
            "torch.ao.nn.quantized.dynamic.LSTM",
            "crates/quantc/tests/torch_modules.rs::dynamic_layers_are_pytorchs",
        ),
        operator(
            "op quantized.gru_dynamic",
            "torch.ao.nn.quantized.dynamic.GRU",
            "crates/quantc/tests/torch_modules.rs::dynamic_layers_are_pytorchs",
        ),
        operator(
            "op quantized.lstm_dynamic",
            "torch.ao.nn.quantized.dynamic.LSTMCell",
            "crates/quantc/tests/torch_modules.rs::dynamic_layers_are_pytorchs",
        ),
        operator(
            "op quantized.gru_dynamic",
            "torch.ao.nn.quantized.dynamic.GRUCell",
            "crates/quantc/tests/torch_modules.rs::dynamic_layers_are_pytorchs",
        ),
        operator(
            "op quantized.rnn_dynamic",
            "torch.ao.nn.quantized.dynamic.RNNCell",
            "crates/quantc/tests/torch_modules.rs::dynamic_layers_are_pytorchs",
        ),
        differs(
            operator(
                "op lstm",
                "torch.ao.nn.quantizable.LSTM",
                "crates/quantc/tests/torch_modules.rs::quantizable_layers_are_as_exact_as_pytorchs",
            ),
            "written out step by step when prepared, at most 256 steps of a known number; in eager mode with PyTorch's modules inside",
        ),
        differs(
            operator(
                "op quantized.matmul",
                "torch.ao.nn.quantizable.MultiheadAttention",
                "crates/quantc/tests/torch_modules.rs::quantizable_layers_are_as_exact_as_pytorchs",
            ),
            "as traced: linear layers and products; softmax in float; in eager mode with PyTorch's modules inside",
        ),
        differs(
            operator(
                "op quantized.avg_pool2d",
                "torch.ao.nn.quantized.functional.avg_pool2d",
                "crates/ops/tests/golden_quantized_ops.rs::codes_are_those_of_pytorchs_quantized_kernels",
            ),
            "a mean in the middle between two codes may go to the other one (docs/numerics.md)",
        ),
        differs(
            operator(
                "op quantized.avg_pool3d",
                "torch.ao.nn.quantized.functional.avg_pool3d",
                "crates/ops/tests/golden_quantized_ops.rs::codes_are_those_of_pytorchs_quantized_kernels",
            ),
            "a mean in the middle between two codes may go to the other one (docs/numerics.md)",
        ),
        differs(
            operator(
                "op quantized.adaptive_avg_pool2d",
                "torch.ao.nn.quantized.functional.adaptive_avg_pool2d",
                "crates/ops/tests/golden_quantized_ops.rs::codes_are_those_of_pytorchs_quantized_kernels",
            ),
            "a mean in the middle between two codes may go to the other one (docs/numerics.md)",
        ),
        differs(
            operator(
                "op quantized.adaptive_avg_pool3d",
                "torch.ao.nn.quantized.functional.adaptive_avg_pool3d",
                "crates/ops/tests/golden_quantized_ops.rs::codes_are_those_of_pytorchs_quantized_kernels",
            ),
            "a mean in the middle between two codes may go to the other one (docs/numerics.md)",
        ),
        differs(
            operator(
                "op quantized.conv1d",
                "torch.ao.nn.quantized.functional.conv1d",
                "crates/ops/tests/golden_quantized_ops.rs::codes_are_those_of_pytorchs_quantized_kernels",
            ),
            "the bias is rounded to i32, as by qnnpack; fbgemm and onednn add it in float",
        ),
        differs(
            operator(
                "op quantized.conv2d",
                "torch.ao.nn.quantized.functional.conv2d",
                "crates/ops/tests/golden_quantized_ops.rs::codes_are_those_of_pytorchs_quantized_kernels",
            ),
            "the bias is rounded to i32, as by qnnpack; fbgemm and onednn add it in float",
        ),
        differs(
            operator(
                "op quantized.conv3d",
                "torch.ao.nn.quantized.functional.conv3d",
                "crates/ops/tests/golden_quantized_ops.rs::codes_are_those_of_pytorchs_quantized_kernels",
            ),
            "the bias is rounded to i32, as by qnnpack; fbgemm and onednn add it in float",
        ),
        differs(
            operator(
                "op quantized.linear",
                "torch.ao.nn.quantized.functional.linear",
                "crates/ops/tests/golden_quantized_ops.rs::codes_are_those_of_pytorchs_quantized_kernels",
            ),
            "the bias is rounded to i32, as by qnnpack; fbgemm and onednn add it in float",
        ),
        differs(
            operator(
                "op quantized.interpolate",
                "torch.ao.nn.quantized.functional.interpolate",
                "crates/ops/tests/golden_quantized_ops.rs::codes_are_those_of_pytorchs_quantized_kernels",
            ),
            "a bilinear value in the middle between two codes may go to the other one (docs/numerics.md)",
        ),
        differs(
            operator(
                "op quantized.interpolate",
                "torch.ao.nn.quantized.functional.upsample",
                "crates/ops/tests/golden_quantized_ops.rs::codes_are_those_of_pytorchs_quantized_kernels",
            ),
            "a bilinear value in the middle between two codes may go to the other one (docs/numerics.md)",
        ),
        differs(
            operator(
                "op quantized.interpolate",
                "torch.ao.nn.quantized.functional.upsample_bilinear",
                "crates/ops/tests/golden_quantized_ops.rs::codes_are_those_of_pytorchs_quantized_kernels",
            ),
            "a bilinear value in the middle between two codes may go to the other one (docs/numerics.md)",
        ),
        operator(
            "op quantized.interpolate",
            "torch.ao.nn.quantized.functional.upsample_nearest",
            "crates/ops/tests/golden_quantized_ops.rs::codes_are_those_of_pytorchs_quantized_kernels",
        ),
        differs(
            operator(
                "op max_pool1d",
                "torch.ao.nn.quantized.functional.max_pool1d",
                "crates/ops/tests/golden_quantized_ops.rs::codes_are_those_of_pytorchs_quantized_kernels",
            ),
            "the float operator on integers: the largest stays the largest",
        ),
        differs(
            operator(
                "op max_pool2d",
                "torch.ao.nn.quantized.functional.max_pool2d",
                "crates/ops/tests/golden_quantized_ops.rs::codes_are_those_of_pytorchs_quantized_kernels",
            ),
            "the float operator on integers: the largest stays the largest",
        ),
        differs(
            operator(
                "op quantized.lookup",
                "torch.ao.nn.quantized.functional.celu",
                "crates/ops/tests/golden_quantized_ops.rs::codes_are_those_of_pytorchs_quantized_kernels",
            ),
            "a table of 256 entries, or part of the layer before it",
        ),
        differs(
            operator(
                "op quantized.lookup",
                "torch.ao.nn.quantized.functional.leaky_relu",
                "crates/ops/tests/golden_quantized_ops.rs::codes_are_those_of_pytorchs_quantized_kernels",
            ),
            "a table of 256 entries, or part of the layer before it",
        ),
        differs(
            operator(
                "op quantized.lookup",
                "torch.ao.nn.quantized.functional.hardtanh",
                "crates/ops/tests/golden_quantized_ops.rs::codes_are_those_of_pytorchs_quantized_kernels",
            ),
            "a table of 256 entries, or part of the layer before it",
        ),
        differs(
            operator(
                "op quantized.lookup",
                "torch.ao.nn.quantized.functional.hardswish",
                "crates/ops/tests/golden_quantized_ops.rs::codes_are_those_of_pytorchs_quantized_kernels",
            ),
            "a table of 256 entries, or part of the layer before it",
        ),
        differs(
            operator(
                "op quantized.lookup",
                "torch.ao.nn.quantized.functional.threshold",
                "crates/ops/tests/golden_quantized_ops.rs::codes_are_those_of_pytorchs_quantized_kernels",
            ),
            "a table of 256 entries, or part of the layer before it",
        ),
        differs(
            operator(
                "op quantized.lookup",
                "torch.ao.nn.quantized.functional.elu",
                "crates/ops/tests/golden_quantized_ops.rs::codes_are_those_of_pytorchs_quantized_kernels",
            ),
            "a table of 256 entries, or part of the layer before it",
        ),
        differs(
            operator(
                "op quantized.lookup",
                "torch.ao.nn.quantized.functional.hardsigmoid",
                "crates/ops/tests/golden_quantized_ops.rs::codes_are_those_of_pytorchs_quantized_kernels",
            ),
            "a table of 256 entries, or part of the layer before it",
        ),
        differs(
            operator(
                "op quantized.lookup",
                "torch.ao.nn.quantized.functional.clamp",
                "crates/ops/tests/golden_quantized_ops.rs::codes_are_those_of_pytorchs_quantized_kernels",
            ),
            "a table of 256 entries, or part of the layer before it",
        ),
        missing("torch.ao.nn.qat.Linear", TRAINING),
        missing("torch.ao.nn.qat.Conv2d", TRAINING),
        missing("torch.ao.nn.qat.Conv3d", TRAINING),
        missing("torch.ao.nn.qat.dynamic.Linear", TRAINING),
        missing("torch.ao.nn.intrinsic.qat.LinearReLU", TRAINING),
        missing("torch.ao.nn.intrinsic.qat.LinearBn1d", TRAINING),
        missing("torch.ao.nn.intrinsic.qat.ConvReLU1d", TRAINING),
        missing("torch.ao.nn.intrinsic.qat.ConvReLU2d", TRAINING),
        missing("torch.ao.nn.intrinsic.qat.ConvReLU3d", TRAINING),
        missing("torch.ao.nn.intrinsic.qat.ConvBn1d", TRAINING),
        missing("torch.ao.nn.intrinsic.qat.ConvBn2d", TRAINING),
        missing("torch.ao.nn.intrinsic.qat.ConvBn3d", TRAINING),
        missing("torch.ao.nn.intrinsic.qat.ConvBnReLU1d", TRAINING),
        missing("torch.ao.nn.intrinsic.qat.ConvBnReLU2d", TRAINING),
        missing("torch.ao.nn.intrinsic.qat.ConvBnReLU3d", TRAINING),
    ],
};
