//! Graphs of any size in the shape of real networks, to measure rewriting on. Parameters are declared, not filled: rewriting
//! does not look at weights.

use std::sync::Arc;

use quantc_ir::{Graph, IrError, Origin, ValueRef};
use quantc_ops::{Attr, Attrs, lookup};
use quantc_tensor::{DType, Shape, Tensor, TensorType};

/// What the graph is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Residual blocks: convolution, batch norm, relu, with a skip connection.
    Resnet,
    /// Inverted residuals: pointwise and depthwise convolutions with relu6 or hard-swish, squeeze and excitation.
    Mobilenet,
    /// Encoder layers as exporters write them: LayerNorm and GELU decomposed, attention with reshapes and permutations.
    Transformer,
}

impl Mix {
    /// Every mix and its name.
    pub const ALL: &[(&'static str, Mix)] =
        &[("resnet", Mix::Resnet), ("mobilenet", Mix::Mobilenet), ("transformer", Mix::Transformer)];
}

/// A graph of at least `calls` calls. With `quantized` it is in reference q/dq form: every convolution, product and addition
/// between dequantize and quantize, weights in i8.
///
/// # Errors
/// Never for a valid `Mix`; the builder's errors are passed on.
pub fn graph(mix: Mix, calls: usize, quantized: bool) -> Result<Graph, IrError> {
    let name = Mix::ALL.iter().find(|(_, m)| *m == mix).map_or("mix", |(n, _)| *n);
    let mut b = Builder { graph: Graph::new(name), calls: 0, quantized, block: 0 };
    let mut x: ValueRef = match mix {
        Mix::Resnet | Mix::Mobilenet => b.input("x", &[1, 8, 16, 16]),
        Mix::Transformer => b.input("x", &[1, 12, 16]),
    };
    if quantized {
        x = b.requantized(x, None)?;
    }
    while b.calls < calls {
        x = match mix {
            Mix::Resnet => b.residual_block(x)?,
            Mix::Mobilenet => b.inverted_residual(x)?,
            Mix::Transformer => b.encoder_layer(x)?,
        };
        b.block += 1;
    }
    b.graph.set_outputs(&[(Arc::from("y"), x)]);
    Ok(b.graph)
}

struct Builder {
    graph: Graph,
    calls: usize,
    quantized: bool,
    /// Number of the current block: names begin with it.
    block: usize,
}

type Built = Result<ValueRef, IrError>;

impl Builder {
    fn input(&mut self, name: &str, shape: &[usize]) -> ValueRef {
        self.graph.placeholder(name, TensorType::new(DType::F32, Shape::known(shape))).into()
    }

    fn param(&mut self, name: &str, dtype: DType, shape: &[usize]) -> ValueRef {
        let name = format!("{}.{name}", self.block);
        self.graph.declare_param(&name, TensorType::new(dtype, Shape::known(shape))).into()
    }

    /// A shared constant, as exporters store them.
    fn scalar(&mut self, value: f32) -> ValueRef {
        let name = format!("c{value}");
        self.graph.param(&name, Tensor::scalar(value)).into()
    }

    fn call(&mut self, name: &str, op: &str, inputs: &[ValueRef], attrs: &[(&'static str, Attr)]) -> Built {
        let name = format!("{}.{name}", self.block);
        let unknown = || IrError::Invalid { node: name.clone(), message: format!("there is no operator `{op}`") };
        let op_ref = lookup(op).ok_or_else(unknown)?;
        let attrs = attrs.iter().fold(Attrs::new(), |all, (name, value)| all.with(name, value.clone()));
        let inputs: Vec<_> = inputs.iter().map(|v| Some(*v)).collect();
        let origin = Origin::new(&name, op, op, 0);
        self.calls += 1;
        Ok(self.graph.call(&name, op_ref, &inputs, attrs, &[origin])?.into())
    }

    /// The value after quantize and dequantize, if the graph is quantized; a scale that differs from place to place.
    fn requantized(&mut self, x: ValueRef, name: Option<&str>) -> Built {
        if !self.quantized {
            return Ok(x);
        }
        let name = name.unwrap_or("in");
        let scale = Attr::from((self.calls % 97 + 1) as f32 / 1024.0);
        let zero_point = Attr::from((self.calls % 5) as i64 + 60);
        let attrs = [("scale", scale), ("zero_point", zero_point)];
        let q = self.call(&format!("{name}.q"), "quantize_per_tensor", &[x], &attrs)?;
        self.call(&format!("{name}.dq"), "dequantize_per_tensor", &[q], &attrs)
    }

    fn weight(&mut self, name: &str, shape: &[usize]) -> Built {
        if !self.quantized {
            return Ok(self.param(&format!("{name}.weight"), DType::F32, shape));
        }
        let w = self.param(&format!("{name}.weight"), DType::I8, shape);
        let s = self.param(&format!("{name}.scale"), DType::F32, &shape[..1]);
        self.call(&format!("{name}.w"), "dequantize_per_channel", &[w, s], &[("axis", Attr::from(0i64))])
    }

    /// A convolution with batch norm; in a quantized graph the batch norm is folded already.
    fn conv(&mut self, name: &str, x: ValueRef, out: usize, inp: usize, kernel: usize, groups: usize) -> Built {
        let w = self.weight(name, &[out, inp / groups, kernel, kernel])?;
        let pad = Attr::Ints(vec![kernel as i64 / 2; 2]);
        let attrs = [("padding", pad), ("groups", Attr::from(groups))];
        if self.quantized {
            let b = self.param(&format!("{name}.bias"), DType::F32, &[out]);
            return self.call(name, "conv2d", &[x, w, b], &attrs);
        }
        let conv = self.call(name, "conv2d", &[x, w], &attrs)?;
        let stats =
            ["weight", "bias", "mean", "var"].map(|p| self.param(&format!("{name}.bn.{p}"), DType::F32, &[out]));
        self.call(&format!("{name}.bn"), "batch_norm", &[conv, stats[0], stats[1], stats[2], stats[3]], &[])
    }

    fn relu(&mut self, name: &str, x: ValueRef) -> Built {
        // ONNX has no relu6 and some exporters write relu as a clip, too.
        self.call(name, "clamp", &[x], &[("min", Attr::from(0.0f32))])
    }

    fn residual_block(&mut self, x: ValueRef) -> Built {
        let a = self.conv("conv1", x, 8, 8, 3, 1)?;
        let a = self.relu("relu1", a)?;
        let a = self.requantized(a, Some("relu1"))?;
        let b = self.conv("conv2", a, 8, 8, 3, 1)?;
        let sum = self.call("add", "add", &[b, x], &[])?;
        let out = self.relu("relu2", sum)?;
        self.requantized(out, Some("relu2"))
    }

    fn inverted_residual(&mut self, x: ValueRef) -> Built {
        let wide = self.conv("expand", x, 16, 8, 1, 1)?;
        let wide = self.activation("act1", wide)?;
        let deep = self.conv("depthwise", wide, 16, 16, 3, 16)?;
        let deep = self.activation("act2", deep)?;
        let squeezed =
            self.call("pool", "mean", &[deep], &[("dims", Attr::Ints(vec![2, 3])), ("keepdim", Attr::from(true))])?;
        let squeezed = self.requantized(squeezed, Some("pool"))?;
        let gate = self.conv("gate", squeezed, 16, 16, 1, 1)?;
        let gate = self.requantized(gate, Some("gate"))?;
        let gate = self.call("sigmoid", "sigmoid", &[gate], &[])?;
        let gate = self.requantized(gate, Some("sigmoid"))?;
        let scaled = self.call("scale", "mul", &[deep, gate], &[])?;
        let scaled = self.requantized(scaled, Some("scale"))?;
        let narrow = self.conv("project", scaled, 8, 16, 1, 1)?;
        let sum = self.call("add", "add", &[x, narrow], &[])?;
        self.requantized(sum, Some("add"))
    }

    /// relu6, or hard-swish written out.
    fn activation(&mut self, name: &str, x: ValueRef) -> Built {
        let relu6 = [("min", Attr::from(0.0f32)), ("max", Attr::from(6.0f32))];
        if self.quantized || self.block.is_multiple_of(2) {
            let out = self.call(name, "clamp", &[x], &relu6)?;
            return self.requantized(out, Some(name));
        }
        let (three, six) = (self.scalar(3.0), self.scalar(6.0));
        let sum = self.call(&format!("{name}.add"), "add", &[x, three], &[])?;
        let clamped = self.call(&format!("{name}.clip"), "clamp", &[sum], &relu6)?;
        let product = self.call(&format!("{name}.mul"), "mul", &[x, clamped], &[])?;
        self.call(&format!("{name}.div"), "div", &[product, six], &[])
    }

    /// A linear layer as ONNX has it: a product and an addition.
    fn linear(&mut self, name: &str, x: ValueRef, out: usize, inp: usize) -> Built {
        if self.quantized {
            let w = self.weight(name, &[out, inp])?;
            let b = self.param(&format!("{name}.bias"), DType::F32, &[out]);
            return self.call(name, "linear", &[x, w, b], &[]);
        }
        let w = self.param(&format!("{name}.weight"), DType::F32, &[inp, out]);
        let b = self.param(&format!("{name}.bias"), DType::F32, &[out]);
        let product = self.call(&format!("{name}.mm"), "matmul", &[x, w], &[])?;
        self.call(name, "add", &[b, product], &[])
    }

    fn layer_norm(&mut self, name: &str, x: ValueRef) -> Built {
        let weight = self.param(&format!("{name}.weight"), DType::F32, &[16]);
        let bias = self.param(&format!("{name}.bias"), DType::F32, &[16]);
        if self.quantized {
            let out = self.call(name, "layer_norm", &[x, weight, bias], &[])?;
            return self.requantized(out, Some(name));
        }
        let last = [("dims", Attr::Ints(vec![-1])), ("keepdim", Attr::from(true))];
        let (two, eps) = (self.scalar(2.0), self.scalar(1e-5));
        let mean = self.call(&format!("{name}.mean"), "mean", &[x], &last)?;
        let centred = self.call(&format!("{name}.sub"), "sub", &[x, mean], &[])?;
        let square = self.call(&format!("{name}.pow"), "pow", &[centred, two], &[])?;
        let var = self.call(&format!("{name}.var"), "mean", &[square], &last)?;
        let var = self.call(&format!("{name}.eps"), "add", &[var, eps], &[])?;
        let std = self.call(&format!("{name}.sqrt"), "sqrt", &[var], &[])?;
        let normal = self.call(&format!("{name}.div"), "div", &[centred, std], &[])?;
        let scaled = self.call(&format!("{name}.mul"), "mul", &[normal, weight], &[])?;
        self.call(name, "add", &[scaled, bias], &[])
    }

    fn gelu(&mut self, x: ValueRef) -> Built {
        if self.quantized {
            let out = self.call("gelu", "gelu", &[x], &[])?;
            return self.requantized(out, Some("gelu"));
        }
        let (root, one, half) = (self.scalar(std::f32::consts::SQRT_2), self.scalar(1.0), self.scalar(0.5));
        let scaled = self.call("gelu.div", "div", &[x, root], &[])?;
        let erf = self.call("gelu.erf", "erf", &[scaled], &[])?;
        let sum = self.call("gelu.add", "add", &[erf, one], &[])?;
        let product = self.call("gelu.mul", "mul", &[x, sum], &[])?;
        self.call("gelu", "mul", &[product, half], &[])
    }

    /// One projection split into heads.
    fn heads(&mut self, name: &str, x: ValueRef, dims: &[i64]) -> Built {
        let y = self.linear(name, x, 16, 16)?;
        let y = self.requantized(y, Some(name))?;
        let y = self.call(&format!("{name}.split"), "reshape", &[y], &[("shape", Attr::Ints(vec![1, 12, 2, 8]))])?;
        self.call(&format!("{name}.heads"), "permute", &[y], &[("dims", Attr::Ints(dims.to_vec()))])
    }

    fn encoder_layer(&mut self, x: ValueRef) -> Built {
        let q = self.heads("q", x, &[0, 2, 1, 3])?;
        let k = self.heads("k", x, &[0, 2, 3, 1])?;
        let v = self.heads("v", x, &[0, 2, 1, 3])?;
        let scores = self.call("scores", "matmul", &[q, k], &[])?;
        let scale = self.scalar(8f32.sqrt());
        let scores = self.call("scores.scale", "div", &[scores, scale], &[])?;
        let weights = self.call("softmax", "softmax", &[scores], &[("dim", Attr::from(-1i64))])?;
        let weights = self.requantized(weights, Some("softmax"))?;
        let mixed = self.call("mixed", "matmul", &[weights, v], &[])?;
        let mixed = self.requantized(mixed, Some("mixed"))?;
        let mixed = self.call("mixed.permute", "permute", &[mixed], &[("dims", Attr::Ints(vec![0, 2, 1, 3]))])?;
        let mixed = self.call("mixed.merge", "reshape", &[mixed], &[("shape", Attr::Ints(vec![1, 12, 16]))])?;
        let attended = self.linear("attended", mixed, 16, 16)?;
        let attended = self.requantized(attended, Some("attended"))?;
        let sum = self.call("residual1", "add", &[attended, x], &[])?;
        let normal = self.layer_norm("norm1", sum)?;
        let wide = self.linear("fc1", normal, 32, 16)?;
        let wide = self.gelu(wide)?;
        let narrow = self.linear("fc2", wide, 16, 32)?;
        let narrow = self.requantized(narrow, Some("fc2"))?;
        let sum = self.call("residual2", "add", &[narrow, normal], &[])?;
        self.layer_norm("norm2", sum)
    }
}
