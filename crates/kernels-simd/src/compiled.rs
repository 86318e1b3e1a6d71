//! Kernel traits implemented by functions compiled with a tier's instructions: its own, or the portable definition where
//! the compiler vectorises that well. Rust never fuses or reorders float operations, so the bits stay the same.

/// Methods of a kernel trait that call a portable body compiled with the given target features.
#[macro_export]
macro_rules! compiled {
    ($features:literal: $(fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? = $body:path;)*) => {
        $(fn $name(&self, $($arg: $type),*) $(-> $result)? {
            #[target_feature(enable = $features)]
            #[allow(unused_unsafe, reason = "most bodies are safe functions")]
            fn run($($arg: $type),*) $(-> $result)? {
                // SAFETY: the bodies that are unsafe ask for the tier, which this function has.
                unsafe { $body($($arg),*) }
            }
            // SAFETY: a tier's kernels are registered only on machines that have its features.
            unsafe { run($($arg),*) }
        })*
    };
}

/// Implements `Float` for a tier.
#[macro_export]
macro_rules! compiled_float {
    ($kernels:ty, $name:literal, $features:literal) => {
        impl quantc_kernels::Float for $kernels {
            fn name(&self) -> &'static str {
                $name
            }

            $crate::compiled! { $features:
                fn unary(
                    op: quantc_kernels::UnaryOp, rows: std::ops::Range<usize>, columns: usize,
                    x: quantc_kernels::Operand<'_, f32>, out: quantc_kernels::RowsMut<'_, f32>,
                ) = quantc_kernels::float::body::unary;
                fn binary(
                    op: quantc_kernels::BinaryOp, rows: std::ops::Range<usize>, columns: usize,
                    a: quantc_kernels::Operand<'_, f32>, b: quantc_kernels::Operand<'_, f32>,
                    out: quantc_kernels::RowsMut<'_, f32>,
                ) = quantc_kernels::float::body::binary;
                fn softmax(
                    rows: std::ops::Range<usize>, columns: usize, x: quantc_kernels::Operand<'_, f32>,
                    out: quantc_kernels::RowsMut<'_, f32>,
                ) = quantc_kernels::float::body::softmax;
                fn layer_norm(
                    params: &quantc_kernels::LayerNormParams<'_>, rows: std::ops::Range<usize>, columns: usize,
                    x: quantc_kernels::Operand<'_, f32>, out: quantc_kernels::RowsMut<'_, f32>,
                ) = quantc_kernels::float::body::layer_norm;
                fn reduce(
                    op: quantc_kernels::ReduceOp, rows: std::ops::Range<usize>, columns: usize,
                    x: quantc_kernels::Operand<'_, f32>, out: &mut [f32],
                ) = quantc_kernels::float::body::reduce;
            }
        }
    };
}

/// Implements `Elementwise` for a tier.
#[macro_export]
macro_rules! compiled_elementwise {
    ($kernels:ty, $name:literal, $features:literal, add = $add:path, mul = $mul:path, affine = $affine:path, lookup = $lookup:path) => {
        impl quantc_kernels::Elementwise for $kernels {
            fn name(&self) -> &'static str {
                $name
            }

            $crate::compiled! { $features:
                fn add(
                    params: &quantc_kernels::AddParams, rows: std::ops::Range<usize>, columns: usize,
                    a: quantc_kernels::Operand<'_, u8>, b: quantc_kernels::Operand<'_, u8>,
                    out: quantc_kernels::RowsMut<'_, u8>,
                ) = $add;
                fn mul(
                    params: &quantc_kernels::MulParams, rows: std::ops::Range<usize>, columns: usize,
                    a: quantc_kernels::Operand<'_, u8>, b: quantc_kernels::Operand<'_, u8>,
                    out: quantc_kernels::RowsMut<'_, u8>,
                ) = $mul;
                fn affine(
                    params: &quantc_kernels::AffineParams, rows: std::ops::Range<usize>, x: &[u8], x_stride: usize,
                    out: quantc_kernels::RowsMut<'_, u8>,
                ) = $affine;
                fn lookup(
                    table: &[u8; 256], rows: std::ops::Range<usize>, columns: usize,
                    x: quantc_kernels::Operand<'_, u8>, out: quantc_kernels::RowsMut<'_, u8>,
                ) = $lookup;
            }
        }
    };
}

/// Implements `Quantize` for a tier.
#[macro_export]
macro_rules! compiled_quantize {
    ($kernels:ty, $name:literal, $features:literal, quantize = $quantize:path, quantize_to_nhwc = $quantize_to_nhwc:path, dequantize_to_nchw = $dequantize_to_nchw:path) => {
        impl quantc_kernels::Quantize for $kernels {
            fn name(&self) -> &'static str {
                $name
            }

            $crate::compiled! { $features:
                fn quantize(
                    params: &quantc_kernels::QuantizeParams, rows: std::ops::Range<usize>, columns: usize,
                    x: quantc_kernels::Operand<'_, f32>, out: quantc_kernels::RowsMut<'_, u8>,
                ) = $quantize;
                fn quantize_to_nhwc(
                    params: &quantc_kernels::QuantizeParams, image: &[f32], channels: usize,
                    pixels: std::ops::Range<usize>, out: quantc_kernels::RowsMut<'_, u8>,
                ) = $quantize_to_nhwc;
                fn dequantize(
                    params: &quantc_kernels::DequantizeParams, rows: std::ops::Range<usize>, columns: usize,
                    x: quantc_kernels::Operand<'_, u8>, out: quantc_kernels::RowsMut<'_, f32>,
                ) = quantc_kernels::quantize::body::dequantize;
                fn dequantize_to_nchw(
                    params: &quantc_kernels::DequantizeParams, image: &[u8], x_stride: usize,
                    channels: std::ops::Range<usize>, out: &mut [f32],
                ) = $dequantize_to_nchw;
                fn min_max(x: &[f32]) -> quantc_tensor::reduce::MinMax = quantc_tensor::reduce::min_max;
            }
        }
    };
}

/// Implements `QPool` for a tier.
#[macro_export]
macro_rules! compiled_pool {
    ($kernels:ty, $name:literal, $features:literal) => {
        impl quantc_kernels::QPool for $kernels {
            fn name(&self) -> &'static str {
                $name
            }

            $crate::compiled! { $features:
                fn max_pool(
                    geometry: &quantc_kernels::PoolGeometry, x: &[u8], rows: std::ops::Range<usize>,
                    out: quantc_kernels::RowsMut<'_, u8>,
                ) = quantc_kernels::pool::body::max_pool;
                fn avg_pool(
                    geometry: &quantc_kernels::PoolGeometry, params: &quantc_kernels::AvgPoolParams<'_>, x: &[u8],
                    rows: std::ops::Range<usize>, out: quantc_kernels::RowsMut<'_, u8>,
                ) = quantc_kernels::pool::body::avg_pool;
            }
        }
    };
}

/// Implements `FloatPool` for a tier.
#[macro_export]
macro_rules! compiled_float_pool {
    ($kernels:ty, $name:literal, $features:literal) => {
        impl quantc_kernels::FloatPool for $kernels {
            fn name(&self) -> &'static str {
                $name
            }

            $crate::compiled! { $features:
                fn max_pool_f32(
                    geometry: &quantc_kernels::PoolGeometry, x: &[f32], rows: std::ops::Range<usize>,
                    out: quantc_kernels::RowsMut<'_, f32>,
                ) = quantc_kernels::pool::body::max_pool_f32;
                fn avg_pool_f32(
                    geometry: &quantc_kernels::PoolGeometry, count_include_pad: bool, x: &[f32],
                    rows: std::ops::Range<usize>, out: quantc_kernels::RowsMut<'_, f32>,
                ) = quantc_kernels::pool::body::avg_pool_f32;
            }
        }
    };
}

/// Implements `Recurrent` for a tier.
#[macro_export]
macro_rules! compiled_recurrent {
    ($kernels:ty, $name:literal, $features:literal) => {
        impl quantc_kernels::Recurrent for $kernels {
            fn name(&self) -> &'static str {
                $name
            }

            $crate::compiled! { $features:
                fn lstm(gates: &quantc_kernels::LstmGates<'_>, c: &mut [f32], h: &mut [f32])
                    = quantc_kernels::recurrent::body::lstm;
                fn gru_reset(gates: &quantc_kernels::GruGates<'_>, before_reset: bool, h: &[f32], out: &mut [f32])
                    = quantc_kernels::recurrent::body::gru_reset;
                fn gru(gates: &quantc_kernels::GruGates<'_>, before_reset: bool, share: &[f32], h: &mut [f32])
                    = quantc_kernels::recurrent::body::gru;
                fn rnn(
                    gates: &quantc_kernels::RnnGates<'_>, nonlinearity: quantc_kernels::Nonlinearity, h: &mut [f32],
                ) = quantc_kernels::recurrent::body::rnn;
            }
        }
    };
}

/// Implements `Layout` for a tier.
#[macro_export]
macro_rules! compiled_layout {
    ($kernels:ty, $name:literal, $features:literal, transpose_u8 = $transpose_u8:path, transpose_f32 = $transpose_f32:path) => {
        impl quantc_kernels::Layout for $kernels {
            fn name(&self) -> &'static str {
                $name
            }

            $crate::compiled! { $features:
                fn transpose_u8(
                    rows: usize, columns: usize, x: &[u8], x_stride: usize, out: quantc_kernels::RowsMut<'_, u8>,
                ) = $transpose_u8;
                fn transpose_f32(
                    rows: usize, columns: usize, x: &[f32], x_stride: usize, out: quantc_kernels::RowsMut<'_, f32>,
                ) = $transpose_f32;
            }
        }
    };
}
