//! The AVX-512 VNNI tier.

mod elem;
mod gemm;

use quantc_kernels::Kernels;

use crate::conv::Conv;
use crate::matmul::Matmul;

/// One row per kernel of this tier. Only for machines that have it.
pub(crate) fn register(kernels: &mut Kernels) {
    kernels.qconv = const { &Conv::<gemm::Avx512Vnni>::new() };
    kernels.qmatmul = const { &Matmul::<gemm::Avx512Vnni>::new() };
    elem::register(kernels);
}
