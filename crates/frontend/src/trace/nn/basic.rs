//! Modules of one operator, and sequences.

use quantc_ops::Attrs;

use super::only;
use crate::trace::{Init, Module, Proxy, TraceError, Tracer};

/// A module without parameters that is one call of an operator: activations, pooling, flatten, ...
#[derive(Clone, Debug)]
pub struct Simple {
    type_name: &'static str,
    op: &'static str,
    attrs: Attrs,
}

impl Simple {
    /// A module of that type calling that operator.
    pub fn new(type_name: &'static str, op: &'static str, attrs: Attrs) -> Simple {
        Simple { type_name, op, attrs }
    }

    /// `ReLU`.
    pub fn relu() -> Simple {
        Simple::new("ReLU", "relu", Attrs::new())
    }

    /// `MaxPool2d` of a square window.
    pub fn max_pool2d(kernel_size: i64, stride: i64, padding: i64) -> Simple {
        let attrs = Attrs::new()
            .with("kernel_size", vec![kernel_size; 2])
            .with("stride", vec![stride; 2])
            .with("padding", vec![padding; 2]);
        Simple::new("MaxPool2d", "max_pool2d", attrs)
    }
}

impl Module for Simple {
    fn type_name(&self) -> &str {
        self.type_name
    }

    fn is_leaf(&self) -> bool {
        true
    }

    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        t.main_call(self.op, &[Some(only(inputs)?)], self.attrs.clone())
    }
}

/// `Linear`. Parameters `weight` `[out, in]` and `bias` `[out]`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// Size of the last dimension of the input.
    pub in_features: usize,
    /// Size of the last dimension of the output.
    pub out_features: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

impl Module for Linear {
    fn type_name(&self) -> &str {
        "Linear"
    }

    fn is_leaf(&self) -> bool {
        true
    }

    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        let fan_in = self.in_features;
        let weight = t.param("weight", &[self.out_features, fan_in], Init::He { fan_in })?;
        let bound = 1.0 / (fan_in.max(1) as f32).sqrt();
        let bias = self.bias.then(|| t.param("bias", &[self.out_features], Init::Uniform(bound))).transpose()?;
        t.main_call("linear", &[Some(only(inputs)?), Some(weight), bias], Attrs::new())
    }
}

/// `Sequential`: each module gets the output of the one before; they are named 0, 1, ...
#[derive(Default)]
pub struct Sequential {
    /// The modules in order.
    pub modules: Vec<Box<dyn Module>>,
}

impl Module for Sequential {
    fn type_name(&self) -> &str {
        "Sequential"
    }

    fn children(&self) -> Vec<(String, &dyn Module)> {
        self.modules.iter().enumerate().map(|(i, m)| (i.to_string(), &**m)).collect()
    }

    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        let mut values = inputs.to_vec();
        for (i, module) in self.modules.iter().enumerate() {
            values = t.module(&i.to_string(), module.as_ref(), &values)?;
        }
        Ok(values)
    }
}
