//! Observers, QConfig, QConfigMapping, prepare / calibrate / convert.
#![forbid(unsafe_code)]

pub mod observer;
pub mod qconfig;
pub mod qconfig_mapping;

pub use qconfig::{ObserverKind, ObserverSpec, QConfig};
pub use qconfig_mapping::QConfigMapping;
