//! Packed weights, kept between plans.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use quantc_kernels::{ConvWeightShape, PackedWeights, QConv};
use quantc_runtime::Constant;

/// The parameter, the kernel that packed it, and as what.
type PackedKey = (String, &'static str, ConvWeightShape);

/// Packed weights and other large constants of one model, by parameter name: planning the same model for another input shape packs nothing
/// again. A cache serves one graph and its parameters only.
#[derive(Default)]
pub struct WeightCache {
    packed: Mutex<HashMap<PackedKey, Arc<PackedWeights>>>,
    constants: Mutex<HashMap<(String, String), Constant>>,
}

impl WeightCache {
    /// An empty cache.
    pub fn new() -> WeightCache {
        WeightCache::default()
    }

    /// Bytes of all packed weights and constants.
    pub fn bytes(&self) -> usize {
        let packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        let constants = self.constants.lock().unwrap_or_else(PoisonError::into_inner);
        packed.values().map(|w| w.data().len()).sum::<usize>() + constants.values().map(Constant::len).sum::<usize>()
    }

    pub(crate) fn packed(
        &self,
        param: &str,
        kernel: &'static dyn QConv,
        shape: &ConvWeightShape,
        weights: impl FnOnce() -> Vec<i8>,
    ) -> Arc<PackedWeights> {
        let mut packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = packed.entry((param.to_owned(), kernel.name(), *shape));
        entry.or_insert_with(|| Arc::new(kernel.pack(shape, &weights()))).clone()
    }

    /// The constant made of a parameter for some use.
    pub(crate) fn constant<E>(
        &self,
        param: &str,
        usage: &str,
        make: impl FnOnce() -> Result<Constant, E>,
    ) -> Result<Constant, E> {
        let mut constants = self.constants.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (param.to_owned(), usage.to_owned());
        if let Some(constant) = constants.get(&key) {
            return Ok(constant.clone());
        }
        let made = make()?;
        constants.insert(key, made.clone());
        Ok(made)
    }
}
