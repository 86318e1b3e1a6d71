//! Observers, QConfig, QConfigMapping, prepare / calibrate / convert.
#![forbid(unsafe_code)]

mod bias_correction;
mod calibrate;
mod constraints;
mod convert;
mod error;
mod fuse;
mod group;
pub mod observer;
mod placement;
mod prepare;
pub mod pt2e;
pub mod qconfig;
pub mod qconfig_mapping;
pub mod report;

pub use bias_correction::{InputMeans, correct_biases};
pub use calibrate::{ActivationQParams, Calibrator};
pub use convert::{ConvertedModel, convert_fx};
pub use error::QuantError;
pub use fuse::{FusedGroup, FusedModel, fuse_fx};
pub use prepare::{ObserverSlot, Observing, PreparedModel, prepare_fx};
pub use qconfig::{ObserverKind, ObserverSpec, QConfig};
pub use qconfig_mapping::QConfigMapping;
pub use report::QuantReport;
