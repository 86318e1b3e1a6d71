//! Whole quantized models have the same bits on every ISA tier and architecture: those that are written down here. Tiers of AVX-VNNI and
//! AMX run on any machine that has the tiers below them, with their instructions emulated where it lacks them.

mod models;
#[path = "../common/tiers.rs"]
mod tiers;

use std::sync::Arc;

use models::{Inputs, models};
use quantc_ir::Graph;
use quantc_kernels::Kernels;
use quantc_lower::{WeightCache, lower_for};
use quantc_runtime::{Executor, Threads};
use quantc_tensor::{Tensor, TensorType};

/// The hash of each model's outputs.
const GOLDEN: &[(&str, u64)] = &[
    ("demo", 0x5879_ce0c_2dc5_b84d),
    ("mobilenet_v2", 0x5494_6ad9_de9a_2b39),
    ("resnet18", 0xbd50_1e30_16de_8ad5),
    ("transformer_encoder", 0xd3a6_f874_bf11_038e),
    ("transformer_encoder, dynamic", 0x33d7_dc93_eb0d_3cd4),
    ("lstm_classifier", 0xa799_6bdb_cc81_89b0),
    ("images", 0xbade_01e9_6025_0d7d),
    ("signals", 0xd6d3_ffc3_8203_5204),
    ("random 1", 0xf006_4057_c10d_3d40),
    ("random 2", 0x6c8c_053d_1122_4979),
    ("random 3", 0x89b9_6324_c836_5065),
];

/// FNV-1a.
struct Hash(u64);

impl Hash {
    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn tensor(&mut self, tensor: &Tensor) {
        self.add(tensor.ty().to_string().as_bytes());
        let mut bytes = vec![0; tensor.byte_len()];
        quantc_runtime::store(tensor, &mut bytes).expect("stores");
        self.add(&bytes);
    }
}

/// The hash of the outputs of all runs on a tier, none of whose plans is without a kernel of that tier.
fn run(graph: &Graph, runs: &[Inputs], kernels: Kernels) -> u64 {
    let mut hash = Hash(0xcbf2_9ce4_8422_2325);
    for inputs in runs {
        let types: Vec<(&str, TensorType)> = inputs.iter().map(|(n, t)| (n.as_str(), t.ty())).collect();
        let plan = lower_for(graph, &types, kernels, &WeightCache::new()).unwrap_or_else(|e| panic!("{e}\n{graph}"));
        let tier = kernels.isa.name();
        assert!(plan.describe().any(|step| step.tier == tier), "no kernel of {tier}: {plan:#?}");
        let mut executor = Executor::new(Arc::new(plan), Threads::new(1).expect("threads"));
        let tensors: Vec<Tensor> = inputs.iter().map(|(_, t)| t.clone()).collect();
        for output in executor.run(&tensors).unwrap_or_else(|e| panic!("{e}\n{graph}")) {
            hash.tensor(&output);
        }
    }
    hash.0
}

#[test]
fn every_tier_has_the_bits_written_down() {
    let tiers = tiers::tiers();
    let mut wrong = Vec::new();
    for (name, model) in models() {
        let graph = model.quantize();
        for kernels in &tiers {
            let hash = run(&graph, &model.runs, *kernels);
            if !GOLDEN.contains(&(name, hash)) {
                wrong.push(format!("{name} on {}: {hash:#018x}", kernels.isa));
            }
        }
    }
    assert!(wrong.is_empty(), "other bits than those written down:\n{}", wrong.join("\n"));
}
