//! The reference quantized graph against PyTorch's: with the parameters that torch's observers found, the converted graph's outputs are those of
//! `convert_to_reference_fx` (`golden/reference.json`, written by `scripts/golden_reference.py`).

mod golden_file;
mod torch_models;

use std::collections::HashMap;

use quantc_interp::Interpreter;
use quantc_quant::{ActivationQParams, QConfigMapping, convert_to_reference_fx, qconfig};
use quantc_tensor::{DType, QRange, Tensor};
use quantc_testkit::hashed::hashed_input;
use quantc_testkit::sqnr;
use serde_json::Value as Json;
use torch_models::Units;

fn floats(json: &Json) -> Vec<f64> {
    json.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

#[test]
fn the_reference_graph_computes_what_pytorchs_does() {
    let golden = golden_file::read("reference.json");
    let (mut lines, mut failures) = (Vec::new(), 0);
    for (name, graph) in torch_models::models("64") {
        let expected = &golden["models"][&name];
        let prepared = torch_models::prepare(
            &graph,
            torch_models::backend("fbgemm"),
            &QConfigMapping::default_for(qconfig::named("minmax").expect("a preset")),
        );
        let units = Units::new(&prepared);
        let theirs: HashMap<String, (f32, i32)> = expected["places"]
            .as_array()
            .expect("places")
            .iter()
            .filter_map(|place| {
                let key = place[0].as_str().expect("a key");
                let unit = if key.starts_with("input:") { key } else { units.of_key.get(key)? };
                let (scale, zero_point) = (place[1].as_f64().expect("scale"), place[2].as_i64().expect("zero point"));
                Some((unit.to_owned(), (scale as f32, i32::try_from(zero_point).expect("small"))))
            })
            .collect();
        let range = QRange::full(DType::U8).expect("a quantized type");
        let mut qparams = vec![None; prepared.observers.len()];
        for id in prepared.graph.calls() {
            let Some(slot) = units.observer(id) else { continue };
            let value = prepared.graph.node(id).inputs()[0].expect("an observer has an input");
            let unit = &units.of_node[&value.node];
            let (scale, zero_point) = *theirs.get(unit).unwrap_or_else(|| panic!("{name}: {unit} is not observed"));
            qparams[slot] = Some(ActivationQParams { scale, zero_point, range, seen: (0.0, 0.0) });
        }
        let qparams: Vec<_> = qparams.into_iter().map(|q| q.expect("every observer has a place")).collect();
        let converted = convert_to_reference_fx(&prepared, &qparams).unwrap_or_else(|e| panic!("{name}: {e}"));
        let inputs: Vec<(String, Tensor)> = expected["inputs"]
            .as_object()
            .expect("inputs")
            .iter()
            .map(|(input, sizes)| {
                let sizes: Vec<usize> = floats(sizes).into_iter().map(|s| s as usize).collect();
                (input.clone(), hashed_input("c", input, &sizes))
            })
            .collect();
        let run = |interpreter: Interpreter<'_>| -> Vec<f64> {
            let outputs = interpreter.run(&inputs).unwrap_or_else(|e| panic!("{name}: {e}"));
            outputs.last().expect("an output").1.to_f32_vec().into_iter().map(f64::from).collect()
        };
        let interpreter = || Interpreter::new(&converted.graph);
        let (ours, contract) = (run(interpreter().in_floats()), run(interpreter()));
        let (reference, float) = (floats(&expected["reference"]), floats(&expected["float"]));
        let same = sqnr(&reference, &ours);
        lines.push(format!(
            "{name}: {same:.1} dB to PyTorch's; contract: {:.1} to PyTorch's, {:.1} to float; PyTorch's to float: {:.1}",
            sqnr(&reference, &contract),
            sqnr(&float, &contract),
            sqnr(&float, &reference)
        ));
        failures += u32::from(same <= 60.0);
    }
    println!("{}", lines.join("\n"));
    assert!(failures == 0 && lines.len() == 29, "{failures} of {} below 60 dB\n{}", lines.len(), lines.join("\n"));
}
