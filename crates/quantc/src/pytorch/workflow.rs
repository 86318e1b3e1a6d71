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
            quantc_quant::convert_fx,
            "torch.ao.quantization.quantize_fx.convert_to_reference_fx",
            "crates/quant/tests/reference.rs::the_reference_graph_computes_what_pytorchs_does"
        ),
        item!(
            quantc_rewrite::lower_quantized,
            "torch.ao.quantization.quantize_fx.convert_fx",
            "crates/quantc/tests/random_networks.rs::plans_of_random_networks_have_the_bits_of_the_reference_graph",
            "`convert_fx` gives the reference graph, `lower_quantized` its integer operators, with the same bits"
        ),
        missing("torch.ao.quantization.quantize_fx.prepare_qat_fx", "quantization-aware training comes later"),
    ],
};
