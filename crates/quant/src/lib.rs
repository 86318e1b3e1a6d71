//! Observers, QConfig, QConfigMapping, prepare / calibrate / convert.
#![forbid(unsafe_code)]

mod bias_correction;
mod calibrate;
mod constraints;
mod convert;
pub mod custom_config;
pub mod eager;
mod error;
pub mod fake_quantize;
mod fuse;
mod group;
mod half;
pub mod observer;
mod placement;
mod prepare;
pub mod pt2e;
pub mod qconfig;
pub mod qconfig_mapping;
mod recurrent;
pub mod report;
pub mod stored_half;
mod unmet;
mod unroll;
mod weight_only;

pub use bias_correction::{InputMeans, correct_biases};
pub use calibrate::{ActivationQParams, Calibrator};
pub use convert::{ConvertedModel, convert_to_reference_fx, convert_to_reference_fx_custom};
pub use custom_config::{ConvertCustomConfig, FuseCustomConfig, PrepareCustomConfig};
pub use error::{InfiniteInput, QuantError};
pub use fuse::{FusedGroup, FusedModel, fuse_fx, fuse_fx_custom};
pub use placement::Placement;
pub use prepare::{ObserverSlot, Observing, PreparedModel, prepare_fx, prepare_fx_custom, prepare_fx_with};
pub use qconfig::{ObserverKind, ObserverSpec, QConfig};
pub use qconfig_mapping::QConfigMapping;
pub use report::QuantReport;
