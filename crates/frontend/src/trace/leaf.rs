//! Leaf modules of descriptions, from their hyper-parameters.

use quantc_ops::Attrs;

use super::description::{Builder, Scope, integer};
use super::json::{Json, Spanned};
use super::nn;
use super::{Module, TraceError};

/// Makes a leaf module; `values` are its hyper-parameters.
pub(super) fn build(
    builder: &Builder<'_, '_>,
    at: &Spanned,
    type_name: &str,
    values: Vec<(&str, Spanned)>,
) -> Result<Box<dyn Module>, TraceError> {
    Leaf { builder, at, type_name, values, used: Vec::new() }.build()
}

/// A leaf module being made from its hyper-parameters.
struct Leaf<'a, 's, 'j> {
    builder: &'a Builder<'s, 'j>,
    at: &'a Spanned,
    type_name: &'a str,
    values: Vec<(&'a str, Spanned)>,
    used: Vec<&'static str>,
}

/// Modules of one operator without hyper-parameters.
const PLAIN: &[(&str, &str)] = &[
    ("ReLU", "relu"),
    ("ReLU6", "relu6"),
    ("Sigmoid", "sigmoid"),
    ("Tanh", "tanh"),
    ("SiLU", "silu"),
    ("Hardswish", "hardswish"),
    ("Hardsigmoid", "hardsigmoid"),
    ("Mish", "mish"),
    ("Softplus", "softplus"),
    ("Identity", "identity"),
    ("QuantStub", "quant_stub"),
    ("DeQuantStub", "dequant_stub"),
];

/// Types and operators for 1, 2 and 3 dimensions.
type OfDims = [(&'static str, &'static str); 3];
const MAX_POOLS: OfDims = [("MaxPool1d", "max_pool1d"), ("MaxPool2d", "max_pool2d"), ("MaxPool3d", "max_pool3d")];
const AVG_POOLS: OfDims = [("AvgPool1d", "avg_pool1d"), ("AvgPool2d", "avg_pool2d"), ("AvgPool3d", "avg_pool3d")];
const ADAPTIVE: OfDims = [
    ("AdaptiveAvgPool1d", "adaptive_avg_pool1d"),
    ("AdaptiveAvgPool2d", "adaptive_avg_pool2d"),
    ("AdaptiveAvgPool3d", "adaptive_avg_pool3d"),
];

/// The module for `dims` dimensions, 1 to 3.
fn of_dims(modules: &OfDims, dims: usize, attrs: Attrs) -> nn::Simple {
    let (ty, op) = modules[dims.clamp(1, 3) - 1];
    nn::Simple::new(ty, op, attrs)
}

/// Every other leaf type, for messages.
const OTHERS: &[&str] = &[
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Linear",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "GroupNorm",
    "Embedding",
    "EmbeddingBag",
    "LSTM",
    "GRU",
    "RNN",
    "LSTMCell",
    "GRUCell",
    "RNNCell",
    "MultiheadAttention",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "Upsample",
    "UpsamplingNearest2d",
    "UpsamplingBilinear2d",
    "PixelShuffle",
    "PixelUnshuffle",
    "Flatten",
    "Dropout",
    "GELU",
    "LeakyReLU",
    "ELU",
    "CELU",
    "PReLU",
    "Threshold",
    "Hardtanh",
    "Softmax",
    "LogSoftmax",
    "Sequential",
    "QuantWrapper",
    "FloatFunctional",
];

impl Leaf<'_, '_, '_> {
    fn get(&mut self, name: &'static str) -> Option<Spanned> {
        self.used.push(name);
        self.values.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone())
    }

    fn need<T>(&self, name: &str, value: Option<T>) -> Result<T, TraceError> {
        value.ok_or_else(|| self.builder.error(self.at, format!("{} needs `{name}`", self.type_name)))
    }

    fn wrong(&self, name: &str, v: &Spanned, expected: &str) -> TraceError {
        self.builder.error(v, format!("`{name}` of {} is {}, it must be {expected}", self.type_name, v.value.kind()))
    }

    fn opt_int(&mut self, name: &'static str) -> Result<Option<i64>, TraceError> {
        match self.get(name) {
            None => Ok(None),
            Some(v) => integer(&v.value).map(Some).ok_or_else(|| self.wrong(name, &v, "a whole number")),
        }
    }

    fn size(&mut self, name: &'static str) -> Result<usize, TraceError> {
        let v = self.opt_int(name)?;
        let v = self.need(name, v)?;
        self.at_least(name, v, 0)?;
        Ok(v as usize)
    }

    /// Fails for a number that is too small.
    fn at_least(&self, name: &str, value: i64, least: i64) -> Result<(), TraceError> {
        if value >= least {
            return Ok(());
        }
        let given = self.values.iter().find(|(n, _)| *n == name).map_or(self.at, |(_, v)| v);
        Err(self.builder.error(given, format!("`{name}` of {} is {value}, it must be {least} or more", self.type_name)))
    }

    fn opt_float(&mut self, name: &'static str) -> Result<Option<f32>, TraceError> {
        match self.get(name) {
            None => Ok(None),
            Some(Spanned { value: Json::Number(v), .. }) => Ok(Some(v as f32)),
            Some(v) => Err(self.wrong(name, &v, "a number")),
        }
    }

    fn float(&mut self, name: &'static str, default: f32) -> Result<f32, TraceError> {
        Ok(self.opt_float(name)?.unwrap_or(default))
    }

    fn flag(&mut self, name: &'static str, default: bool) -> Result<bool, TraceError> {
        match self.get(name) {
            None => Ok(default),
            Some(Spanned { value: Json::Bool(v), .. }) => Ok(v),
            Some(v) => Err(self.wrong(name, &v, "true or false")),
        }
    }

    /// One number for all `n` dimensions, or a list of them.
    fn ints(&mut self, name: &'static str, n: usize, default: Option<Vec<i64>>) -> Result<Vec<i64>, TraceError> {
        let Some(v) = self.get(name) else { return self.need(name, default) };
        let fail = || self.wrong(name, &v, &format!("a whole number or a list of {n}"));
        match &v.value {
            Json::Array(items) if items.len() == n => {
                items.iter().map(|i| integer(&i.value)).collect::<Option<_>>().ok_or_else(fail)
            }
            other => integer(other).map(|i| vec![i; n]).ok_or_else(fail),
        }
    }

    /// As [`Leaf::ints`], of numbers from `least` on.
    fn sizes(
        &mut self,
        name: &'static str,
        n: usize,
        default: Option<Vec<i64>>,
        least: i64,
    ) -> Result<Vec<i64>, TraceError> {
        let list = self.ints(name, n, default)?;
        list.iter().try_for_each(|v| self.at_least(name, *v, least))?;
        Ok(list)
    }

    /// A hyper-parameter that only training uses, or that must have one value.
    fn only_false(&mut self, name: &'static str) -> Result<(), TraceError> {
        if self.flag(name, false)? {
            return Err(self.builder.error(self.at, format!("{} with {name}=true is not supported", self.type_name)));
        }
        Ok(())
    }

    /// Which cell a recurrent module has.
    fn recurrent_kind(&mut self) -> Result<nn::RecurrentKind, TraceError> {
        Ok(match self.type_name.trim_end_matches("Cell") {
            "LSTM" => nn::RecurrentKind::Lstm,
            "GRU" => nn::RecurrentKind::Gru,
            _ => match self.get("nonlinearity") {
                None => nn::RecurrentKind::RnnTanh,
                Some(v) => match self.builder.string(&v)?.as_str() {
                    "tanh" => nn::RecurrentKind::RnnTanh,
                    "relu" => nn::RecurrentKind::RnnRelu,
                    other => {
                        let text = format!("`nonlinearity` of {} is {other:?}", self.type_name);
                        return Err(self.builder.error(&v, text).with_hint("tanh or relu"));
                    }
                },
            },
        })
    }

    fn layers(&mut self) -> Result<usize, TraceError> {
        let n = self.opt_int("num_layers")?.unwrap_or(1);
        match usize::try_from(n) {
            Ok(n @ 1..=64) => Ok(n),
            _ => Err(self.builder.error(self.at, format!("num_layers is {n}, it must be 1 to 64"))),
        }
    }

    fn build(mut self) -> Result<Box<dyn Module>, TraceError> {
        let dims = self.type_name.as_bytes().iter().rev().nth(1).map_or(0, |d| usize::from(d.saturating_sub(b'0')));
        let module: Box<dyn Module> = match self.type_name {
            "Conv1d" | "Conv2d" | "Conv3d" => Box::new(self.conv(dims)?),
            "ConvTranspose1d" | "ConvTranspose2d" | "ConvTranspose3d" => Box::new(nn::ConvTranspose {
                conv: self.conv(dims)?,
                output_padding: self.sizes("output_padding", dims, Some(vec![0; dims]), 0)?,
            }),
            "Linear" => Box::new(nn::Linear {
                in_features: self.size("in_features")?,
                out_features: self.size("out_features")?,
                bias: self.flag("bias", true)?,
            }),
            "BatchNorm1d" | "BatchNorm2d" | "BatchNorm3d" => Box::new(nn::BatchNorm {
                dims,
                num_features: self.size("num_features")?,
                eps: self.float("eps", 1e-5)?,
            }),
            "LayerNorm" => {
                let n = match self.get("normalized_shape").map(|v| v.value) {
                    Some(Json::Array(items)) => items.len(),
                    _ => 1,
                };
                let shape = self.sizes("normalized_shape", n, None, 1)?;
                let normalized_shape = shape.iter().map(|v| *v as usize).collect();
                let affine = self.flag("elementwise_affine", true)?;
                Box::new(nn::LayerNorm {
                    normalized_shape,
                    eps: self.float("eps", 1e-5)?,
                    weight: affine,
                    bias: self.flag("bias", true)? && affine,
                })
            }
            "GroupNorm" => Box::new(nn::GroupNorm {
                num_groups: self.size("num_groups")?,
                num_channels: self.size("num_channels")?,
                eps: self.float("eps", 1e-5)?,
                affine: self.flag("affine", true)?,
            }),
            "InstanceNorm1d" | "InstanceNorm2d" | "InstanceNorm3d" => {
                self.only_false("track_running_stats")?;
                Box::new(nn::InstanceNorm {
                    dims,
                    num_features: self.size("num_features")?,
                    eps: self.float("eps", 1e-5)?,
                    affine: self.flag("affine", false)?,
                })
            }
            "PixelUnshuffle" => Box::new(nn::PixelUnshuffle { downscale_factor: self.size("downscale_factor")? }),
            "PReLU" => Box::new(nn::PReLU {
                num_parameters: self.sizes("num_parameters", 1, Some(vec![1]), 1)?[0] as usize,
                init: self.float("init", 0.25)?,
            }),
            "Embedding" => Box::new(nn::Embedding {
                num_embeddings: self.size("num_embeddings")?,
                embedding_dim: self.size("embedding_dim")?,
            }),
            "EmbeddingBag" => Box::new(nn::EmbeddingBag {
                num_embeddings: self.size("num_embeddings")?,
                embedding_dim: self.size("embedding_dim")?,
                mode: match self.get("mode") {
                    None => "mean".to_owned(),
                    Some(v) => self.builder.string(&v)?,
                },
                include_last_offset: self.flag("include_last_offset", false)?,
                padding_idx: self.opt_int("padding_idx")?,
            }),
            "LSTMCell" | "GRUCell" | "RNNCell" => Box::new(nn::RecurrentCell {
                kind: self.recurrent_kind()?,
                input_size: self.size("input_size")?,
                hidden_size: self.size("hidden_size")?,
                bias: self.flag("bias", true)?,
            }),
            "LSTM" | "GRU" | "RNN" => Box::new(nn::Recurrent {
                kind: self.recurrent_kind()?,
                input_size: self.size("input_size")?,
                hidden_size: self.size("hidden_size")?,
                num_layers: self.layers()?,
                bias: self.flag("bias", true)?,
                batch_first: self.flag("batch_first", false)?,
                bidirectional: self.flag("bidirectional", false)?,
            }),
            "MultiheadAttention" => {
                if !self.flag("batch_first", false)? {
                    return Err(self
                        .builder
                        .error(self.at, "MultiheadAttention needs batch_first=true")
                        .with_hint("permute its input if time comes first"));
                }
                Box::new(nn::MultiheadAttention {
                    embed_dim: self.size("embed_dim")?,
                    num_heads: self.size("num_heads")?,
                })
            }
            "Sequential" => {
                let modules = self.get("modules");
                let modules = self.need("modules", modules)?;
                // Their `$name`s are already replaced.
                let items = self.builder.list(&modules)?;
                Box::new(self.builder.sequence(items, &Scope::new(), 0)?)
            }
            "QuantWrapper" => {
                let module = self.get("module");
                let module = self.need("module", module)?;
                Box::new(nn::QuantWrapper::new(self.builder.module(&module, &Scope::new(), 1)?))
            }
            "FloatFunctional" => Box::new(nn::FloatFunctional),
            _ => Box::new(self.simple(dims)?),
        };
        match self.values.iter().find(|(n, _)| !self.used.contains(n)) {
            None => Ok(module),
            Some((name, v)) => Err(self.builder.error(v, format!("{} has no `{name}`", self.type_name)).with_hint(
                if self.used.is_empty() {
                    "it has none".to_owned()
                } else {
                    format!("it has: {}", self.used.join(", "))
                },
            )),
        }
    }

    fn conv(&mut self, dims: usize) -> Result<nn::Conv, TraceError> {
        let kernel = self.sizes("kernel_size", dims, None, 1)?;
        Ok(nn::Conv {
            in_channels: self.size("in_channels")?,
            out_channels: self.size("out_channels")?,
            kernel_size: kernel.iter().map(|v| *v as usize).collect(),
            stride: self.sizes("stride", dims, Some(vec![1; dims]), 1)?,
            padding: self.sizes("padding", dims, Some(vec![0; dims]), 0)?,
            dilation: self.sizes("dilation", dims, Some(vec![1; dims]), 1)?,
            groups: self.sizes("groups", 1, Some(vec![1]), 1)?[0] as usize,
            bias: self.flag("bias", true)?,
        })
    }

    /// The window of a pooling.
    fn window(&mut self, dims: usize) -> Result<Attrs, TraceError> {
        let kernel = self.sizes("kernel_size", dims, None, 1)?;
        Ok(Attrs::new()
            .with("stride", self.sizes("stride", dims, Some(kernel.clone()), 1)?)
            .with("padding", self.sizes("padding", dims, Some(vec![0; dims]), 0)?)
            .with("ceil_mode", self.flag("ceil_mode", false)?)
            .with("kernel_size", kernel))
    }

    /// `size` or `scale_factor` of a resampling, one number or one for each dimension.
    fn resized(&mut self) -> Result<Attrs, TraceError> {
        let (size, factor) = (self.get("size"), self.get("scale_factor"));
        let numbers = |name: &str, v: &Spanned| -> Result<Vec<f64>, TraceError> {
            let items = match &v.value {
                Json::Array(items) => items.iter().map(|i| &i.value).collect(),
                one => vec![one],
            };
            let number = |v: &Json| if let Json::Number(v) = v { Some(*v) } else { None };
            let list: Option<Vec<f64>> = items.into_iter().map(number).collect();
            list.ok_or_else(|| self.wrong(name, v, "a number or a list of them"))
        };
        match (&size, &factor) {
            (Some(v), None) => {
                let list = numbers("size", v)?;
                let sizes = list.iter().map(|n| integer(&Json::Number(*n)).filter(|n| *n > 0));
                let sizes: Option<Vec<i64>> = sizes.collect();
                let sizes = sizes.ok_or_else(|| self.builder.error(v, "`size` must be of whole numbers above 0"))?;
                Ok(Attrs::new().with("size", sizes))
            }
            (None, Some(v)) => {
                let list: Vec<f32> = numbers("scale_factor", v)?.into_iter().map(|n| n as f32).collect();
                Ok(Attrs::new().with("scale_factor", list))
            }
            _ => Err(self.builder.error(self.at, format!("{} needs either `size` or `scale_factor`", self.type_name))),
        }
    }

    fn upsample(&mut self) -> Result<Attrs, TraceError> {
        let attrs = self.resized()?;
        let mode = self.get("mode");
        let name = mode.as_ref().map_or(Ok("nearest".to_owned()), |v| self.builder.string(v))?;
        let align = self.flag("align_corners", false)?;
        match &*name {
            "nearest" | "nearest-exact" if align => {
                let text = format!("`align_corners` of Upsample is not for the mode {name}");
                Err(self.builder.error(self.at, text).with_hint("only linear modes have it"))
            }
            "nearest-exact" => Ok(attrs.with("mode", "nearest").with("coordinates", "tf_half_pixel_for_nn")),
            "nearest" => Ok(attrs.with("mode", "nearest")),
            "linear" | "bilinear" | "trilinear" if align => {
                Ok(attrs.with("mode", &*name).with("coordinates", "align_corners"))
            }
            "linear" | "bilinear" | "trilinear" => Ok(attrs.with("mode", &*name)),
            other => Err(self
                .builder
                .error(mode.as_ref().unwrap_or(self.at), format!("`mode` of Upsample is {other:?}"))
                .with_hint("nearest, nearest-exact, linear, bilinear or trilinear")),
        }
    }

    fn simple(&mut self, dims: usize) -> Result<nn::Simple, TraceError> {
        if let Some((ty, op)) = PLAIN.iter().find(|(ty, _)| *ty == self.type_name) {
            return Ok(nn::Simple::new(ty, op, Attrs::new()));
        }
        let attrs = Attrs::new();
        Ok(match self.type_name {
            "MaxPool1d" | "MaxPool2d" | "MaxPool3d" => {
                let mut attrs = self.window(dims)?;
                let dilation = self.sizes("dilation", dims, Some(vec![1; dims]), 1)?;
                if dilation.iter().any(|d| *d != 1) {
                    attrs.set("dilation", dilation);
                }
                of_dims(&MAX_POOLS, dims, attrs)
            }
            "AvgPool1d" | "AvgPool2d" | "AvgPool3d" => {
                let attrs = self.window(dims)?.with("count_include_pad", self.flag("count_include_pad", true)?);
                of_dims(&AVG_POOLS, dims, attrs)
            }
            "AdaptiveAvgPool1d" | "AdaptiveAvgPool2d" | "AdaptiveAvgPool3d" => {
                of_dims(&ADAPTIVE, dims, attrs.with("output_size", self.sizes("output_size", dims, None, 1)?))
            }
            "Upsample" => nn::Simple::new("Upsample", "interpolate", self.upsample()?),
            "UpsamplingNearest2d" => {
                nn::Simple::new("UpsamplingNearest2d", "interpolate", self.resized()?.with("mode", "nearest"))
            }
            "UpsamplingBilinear2d" => {
                let attrs = self.resized()?.with("mode", "bilinear").with("coordinates", "align_corners");
                nn::Simple::new("UpsamplingBilinear2d", "interpolate", attrs)
            }
            "PixelShuffle" => {
                let factor = self.sizes("upscale_factor", 1, None, 1)?[0];
                nn::Simple::new("PixelShuffle", "pixel_shuffle", attrs.with("upscale_factor", factor))
            }
            "Flatten" => {
                let attrs = attrs
                    .with("start_dim", self.opt_int("start_dim")?.unwrap_or(1))
                    .with("end_dim", self.opt_int("end_dim")?.unwrap_or(-1));
                nn::Simple::new("Flatten", "flatten", attrs)
            }
            "Dropout" => {
                self.float("p", 0.5)?;
                self.only_false("inplace")?;
                nn::Simple::new("Dropout", "dropout", attrs)
            }
            "GELU" => {
                let approximate = match self.get("approximate") {
                    None => "none".to_owned(),
                    Some(v) => self.builder.string(&v)?,
                };
                nn::Simple::new("GELU", "gelu", attrs.with("approximate", approximate))
            }
            "LeakyReLU" => nn::Simple::new(
                "LeakyReLU",
                "leaky_relu",
                attrs.with("negative_slope", self.float("negative_slope", 0.01)?),
            ),
            "ELU" => nn::Simple::new("ELU", "elu", attrs.with("alpha", self.float("alpha", 1.0)?)),
            "CELU" => {
                let alpha = self.float("alpha", 1.0)?;
                if alpha == 0.0 {
                    return Err(self.builder.error(self.at, "`alpha` of CELU can't be 0"));
                }
                nn::Simple::new("CELU", "celu", attrs.with("alpha", alpha))
            }
            "Threshold" => {
                let given = [self.opt_float("threshold")?, self.opt_float("value")?];
                let (threshold, value) = (self.need("threshold", given[0])?, self.need("value", given[1])?);
                nn::Simple::new("Threshold", "threshold", attrs.with("threshold", threshold).with("value", value))
            }
            "Hardtanh" => {
                let (min, max) = (self.float("min_val", -1.0)?, self.float("max_val", 1.0)?);
                if min > max {
                    let text = format!("`min_val` of Hardtanh is {min}, `max_val` {max}");
                    return Err(self.builder.error(self.at, text));
                }
                nn::Simple::new("Hardtanh", "clamp", attrs.with("min", min).with("max", max))
            }
            "Softmax" | "LogSoftmax" => {
                let dim = self.opt_int("dim")?;
                let attrs = attrs.with("dim", self.need("dim", dim)?);
                if self.type_name == "Softmax" {
                    nn::Simple::new("Softmax", "softmax", attrs)
                } else {
                    nn::Simple::new("LogSoftmax", "log_softmax", attrs)
                }
            }
            unknown => {
                let classes = self.builder.classes.iter().map(|(n, _)| *n);
                let known: Vec<_> = classes.chain(OTHERS.iter().copied()).chain(PLAIN.iter().map(|p| p.0)).collect();
                return Err(self
                    .builder
                    .error(self.at, format!("there is no module type `{unknown}`"))
                    .with_hint(format!("known: {}", known.join(", "))));
            }
        })
    }
}
