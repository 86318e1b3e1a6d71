//! PReLU.

use quantc_ops::Attrs;

use super::only;
use crate::trace::{Init, Module, Proxy, TraceError, Tracer};

/// `PReLU`. Its parameter `weight` has one slope, or one for each channel.
#[derive(Clone, Debug)]
pub struct PReLU {
    /// 1, or the channels.
    pub num_parameters: usize,
    /// The slope to start from.
    pub init: f32,
}

impl Module for PReLU {
    fn type_name(&self) -> &str {
        "PReLU"
    }

    fn is_leaf(&self) -> bool {
        true
    }

    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        let x = only(inputs)?;
        let n = self.num_parameters;
        let mut slope = t.param("weight", &[n], Init::Constant(self.init))?;
        let behind = x.ty(t).shape.rank().saturating_sub(2);
        if n != 1 && behind > 0 {
            // The operator broadcasts from the last dimension on; channels are dimension 1.
            slope = slope.reshape(t, &[vec![n as i64], vec![1; behind]].concat())?;
        }
        t.main_call("prelu", &[Some(x), Some(slope)], Attrs::new())
    }
}
