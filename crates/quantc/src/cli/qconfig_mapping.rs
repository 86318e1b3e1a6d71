//! `quantc qconfig-mapping`.

use std::path::PathBuf;

use quantc::{Error, Model, files};
use quantc_frontend::onnx;
use quantc_ir::Graph;
use quantc_quant::qconfig_mapping::{
    MappingError, QConfigMapping, Resolver, Shadowed, get_default_qat_qconfig_mapping, get_default_qconfig_mapping,
    get_symmetric_qnnpack_qat_qconfig_mapping, get_symmetric_qnnpack_qconfig_mapping,
};
use quantc_quant::{ObserverSpec, QConfig};
use serde::Serialize;

use super::ui;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Print one of PyTorch's default mappings as JSON, to be read by --qconfig-mapping
    Default(DefaultArgs),
    /// Say which entry of a mapping each call of a model goes by, and which entries others come before
    Resolve(ResolveArgs),
}

/// Arguments of `default`.
#[derive(Debug, clap::Args)]
pub struct DefaultArgs {
    /// x86, fbgemm, qnnpack or onednn
    #[arg(default_value = "x86")]
    backend: String,
    /// For training
    #[arg(long)]
    qat: bool,
    /// Which of PyTorch's versions; for training 1 unless given, else 0
    #[arg(long, conflicts_with = "symmetric")]
    preset_version: Option<u32>,
    /// Signed activations; of qnnpack alone
    #[arg(long)]
    symmetric: bool,
}

/// Arguments of `resolve`.
#[derive(Debug, clap::Args)]
pub struct ResolveArgs {
    /// The float model: .onnx, .json (description), .qg (text form)
    model: PathBuf,
    /// The mapping
    mapping: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Runs one subcommand.
///
/// # Errors
/// The one message that the user sees.
pub fn run(command: &Command) -> Result<(), Error> {
    match command {
        Command::Default(args) => default(args),
        Command::Resolve(args) => resolve(args),
    }
}

fn default(args: &DefaultArgs) -> Result<(), Error> {
    let data = |e: &dyn std::error::Error| Error::Data(e.to_string());
    let mapping = match (args.symmetric, args.qat) {
        (true, _) if args.backend != "qnnpack" => {
            return Err(Error::Data(format!("--symmetric: PyTorch has it for qnnpack, not for {}", args.backend)));
        }
        (true, false) => get_symmetric_qnnpack_qconfig_mapping(),
        (true, true) => get_symmetric_qnnpack_qat_qconfig_mapping(),
        (false, false) => {
            get_default_qconfig_mapping(&args.backend, args.preset_version.unwrap_or(0)).map_err(|e| data(&e))?
        }
        (false, true) => {
            get_default_qat_qconfig_mapping(&args.backend, args.preset_version.unwrap_or(1)).map_err(|e| data(&e))?
        }
    };
    ui::print_json(&mapping.to_json().map_err(|e| data(&e))?)
}

/// A call and the entry it goes by.
#[derive(Serialize)]
struct Row {
    call: String,
    op: String,
    origin: String,
    entry: String,
    qconfig: Option<String>,
}

#[derive(Serialize)]
struct Report {
    calls: Vec<Row>,
    shadowed: Vec<Shadowed>,
    unused: Vec<String>,
}

fn resolve(args: &ResolveArgs) -> Result<(), Error> {
    let model = Model::load(&args.model)?;
    let in_file = |e: MappingError| Error::file(&args.mapping, e.to_string());
    let mapping = QConfigMapping::from_json(&files::read_text(&args.mapping)?).map_err(in_file)?;
    mapping.check(&model.graph, onnx::operators()).map_err(in_file)?;
    let resolver = mapping.resolver(&model.graph);
    let calls = rows(&model.graph, &resolver);
    let (shadowed, unused) = (resolver.shadowed(), resolver.unused());
    if args.json {
        return ui::print_json(&Report { calls, shadowed, unused });
    }
    let mut cells = vec![["call", "operator", "origin", "entry", "QConfig"].map(str::to_owned).to_vec()];
    cells.extend(
        calls
            .into_iter()
            .map(|r| vec![r.call, r.op, r.origin, r.entry, r.qconfig.unwrap_or_else(|| "none: float".to_owned())]),
    );
    let mut text = ui::table(&cells);
    for Shadowed { entry, by, calls, surprise } in shadowed {
        let why = surprise.map_or(String::new(), |why| format!(" ({why})"));
        text += &format!("`{by}` comes before `{entry}` for {}{why}\n", calls.join(", "));
    }
    for entry in unused {
        text += &format!("`{entry}` has no effect\n");
    }
    ui::print(&text)
}

fn rows(graph: &Graph, resolver: &Resolver<'_>) -> Vec<Row> {
    let row = |id| {
        let node = graph.node(id);
        let resolved = resolver.resolve(id);
        Row {
            call: node.name().to_owned(),
            op: node.call().map_or(String::new(), |(op, _)| op.name().to_owned()),
            origin: node.origins().first().map_or(String::new(), ToString::to_string),
            entry: resolved.entry,
            qconfig: resolved.qconfig.as_deref().map(shown),
        }
    };
    graph.calls().map(row).collect()
}

/// The observers in short.
fn shown(qconfig: &QConfig) -> String {
    let one = |spec: &ObserverSpec| {
        let fake = spec.fake_quantize.map_or("", |f| f.name());
        let open = if fake.is_empty() { "" } else { "/" };
        let dynamic = if spec.is_dynamic { " dynamic" } else { "" };
        format!("{fake}{open}{} {}{dynamic}", spec.name(), spec.dtype.name())
    };
    format!("{}; {}", one(&qconfig.activation), one(&qconfig.weight))
}
