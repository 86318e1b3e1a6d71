//! PyTorch's eager workflow (torch.ao.quantization.quantize): the model says with stubs where integers begin and end, QConfigs are attributes
//! of modules, and modules are swapped one by one for quantized ones.
//!
//! PyTorch changes a tree of modules; here [`EagerModel`] is the traced graph with that tree, whose calls carry the paths of their modules. What
//! PyTorch finds out when the converted model runs, a float tensor before a quantized kernel or the reverse, [`convert`] refuses.

mod convert;
mod dynamic;
mod error;
mod fuse;
mod kernels;
mod mappings;
mod model;
mod prepare;
mod quantizable;

pub use convert::{convert, convert_with};
pub use dynamic::{DEFAULT_DYNAMIC_TYPES, DynamicDType, DynamicSpec, quantize_dynamic, quantize_dynamic_with};
pub use error::{EagerError, WhyFloat};
pub use fuse::{fuse_modules, fuse_modules_qat};
pub use mappings::{
    CustomConfig, ModuleMapping, get_default_compare_output_module_list, get_default_custom_config_dict,
    get_default_dynamic_quant_module_mappings, get_default_float_to_quantized_operator_mappings,
    get_default_qat_module_mappings, get_default_qconfig_propagation_list, get_default_static_quant_module_mappings,
    get_default_static_quant_reference_module_mappings, get_dynamic_quant_module_class, get_quantized_operator,
    get_static_quant_module_class, no_observer_set, optional_dynamic_quant_module_mappings, swap_module,
};
pub use model::{EagerModel, QConfigDict, add_quant_dequant, propagate_qconfig};
pub use prepare::{EagerPrepared, default_eval_fn, prepare, prepare_qat, prepare_with, quantize, quantize_qat};
