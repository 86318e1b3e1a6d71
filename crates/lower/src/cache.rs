//! Packed weights, kept between plans, and choices that plans share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use quantc_kernels::{Blocking, ConvGeometry, ConvWeightShape, PackedWeights, QConv};
use quantc_runtime::Constant;
use quantc_tensor::Tensor;

use crate::stored::StoredWeights;

/// Part of a parameter as some operator's weights.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PartKey {
    pub(crate) param: String,
    /// The operator's form (see `ops::conv::Form`).
    pub(crate) usage: &'static str,
    /// First output channel.
    pub(crate) first: usize,
}

/// The part, the kernel that packed it, and as what.
type PackedKey = (PartKey, &'static str, ConvWeightShape);

/// Packed weights and other large constants of one model, by parameter name: planning the same model for another input shape packs nothing
/// again. A cache serves one graph and its parameters only.
#[derive(Default)]
pub struct WeightCache {
    packed: Mutex<HashMap<PackedKey, Arc<PackedWeights>>>,
    constants: Mutex<HashMap<(String, String), Constant>>,
    stored: HashMap<String, StoredWeights>,
    blockings: Blockings,
}

/// How layers are blocked: some by choice, all others as suits the machine.
pub type Blockings = HashMap<ConvGeometry, Blocking>;

impl WeightCache {
    /// An empty cache.
    pub fn new() -> WeightCache {
        WeightCache::default()
    }

    /// A cache of a graph some of whose parameters have no values, but are given here by name as they were packed.
    pub fn with_stored(stored: HashMap<String, StoredWeights>) -> WeightCache {
        WeightCache { stored, ..WeightCache::default() }
    }

    /// The same, for plans whose layers of these geometries have these blockings.
    pub fn with_blockings(self, blockings: Blockings) -> WeightCache {
        WeightCache { blockings, ..self }
    }

    /// The blocking of a layer.
    pub(crate) fn blocking(&self, geometry: &ConvGeometry) -> Blocking {
        self.blockings.get(geometry).copied().unwrap_or_default()
    }

    /// The values of a parameter that is stored packed.
    pub(crate) fn value(&self, param: &str) -> Option<Tensor> {
        self.stored.get(param)?.unpack()
    }

    /// Whether a parameter is stored packed.
    pub(crate) fn holds(&self, param: &str) -> bool {
        self.stored.contains_key(param)
    }

    /// Bytes of all packed weights and constants.
    pub fn bytes(&self) -> usize {
        let packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        let constants = self.constants.lock().unwrap_or_else(PoisonError::into_inner);
        packed.values().map(|w| w.data().len()).sum::<usize>() + constants.values().map(Constant::len).sum::<usize>()
    }

    /// Weights packed by a kernel: as they are stored if it is that kernel that packed them, else packed now.
    pub(crate) fn packed<W: AsRef<[i8]>>(
        &self,
        key: PartKey,
        kernel: &'static dyn QConv,
        shape: &ConvWeightShape,
        weights: impl FnOnce() -> W,
    ) -> Arc<PackedWeights> {
        let mut packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = || self.stored.get(&key.param).filter(|_| key.first == 0)?.packed_for(key.usage, kernel, shape);
        let entry = packed.entry((key.clone(), kernel.name(), *shape));
        entry.or_insert_with(|| Arc::new(stored().unwrap_or_else(|| kernel.pack(shape, weights().as_ref())))).clone()
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
