//! The parts of the documentation that are generated from the code. `QUANTC_BLESS=1` writes them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use quantc_ops::{AttrSpec, InputKind, OpRef, operators};
use quantc_pattern::Phase;
use quantc_pattern::expr::{Arg, FUNCTIONS, Function, Type};

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

/// Holds a file to its text, or writes it.
fn hold(name: &str, wanted: &str) {
    let path = docs(name);
    if std::env::var_os("QUANTC_BLESS").is_some_and(|v| v == "1") {
        fs::write(&path, wanted).expect("written");
    }
    let text = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == wanted,
        "docs/{name} is not what the code says: QUANTC_BLESS=1 cargo test -p quantc-pattern --test docs"
    );
}

fn type_name(ty: Type) -> &'static str {
    match ty {
        Type::Bool => "bool",
        Type::Number => "number",
        Type::Text => "string",
        Type::DType => "dtype",
        Type::List => "list",
        Type::NumberOrList => "number or list",
        Type::Same => "T",
    }
}

fn usage(function: &Function) -> String {
    let mut text = format!("({}", function.name);
    for arg in function.args {
        match arg {
            Arg::Value => text.push_str(" value"),
            Arg::Expr(ty) => text.push_str(&format!(" {}", type_name(*ty))),
            Arg::Each(Type::Same) => text.push_str(" each"),
            Arg::Each(ty) => text.push_str(&format!(" each {}", type_name(*ty))),
        }
    }
    text + if function.variadic { " ..)" } else { ")" }
}

#[test]
fn functions() {
    let mut table = "| function | gives | |\n|---|---|---|\n| `(attr record name)` | its type | an attribute of a record; the default if it was not given |\n".to_owned();
    for function in FUNCTIONS {
        let (usage, result) = (usage(function), type_name(function.result));
        writeln!(table, "| `{usage}` | {result} | {} |", function.doc).expect("a string");
    }
    let text = fs::read_to_string(docs("qpat.md")).expect("the page");
    let (before, rest) = text.split_once("<!-- generated: functions -->\n").expect("a start");
    let (_, after) = rest.split_once("<!-- end -->").expect("an end");
    hold("qpat.md", &format!("{before}<!-- generated: functions -->\n{table}<!-- end -->{after}"));
}

#[test]
fn every_phase_is_described() {
    let text = fs::read_to_string(docs("qpat.md")).expect("the page");
    for (name, _) in Phase::ALL {
        assert!(text.contains(&format!("\n| `{name}` | ")), "docs/qpat.md lacks the phase {name}");
    }
}

fn attribute(spec: &AttrSpec) -> String {
    let default = match spec.default.value() {
        Some(value) => format!(" = {value}"),
        None if spec.default.is_required() => String::new(),
        None => ", may be absent".to_owned(),
    };
    format!("`:{}` {}{default}: {}", spec.name, spec.default.kind(), spec.doc)
}

fn row(op: OpRef) -> String {
    let sig = op.signature();
    let inputs = sig.inputs.iter().map(|i| match i.kind {
        InputKind::Required => i.name.to_owned(),
        InputKind::Optional => format!("{}?", i.name),
        InputKind::Variadic => format!("{} ..", i.name),
    });
    let call = [sig.name.to_owned()].into_iter().chain(inputs).collect::<Vec<_>>().join(" ");
    let attributes = sig.attrs.iter().map(attribute).collect::<Vec<_>>().join("<br>");
    let cell = |text: &str| text.replace('|', "\\|");
    format!("| `({call})` | {} | {} |\n", cell(sig.doc), cell(&attributes))
}

#[test]
fn operators_page() {
    let mut page = "# Operators\n\nGenerated from the table in `crates/ops`. An input with `?` is optional; an attribute without a default must be given.\n\n| operator | | attributes |\n|---|---|---|\n".to_owned();
    operators().for_each(|op| page.push_str(&row(op)));
    hold("operators.md", &page);
}
