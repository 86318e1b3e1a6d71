//! Typed reading of a call's attributes.

use quantc_ops::{Attrs, InferCx, OpError, Signature};
use quantc_tensor::DType;

/// The attributes of one call, defaults included.
pub(crate) struct AttrView<'a>(InferCx<'a>);

impl<'a> AttrView<'a> {
    pub(crate) fn new(sig: &'static Signature, attrs: &'a Attrs) -> AttrView<'a> {
        AttrView(InferCx::new(sig, &[], attrs))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.has(name)
    }

    pub(crate) fn int(&self, name: &str) -> Result<i64, OpError> {
        self.0.int(name)
    }

    pub(crate) fn float(&self, name: &str) -> Result<f32, OpError> {
        self.0.float(name)
    }

    pub(crate) fn bool(&self, name: &str) -> Result<bool, OpError> {
        self.0.bool(name)
    }

    pub(crate) fn str(&self, name: &str) -> Result<String, OpError> {
        self.0.str(name)
    }

    pub(crate) fn ints(&self, name: &str) -> Result<Vec<i64>, OpError> {
        self.0.ints(name)
    }

    pub(crate) fn floats(&self, name: &str) -> Result<Vec<f32>, OpError> {
        self.0.floats(name)
    }

    pub(crate) fn dtype(&self, name: &str) -> Result<DType, OpError> {
        self.0.dtype(name)
    }

    /// An integer that may be absent.
    pub(crate) fn opt_int(&self, name: &str) -> Result<Option<i64>, OpError> {
        if self.has(name) { self.int(name).map(Some) } else { Ok(None) }
    }
}
