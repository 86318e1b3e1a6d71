//! FX graph mode: fusing, preparing, converting, lowering.

use super::{Section, item, missing};

pub(super) const SECTION: Section = Section {
    title: "FX graph mode",
    entries: &[
        item!(
            quantc_quant::fuse_fx,
            "torch.ao.quantization.quantize_fx.fuse_fx",
            "crates/quant/tests/fuse.rs::batch_norm_is_folded_and_groups_are_named",
            "fused calls stay calls of their own, in a group; eval mode"
        ),
        item!(
            quantc_quant::prepare_fx,
            "torch.ao.quantization.quantize_fx.prepare_fx",
            "crates/quant/tests/placement.rs::observers_are_where_prepare_fx_puts_them",
            "the same with `Placement::PyTorch` (`quantize --placement pytorch`); the default observes only where int8 saves time"
        ),
        item!(
            quantc_quant::convert_to_reference_fx,
            "torch.ao.quantization.quantize_fx.convert_to_reference_fx",
            "crates/quant/tests/reference.rs::the_reference_graph_computes_what_pytorchs_does"
        ),
        item!(
            crate::convert_fx,
            "torch.ao.quantization.quantize_fx.convert_fx",
            "crates/quantc/src/pipeline.rs::convert_fx_gives_the_pipelines_operators",
            "takes the rewrite rules: `convert_to_reference_fx`, then `lower_quantized`, with the same bits"
        ),
        missing("torch.ao.quantization.quantize_fx.prepare_qat_fx", "quantization-aware training comes later"),
    ],
};
