//! Random work of every kind of integer kernel, until a set has computed as many outputs as are asked for.
#![allow(dead_code, reason = "each test binary uses its part")]

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use quantc_kernels::Kernels;

use super::support::{self, ConvCase, MatmulCase};
use super::{elem, pool};

/// A kind of kernels, and a random case of it.
#[derive(Clone, Debug)]
pub enum Case {
    Conv(ConvCase),
    Linear(ConvCase),
    Matmul(MatmulCase),
    Depthwise(ConvCase),
    Rows(elem::RowsCase),
    Pool(pool::PoolCase),
}

/// One kind of cases, by its name.
pub type Kind = (&'static str, BoxedStrategy<Case>);

/// The kernels that every tier brings: convolutions, linear layers and products of activations.
pub fn products() -> Vec<Kind> {
    vec![
        ("qconv", support::conv_case().prop_map(Case::Conv).boxed()),
        ("linear", support::linear_case().prop_map(Case::Linear).boxed()),
        ("qmatmul", support::matmul_case().prop_map(Case::Matmul).boxed()),
    ]
}

/// Every kind of integer kernel.
pub fn all() -> Vec<Kind> {
    let mut kinds = products();
    kinds.extend([
        ("qdepthwise", elem::depthwise_case().prop_map(Case::Depthwise).boxed()),
        ("elementwise, quantize", elem::rows_case().prop_map(Case::Rows).boxed()),
        ("qpool", pool::pool_case().prop_map(Case::Pool).boxed()),
    ]);
    kinds
}

impl Case {
    /// Runs the case on all of the sets, which must give the bits of the portable kernels; returns the number of outputs.
    fn check(&self, tiers: &[Kernels]) -> usize {
        let agree = |run: &dyn Fn(&Kernels) -> elem::Results, outputs: usize| {
            let want = run(&Kernels::PORTABLE);
            for kernels in tiers {
                assert_eq!(run(kernels), want, "{}: {self:?}", kernels.isa);
            }
            outputs * want.len()
        };
        match self {
            Case::Conv(case) | Case::Linear(case) => support::check_conv(tiers, case, &case.data()),
            Case::Matmul(case) => support::check_matmul(tiers, case),
            Case::Depthwise(case) => {
                let tiers: Vec<Kernels> = tiers.iter().map(elem::depthwise_as_conv).collect();
                let data = case.data();
                let want = case.run(&elem::depthwise_as_conv(&Kernels::PORTABLE), &data);
                for kernels in tiers {
                    assert!(case.run(&kernels, &data) == want, "{}: {case:?}", kernels.qconv.name());
                }
                case.geometry.rows() * case.geometry.oc
            }
            Case::Rows(case) => agree(&|kernels| case.run_integer(kernels), case.rows.len() * case.columns),
            Case::Pool(case) => agree(&|kernels| case.run_integer(kernels), case.outputs()),
        }
    }
}

/// A number from the environment.
fn variable(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

/// Runs cases until each of the sets has computed `QUANTC_FUZZ_OUTPUTS` elements (`outputs` where it is not set), gaps
/// between rows not counted: always one of the kind with the fewest so far, so that all kinds get equal shares. The
/// cases follow from `QUANTC_FUZZ_SEED`.
pub fn run(tiers: &[Kernels], kinds: Vec<Kind>, outputs: usize) {
    let outputs = variable("QUANTC_FUZZ_OUTPUTS", outputs);
    let seed = variable("QUANTC_FUZZ_SEED", 1) as u64;
    eprintln!("QUANTC_FUZZ_SEED={seed} QUANTC_FUZZ_OUTPUTS={outputs}");
    let mut runner = TestRunner::new(Config { rng_seed: RngSeed::Fixed(seed), ..support::config(1) });
    let mut done: Vec<(usize, usize)> = vec![(0, 0); kinds.len()];
    while done.iter().map(|(outputs, _)| outputs).sum::<usize>() < outputs {
        let (kind, (outputs, cases)) =
            kinds.iter().zip(&mut done).min_by_key(|(_, (outputs, _))| *outputs).expect("some kind");
        *outputs += kind.1.new_tree(&mut runner).expect("a case").current().check(tiers);
        *cases += 1;
    }
    let isas: Vec<_> = tiers.iter().map(|kernels| kernels.isa).collect();
    for ((name, _), (outputs, cases)) in kinds.iter().zip(done) {
        eprintln!("{name}: {outputs} outputs of each of {isas:?}, {cases} cases");
    }
}
