//! Compiled models whose weights lie in the file as one tier packs them.

mod common;

use std::fs;
use std::path::Path;

use common::{arg, quantc_on, refused, stored, write_array};
use quantc_kernels::Isa;

/// Layers that are packed on every tier with panels: 64 output channels are whole vectors.
const MODEL: &str = r#"{
  "name": "small",
  "type": "Small",
  "inputs": {"x": "f32[N,16,6,6]"},
  "outputs": ["y"],
  "modules": {
    "conv1": {"type": "Conv2d", "in_channels": 16, "out_channels": 64, "kernel_size": 3, "padding": 1},
    "conv2": {"type": "Conv2d", "in_channels": 64, "out_channels": 64, "kernel_size": 1, "groups": 2},
    "fc": {"type": "Linear", "in_features": 2304, "out_features": 32}
  },
  "forward": ["return fc(flatten(conv2(relu(conv1(x))), start_dim=1))"]
}"#;

/// Runs the command on a tier.
fn on(isa: Isa, folder: &Path, args: &[&str]) {
    let out = quantc_on(isa, folder, args);
    assert!(out.status.success(), "quantc {}: {}", args.join(" "), String::from_utf8_lossy(&out.stderr));
}

/// A folder with data and the model quantized on a tier.
fn quantized(isa: Isa) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    fs::write(at.join("small.json"), MODEL).expect("written");
    let values = (0..3 * 16 * 36).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
    write_array(&at.join("x.npy"), &[3, 16, 6, 6], values);
    on(isa, at, &["quantize", "small.json", "-o", "m.qtc", "--calibration", "x.npy"]);
    folder
}

/// How many parameters of a file are packed.
fn packed(file: &Path) -> usize {
    let bytes = fs::read(file).expect("readable");
    let key = br#""packed":{"#;
    bytes.windows(key.len()).filter(|w| w == key).count()
}

#[test]
fn a_file_of_any_tier_runs_on_any() {
    let mut outputs = Vec::new();
    for &from in &Isa::available() {
        let folder = quantized(from);
        let at = folder.path();
        let count = packed(&at.join("m.qtc"));
        assert!(if from == Isa::Portable { count == 0 } else { count >= 2 }, "{from}: {count} packed");
        for &to in &Isa::available() {
            on(to, at, &["run", "m.qtc", "--input", "x.npy", "-o", "y.npz"]);
            outputs.push((from, to, stored(&at.join("y.npz"), "y")));
        }
        // The whole model, weights unpacked, is what was written.
        on(from, at, &["inspect", "m.qtc", "--json"]);
        on(from, at, &["explain", "m.qtc"]);
    }
    let (_, _, want) = &outputs[0];
    for (from, to, got) in &outputs {
        let same = want.iter().zip(got).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same && want.shape() == got.shape(), "packed on {from}, run on {to}");
    }
}

#[test]
fn unpacked_values_are_those_that_were_packed() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    fs::write(at.join("small.json"), MODEL).expect("written");
    let graph = quantc::Model::load(&at.join("small.json")).expect("loads").graph;
    let options = quantc::QuantizeOptions::new(quantc::Mode::Dynamic, "x86", None).expect("known");
    let quantized = quantc::quantize(&graph, &options, None, |_| ()).expect("quantizes");
    let graph = &quantized.stages.quantized;
    for &isa in &Isa::available() {
        let bytes = quantc::qtc::encode(graph, &quantized.report, isa).expect("encodes");
        let read = quantc::qtc::decode(&bytes).expect("decodes");
        assert_eq!(read.graph.to_string(), graph.to_string(), "{isa}");
        for (name, param) in graph.params() {
            let (want, got) = (param.value.as_ref(), read.graph.params()[name].value.as_ref());
            assert!(want.zip(got).is_some_and(|(want, got)| want.bits_eq(got)), "{isa}: {name}");
        }
    }
}

#[test]
fn damage_to_packed_weights_is_found() {
    let isa = *Isa::available().last().expect("portable at least");
    let folder = quantized(isa);
    let at = folder.path();
    let file = at.join("m.qtc");
    let good = fs::read(&file).expect("readable");
    let run = ["run", "m.qtc", "--input", "x.npy", "-o", "y.npz"];
    for at_byte in (0..good.len()).step_by(good.len() / 61) {
        let mut bad = good.clone();
        bad[at_byte] ^= 1 << (at_byte % 8);
        fs::write(&file, &bad).expect("written");
        assert!(refused(at, &run).contains("m.qtc"), "byte {at_byte}");
        assert!(refused(at, &["inspect", arg(&file)]).contains("m.qtc"), "byte {at_byte}");
    }
    fs::write(&file, []).expect("written");
    assert!(refused(at, &run).contains("is not a .qtc file"));
}

#[test]
fn the_first_format_is_refused_with_a_hint() {
    let folder = quantized(Isa::Portable);
    let at = folder.path();
    let mut bytes = fs::read(at.join("m.qtc")).expect("readable");
    bytes[4..8].copy_from_slice(&1u32.to_le_bytes());
    // The header's own checksum.
    let crc = crc32(&bytes[..32]);
    bytes[32..36].copy_from_slice(&crc.to_le_bytes());
    fs::write(at.join("m.qtc"), bytes).expect("written");
    let message = refused(at, &["run", "m.qtc", "--input", "x.npy", "-o", "y.npz"]);
    assert!(message.contains("has the format version 1, this quantc reads 2 (hint: quantize again)"), "{message}");
}

/// CRC-32 (IEEE 802.3), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}
