//! Speed of the integer convolutions and matrix products on the layers of real networks, one thread, every tier.
//!
//! `cargo bench -p quantc-kernels-x86 --bench integer [-- PART_OF_A_NAME]`. Tiers are measured in turn, and medians
//! reported, so that a busy machine bends the figures of all of them alike; the best run is what the kernel can do.

mod timing;

use std::hint::black_box;

use quantc_kernels::{
    ConvArgs, ConvGeometry, ConvPlan, Epilogue, Kernels, MatmulShape, Output, RightLayout, SLACK, ZeroPoints,
};
use timing::measure;

/// One shape of a network, and how many times the network has it.
struct Layer {
    network: &'static str,
    geometry: ConvGeometry,
    count: usize,
}

/// `size`: input height and width; padding keeps `size / stride`.
fn conv(size: usize, c: usize, oc: usize, kernel: usize, stride: usize) -> ConvGeometry {
    let pad = (kernel - 1) / 2;
    ConvGeometry {
        n: 1,
        h: size,
        w: size,
        c,
        oh: 0,
        ow: 0,
        oc,
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1; 2],
        pad: [pad; 4],
        groups: 1,
    }
    .with_output_size()
    .expect("the layers below are valid")
}

fn resnet50() -> Vec<Layer> {
    let mut layers = vec![(conv(224, 3, 64, 7, 2), 1), (ConvGeometry::linear(1, 2048, 1000), 1)];
    let mut c = 64;
    for (size, width, blocks, stride) in [(56, 64, 3, 1), (56, 128, 4, 2), (28, 256, 6, 2), (14, 512, 3, 2)] {
        let out = size / stride;
        layers.extend([
            (conv(size, c, width, 1, 1), 1),
            (conv(size, width, width, 3, stride), 1),
            (conv(size, c, 4 * width, 1, stride), 1),
            (conv(out, 4 * width, width, 1, 1), blocks - 1),
            (conv(out, width, width, 3, 1), blocks - 1),
            (conv(out, width, 4 * width, 1, 1), blocks),
        ]);
        c = 4 * width;
    }
    layers.into_iter().map(|(geometry, count)| Layer { network: "resnet50", geometry, count }).collect()
}

/// Without its depthwise layers.
fn mobilenet_v2() -> Vec<Layer> {
    let mut layers = vec![
        (conv(224, 3, 32, 3, 2), 1),
        (conv(112, 32, 16, 1, 1), 1),
        (conv(7, 320, 1280, 1, 1), 1),
        (ConvGeometry::linear(1, 1280, 1000), 1),
    ];
    let mut c = 16;
    let mut size = 112;
    let stages = [(24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1)];
    for (width, blocks, stride) in stages {
        let out = size / stride;
        layers.extend([(conv(size, c, 6 * c, 1, 1), 1), (conv(out, 6 * c, width, 1, 1), 1)]);
        layers
            .extend([(conv(out, width, 6 * width, 1, 1), blocks - 1), (conv(out, 6 * width, width, 1, 1), blocks - 1)]);
        (c, size) = (width, out);
    }
    layers.into_iter().map(|(geometry, count)| Layer { network: "mobilenet_v2", geometry, count }).collect()
}

fn others() -> Vec<Layer> {
    let grouped = |c, groups| ConvGeometry { groups, ..conv(28, c, c, 3, 1) };
    let layers = [
        ("cifar_resnet", conv(32, 16, 16, 3, 1)),
        ("cifar_resnet", conv(16, 32, 32, 3, 1)),
        ("cifar_resnet", conv(8, 64, 64, 3, 1)),
        ("dncnn", conv(128, 64, 64, 3, 1)),
        ("resnext", grouped(256, 32)),
        ("linear", ConvGeometry::linear(1, 1024, 4096)),
        ("linear", ConvGeometry::linear(8, 384, 1536)),
        ("linear", ConvGeometry::linear(128, 384, 1536)),
        ("linear", ConvGeometry::linear(512, 1024, 1024)),
    ];
    layers.into_iter().map(|(network, geometry)| Layer { network, geometry, count: 1 }).collect()
}

/// Rows, columns and depth of the products that `benches/gemm_peers.py` measures other libraries on.
fn gemms() -> Vec<Layer> {
    let shapes = [
        (128, 384, 384),
        (128, 1536, 384),
        (128, 384, 1536),
        (1, 4096, 4096),
        (1024, 1024, 1024),
        (3136, 64, 576),
        (196, 256, 2304),
        (49, 512, 4608),
    ];
    let layer = |(m, n, k)| Layer { network: "gemm", geometry: ConvGeometry::linear(m, k, n), count: 1 };
    shapes.into_iter().map(layer).collect()
}

/// Values that look random and are the same each time.
fn noise(len: usize) -> impl Iterator<Item = u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_769) >> 17) as u8)
}

fn time_conv(tiers: &[Kernels], g: &ConvGeometry) -> Vec<[f64; 2]> {
    let x: Vec<u8> = noise(g.x_len() + SLACK).collect();
    let weights: Vec<i8> = noise(g.weight_shape().len()).map(|w| w as i8).collect();
    let scale = vec![1e-4; g.oc];
    let epilogue = Epilogue::Requantize { multiplier: &scale, zero_point: 3, clamp: (3, 255) };
    let plan = ConvPlan::new(*g).expect("a valid geometry");
    let mut runs: Vec<Box<dyn FnMut() + '_>> = Vec::new();
    for kernels in tiers {
        let weights = kernels.qconv.pack(&g.weight_shape(), &weights);
        let mut offsets = vec![0; g.oc];
        weights.offsets(None, 128, &mut offsets);
        let mut scratch = vec![0; kernels.qconv.scratch_len(&plan)];
        let mut out = vec![0; g.rows() * g.oc];
        let (x, plan, epilogue, rows, oc) = (&x, &plan, &epilogue, g.rows(), g.oc);
        runs.push(Box::new(move || {
            let args = ConvArgs { plan, weights: &weights, x, x_zero_point: 128, offsets: &offsets, epilogue };
            kernels.qconv.run(&args, 0..rows, Output::u8(&mut out, oc), &mut scratch);
            black_box(&out);
        }));
    }
    measure(&mut runs)
}

fn time_matmul(tiers: &[Kernels], shape: &MatmulShape) -> Vec<[f64; 2]> {
    let a: Vec<u8> = noise(shape.a_len()).collect();
    let b: Vec<u8> = noise(shape.b_len()).collect();
    let scale = vec![1e-4; shape.n];
    let epilogue = Epilogue::Requantize { multiplier: &scale, zero_point: 3, clamp: (3, 255) };
    let zero_points = ZeroPoints { a: 120, b: 130 };
    let mut runs: Vec<Box<dyn FnMut() + '_>> = Vec::new();
    for kernels in tiers {
        let mut packed = vec![0; kernels.qmatmul.packed_len(shape.k, shape.n)];
        let mut out = vec![0; shape.m * shape.n];
        let (a, b, epilogue) = (&a, &b, &epilogue);
        runs.push(Box::new(move || {
            kernels.qmatmul.pack(shape, b, zero_points, &mut packed);
            let out_ref = Output::u8(&mut out, shape.n);
            kernels.qmatmul.run(shape, a, &packed, zero_points, 0..shape.m, epilogue, out_ref);
            black_box(&out);
        }));
    }
    measure(&mut runs)
}

fn report(name: &str, macs: usize, times: &[[f64; 2]]) {
    print!("{name:52} {:8.2} Mmac", macs as f64 / 1e6);
    for [median, best] in times {
        print!(
            " {:9.3} ms {:7.1} (best {:7.1}) GMAC/s",
            median * 1e3,
            macs as f64 / median / 1e9,
            macs as f64 / best / 1e9
        );
    }
    println!();
}

fn main() {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let tiers = timing::tiers();
    println!("tiers: {}", tiers.iter().map(|kernels| kernels.isa.name()).collect::<Vec<_>>().join(", "));
    for layers in [resnet50(), mobilenet_v2(), others(), gemms()] {
        let (mut macs, mut total, mut shown) = (0, vec![[0.0; 2]; tiers.len()], 0);
        for Layer { network, geometry: g, count } in layers.iter().filter(|layer| layer.count > 0) {
            let name = format!(
                "{network} {}x{}x{}x{} {}x{} s{} g{} -> {} (x{count})",
                g.n, g.h, g.w, g.c, g.kernel[0], g.kernel[1], g.stride[0], g.groups, g.oc
            );
            if !name.contains(&filter) {
                continue;
            }
            let times = time_conv(&tiers, g);
            report(&name, g.macs(), &times);
            macs += g.macs() * count;
            shown += 1;
            for (total, time) in total.iter_mut().flatten().zip(times.iter().flatten()) {
                *total += time * *count as f64;
            }
        }
        if shown > 1 {
            report("  sum", macs, &total);
        }
    }
    for (m, k, n, transposed) in
        [(128, 32, 128, true), (128, 128, 32, false), (48, 64, 48, true), (512, 512, 512, false)]
    {
        let b = if transposed { RightLayout::Transposed { stride: k } } else { RightLayout::RowMajor { stride: n } };
        let shape = MatmulShape { m, k, n, a_stride: k, b };
        let name = format!("matmul {m}x{k}x{n}{}", if transposed { " transposed" } else { "" });
        if name.contains(&filter) {
            report(&name, m * k * n, &time_matmul(&tiers, &shape));
        }
    }
}
