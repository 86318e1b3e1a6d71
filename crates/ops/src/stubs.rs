//! `quant_stub` and `dequant_stub`: where an eager-mode model wants to enter and leave integers. Identities until it is converted.

use crate::activation::UNARY_INPUT;
use crate::unary::Identity;
use crate::{OpClass, Signature};

/// `quant_stub`.
pub static QUANT_STUB: Identity = Identity {
    sig: &Signature {
        name: "quant_stub",
        doc: "x, where eager mode begins to quantize (torch.ao.quantization.QuantStub).",
        inputs: UNARY_INPUT,
        attrs: &[],
        class: OpClass::Unary,
    },
};

/// `dequant_stub`.
pub static DEQUANT_STUB: Identity = Identity {
    sig: &Signature {
        name: "dequant_stub",
        doc: "x, where eager mode goes back to floats (torch.ao.quantization.DeQuantStub).",
        inputs: UNARY_INPUT,
        attrs: &[],
        class: OpClass::Unary,
    },
};
