//! What this machine can do at best: multiply-accumulates of a tier's kernels on operands in the nearest caches, and reading memory.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use quantc::Error;
use quantc_kernels::{ConvArgs, ConvGeometry, ConvPlan, Epilogue, Isa, Output, SLACK};
use quantc_ops::float::{Mat, sgemm};
use quantc_runtime::Arithmetic;
use serde::Serialize;

/// How long one thing is repeated.
const SPAN: Duration = Duration::from_millis(6);
/// Rows, depth and columns of products that suit the kernels: their operands take 20 to 160 kB.
const PRODUCTS: [[usize; 3]; 4] = [[240, 256, 64], [240, 512, 96], [480, 256, 64], [192, 1024, 48]];
/// Bytes read to measure memory, over all threads.
const STREAM: usize = 64 << 20;

/// The best rates of all threads together.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Peaks {
    /// Multiply-accumulates of bytes by the tier's own kernel, in 10^9 a second.
    pub int8_gmacs_per_s: f64,
    /// Multiply-accumulates of f32, in 10^9 a second.
    pub float_gmacs_per_s: f64,
    /// Memory read, in 10^9 bytes a second.
    pub memory_gb_per_s: f64,
}

impl Peaks {
    /// Measures for some 60 ms.
    ///
    /// # Errors
    /// If the kernels refuse the sizes.
    pub fn measure(isa: Isa, threads: usize) -> Result<Peaks, Error> {
        let mut peaks = Peaks { int8_gmacs_per_s: 0.0, float_gmacs_per_s: 0.0, memory_gb_per_s: memory(threads) / 1e9 };
        for product in PRODUCTS {
            peaks.int8_gmacs_per_s = peaks.int8_gmacs_per_s.max(int8(isa, threads, product)? / 1e9);
            peaks.float_gmacs_per_s = peaks.float_gmacs_per_s.max(float(threads, product) / 1e9);
        }
        Ok(peaks)
    }

    /// The peak of one kind of products, in 10^9 a second.
    pub fn of(&self, arithmetic: Arithmetic) -> f64 {
        match arithmetic {
            Arithmetic::Int8 => self.int8_gmacs_per_s,
            Arithmetic::Float => self.float_gmacs_per_s,
        }
    }
}

/// What all threads do in a second together: each makes its state and repeats `task`, of `units`; the shortest call counts.
fn rate<S>(threads: usize, units: usize, make: impl Fn() -> S + Sync, task: impl Fn(&mut S) + Sync) -> f64 {
    let start = Barrier::new(threads);
    let worker = || {
        let mut state = make();
        task(&mut state);
        start.wait();
        let (begin, mut best) = (Instant::now(), Duration::MAX);
        while begin.elapsed() < SPAN {
            let before = Instant::now();
            task(&mut state);
            best = best.min(before.elapsed());
        }
        units as f64 / best.as_secs_f64().max(1e-9)
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|w| w.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).sum()
    })
}

/// Bytes multiplied in a second. The weights are small, so that every kernel may take its fastest way.
fn int8(isa: Isa, threads: usize, [rows, depth, columns]: [usize; 3]) -> Result<f64, Error> {
    let geometry = ConvGeometry::linear(rows, depth, columns);
    let plan = ConvPlan::new(geometry).map_err(|e| Error::Data(format!("measuring the peak: {e}")))?;
    let kernel = quantc_runtime::kernels(isa).qconv;
    let weights: Vec<i8> = (0..depth * columns).map(|i| (i % 31) as i8 - 15).collect();
    let weights = kernel.pack(&geometry.weight_shape(), &weights);
    let (x, offsets, multiplier) = (vec![3; rows * depth + SLACK], vec![0; columns], vec![1e-3; columns]);
    let epilogue = Epilogue::Requantize { multiplier: &multiplier, zero_point: 0, clamp: (0, 255) };
    let args =
        ConvArgs { plan: &plan, weights: &weights, x: &x, x_zero_point: 0, offsets: &offsets, epilogue: &epilogue };
    let make = || (vec![0; rows * columns], vec![0; kernel.scratch_len(&plan)]);
    Ok(rate(threads, geometry.macs(), make, |(out, scratch)| {
        kernel.run(&args, 0..rows, Output::u8(out, columns), scratch);
    }))
}

/// f32 multiplied in a second.
fn float(threads: usize, [rows, depth, columns]: [usize; 3]) -> f64 {
    let (a, b) = (vec![0.5; rows * depth], vec![0.5; depth * columns]);
    let make = || vec![0.0; rows * columns];
    rate(threads, rows * depth * columns, make, |out| {
        sgemm(rows, columns, depth, Mat::rows(&a, depth), Mat::rows(&b, columns), out, columns);
    })
}

/// Bytes read from memory in a second.
fn memory(threads: usize) -> f64 {
    let words = STREAM / threads / size_of::<u64>();
    rate(
        threads,
        words * size_of::<u64>(),
        || vec![1u64; words],
        |words| {
            // Eight sums, which the compiler keeps in vectors.
            let mut sums = [0u64; 8];
            for chunk in words.as_chunks::<8>().0 {
                sums.iter_mut().zip(chunk).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
            }
            std::hint::black_box(sums);
        },
    )
}
