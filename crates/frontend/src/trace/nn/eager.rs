//! Modules of eager-mode quantization: stubs around a module, and arithmetic with an observer of its own.

use quantc_ops::Attrs;

use super::{Simple, only};
use crate::trace::{Module, Proxy, TraceError, Tracer};

/// A module between stubs (torch.ao.quantization.QuantWrapper); its children are `quant`, `dequant` and `module`.
pub struct QuantWrapper {
    quant: Simple,
    dequant: Simple,
    module: Box<dyn Module>,
}

impl QuantWrapper {
    /// A module with a `QuantStub` before and a `DeQuantStub` behind it.
    pub fn new(module: Box<dyn Module>) -> QuantWrapper {
        QuantWrapper {
            quant: Simple::new("QuantStub", "quant_stub", Attrs::new()),
            dequant: Simple::new("DeQuantStub", "dequant_stub", Attrs::new()),
            module,
        }
    }
}

impl Module for QuantWrapper {
    fn type_name(&self) -> &str {
        "QuantWrapper"
    }

    fn children(&self) -> Vec<(String, &dyn Module)> {
        vec![
            ("quant".to_owned(), &self.quant),
            ("dequant".to_owned(), &self.dequant),
            ("module".to_owned(), &*self.module),
        ]
    }

    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        let x = t.module("quant", &self.quant, &[only(inputs)?])?;
        let y = t.module("module", &*self.module, &x)?;
        t.module("dequant", &self.dequant, &[only(&y)?])
    }
}

/// A method of [`FloatFunctional`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `a + b`, observed.
    Add,
    /// `relu(a + b)`, observed.
    AddRelu,
    /// A tensor and a number added; not observed.
    AddScalar,
    /// `a * b`, observed.
    Mul,
    /// A tensor times a number; not observed.
    MulScalar,
    /// Joined along a dimension, observed.
    Cat,
    /// Matrix product, observed.
    Matmul,
}

impl Method {
    /// All of them.
    pub const ALL: &[Method] =
        &[Method::Add, Method::AddRelu, Method::AddScalar, Method::Mul, Method::MulScalar, Method::Cat, Method::Matmul];

    /// PyTorch's name.
    pub fn name(self) -> &'static str {
        match self {
            Method::Add => "add",
            Method::AddRelu => "add_relu",
            Method::AddScalar => "add_scalar",
            Method::Mul => "mul",
            Method::MulScalar => "mul_scalar",
            Method::Cat => "cat",
            Method::Matmul => "matmul",
        }
    }

    /// The operator it calls first.
    pub fn op(self) -> &'static str {
        match self {
            Method::Add | Method::AddRelu | Method::AddScalar => "add",
            Method::Mul | Method::MulScalar => "mul",
            Method::Cat => "cat",
            Method::Matmul => "matmul",
        }
    }
}

/// Arithmetic that eager mode can quantize, as methods of a module (torch.ao.nn.quantized.FloatFunctional).
pub struct FloatFunctional;

impl Module for FloatFunctional {
    fn type_name(&self) -> &str {
        "FloatFunctional"
    }

    fn is_leaf(&self) -> bool {
        true
    }

    fn forward(&self, _: &mut Tracer, _: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        let names: Vec<_> = Method::ALL.iter().map(|m| m.name()).collect();
        Err(TraceError::new("FloatFunctional has no forward")
            .with_hint(format!("call a method of it: {}", names.join(", "))))
    }
}

/// One call of a method of [`FloatFunctional`]: traced as the module at that path.
pub struct FloatFunctionalCall {
    /// The method.
    pub method: Method,
    /// Attributes of its operator: `dim` of `cat`.
    pub attrs: Attrs,
}

impl Module for FloatFunctionalCall {
    fn type_name(&self) -> &str {
        FloatFunctional.type_name()
    }

    fn is_leaf(&self) -> bool {
        true
    }

    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        let y = t.call(self.method.op(), inputs, self.attrs.clone())?;
        if self.method == Method::AddRelu { t.call("relu", &y, Attrs::new()) } else { Ok(y) }
    }
}
