//! Quantization by annotation (PyTorch 2 Export, `torch.ao.quantization.quantize_pt2e`): a [`Quantizer`] says for each node how its inputs
//! and output are quantized, [`prepare_pt2e`] puts observers there, [`Pt2eCalibrator`] runs samples, [`convert_pt2e`] makes a q/dq graph
//! with the same meaning as [`crate::convert_to_reference_fx`]'s. docs/pt2e.md shows how to write a quantizer.

mod backend_config;
mod calibrate;
mod convert;
mod embedding;
mod error;
mod numeric_debugger;
mod prepare;
mod quantizer;
mod reference;
mod sharing;
mod spec;
mod x86_inductor;
mod xnnpack;
mod xnnpack_annotators;

pub use backend_config::BackendConfigQuantizer;
pub use calibrate::{ObservedPt2e, Pt2eCalibrator};
pub use convert::{ConvertOptions, convert_pt2e, fold_quantize};
pub use embedding::{EmbeddingQuantizer, get_embedding_operators_config};
pub use error::Pt2eError;
pub use numeric_debugger::{
    Logged, LoggedGraph, NodeAccuracySummary, QuantizationComparisonResult, compare_results,
    extract_results_from_loggers, generate_numeric_debug_handle, prepare_for_propagation_comparison,
};
pub use prepare::{ObserverMap, PreparedObserver, PreparedPt2e, prepare_pt2e};
pub use quantizer::{AnnotatedGraph, ComposableQuantizer, Quantizer};
pub use reference::{ReferenceGraph, reference_representation_rewrite};
pub use spec::{
    DeriveQParams, DerivedQuantizationSpec, EdgeOrNode, FixedQParamsQuantizationSpec, QuantizationAnnotation,
    QuantizationSpec, QuantizationSpecBase, SharedQuantizationSpec,
};
pub use x86_inductor::{X86InductorQuantization, X86InductorQuantizer, get_default_x86_inductor_quantization_config};
pub use xnnpack::{QuantizationConfig, SymmetricQuantization, XNNPACKQuantizer, get_symmetric_quantization_config};

/// The example of the page is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/pt2e.md")]
struct Page;
