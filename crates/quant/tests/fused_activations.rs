//! Whose QConfig an activation behind a layer goes by.

use quantc_ir::text::parse;
use quantc_pattern::Library;
use quantc_quant::qconfig::named;
use quantc_quant::report::{Decision, QuantReport};
use quantc_quant::{Placement, QConfigMapping, prepare_fx_with};

/// A linear layer and a function behind it, as the default backend takes them.
fn prepared(function: &str, class: &str, mapping: &QConfigMapping, placement: Placement) -> QuantReport {
    let text = format!(
        "graph g(%x: f32[1,2]) {{
  param @w: f32[2,2] = [1, 0.5, -0.25, 1]
  %a = linear(%x, @w)  # fc: Linear(linear, 0)
  %b = {function}(%a)  # act: {class}({function}, 0)
  %y = linear(%b, @w)  # head: Linear(linear, 0)
  return y=%y
}}"
    );
    let graph = parse(&text).unwrap_or_else(|e| panic!("{e}"));
    let library = Library::builtin().unwrap_or_else(|e| panic!("{e}"));
    let backend = library.backend("x86").unwrap_or_else(|e| panic!("{e}"));
    prepare_fx_with(&graph, mapping, backend, placement).unwrap_or_else(|e| panic!("{e}")).report
}

/// What the function runs by: pattern and entry of the mapping.
fn decision(report: &QuantReport) -> Option<(&str, &str)> {
    let row = report.nodes.iter().find(|row| row.name == "b").expect("a row");
    match &row.decision {
        Decision::Quantized { pattern, qconfig_entry, .. } => Some((pattern.as_str(), qconfig_entry.as_str())),
        Decision::Float { .. } => None,
    }
}

const PLACEMENTS: [Placement; 2] = [Placement::Quantc, Placement::PyTorch];

/// PyTorch has the function for itself (measured with 2.8.0: it has the observer of its own entry).
#[test]
fn a_function_that_pytorch_does_not_fuse_has_its_own_qconfig() {
    let all = QConfigMapping::new().set_global(named("minmax"));
    let null = [
        all.clone().set_module_name("act", None),
        all.clone().set_module_name_regex("a.t", None).unwrap_or_else(|e| panic!("{e}")),
        all.clone().set_object_type("ELU", None),
        all.clone().set_module_name_object_type_order("", "ELU", 0, None),
    ];
    for placement in PLACEMENTS {
        assert_eq!(decision(&prepared("elu", "ELU", &all, placement)), Some(("linear-function", "global")));
        for mapping in &null {
            let report = prepared("elu", "ELU", mapping, placement);
            assert_eq!((decision(&report), &report.overruled[..]), (None, &[][..]));
        }
        let other = all.clone().set_module_name("act", named("histogram"));
        let report = prepared("elu", "ELU", &other, placement);
        assert_eq!(decision(&report), Some(("unary/elu", "module_name act")));
        // The same observers under another entry are no reason to run apart.
        let alike = all.clone().set_module_name("act", named("minmax"));
        assert_eq!(decision(&prepared("elu", "ELU", &alike, placement)), Some(("linear-function", "global")));
    }
}

/// PyTorch fuses a ReLU whatever names it; the report says which entry does not count.
#[test]
fn a_relu_goes_by_its_layer() {
    let all = QConfigMapping::new().set_global(named("minmax"));
    let null = [
        (all.clone().set_module_name("act", None), "module_name act"),
        (all.clone().set_object_type("torch.nn.ReLU", None), "object_type torch.nn.ReLU"),
        (all.clone().set_module_name("act", named("histogram")), "module_name act"),
    ];
    for placement in PLACEMENTS {
        for (mapping, entry) in &null {
            let report = prepared("relu", "ReLU", mapping, placement);
            assert_eq!(decision(&report), Some(("linear-activation", "global")));
            let said: Vec<String> = report.overruled.iter().map(ToString::to_string).collect();
            assert_eq!(
                said,
                [format!("`global` comes before `{entry}` for b, which is fused with the layer before it")]
            );
        }
        let apart = all.clone().set_object_type("Linear", named("minmax")).set_object_type("ReLU", named("histogram"));
        let report = prepared("relu", "ReLU", &apart, placement);
        assert_eq!(decision(&report).map(|d| d.1), Some("object_type ReLU"));
        assert!(report.overruled.is_empty());
    }
}
