//! Options that several commands share.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use quantc::data::{Batches, NpyRows, Rows, bind_inputs, read_arrays};
use quantc::{Compiled, Error, Model, Preprocess};
use quantc_ir::Graph;
use quantc_pattern::Library;
use quantc_tensor::{Dim, Tensor, TensorType};

/// Samples run at once where the model takes any number.
const BATCH: usize = 16;

/// `[NAME=]FILE`: a file of arrays, for the input of that name.
#[derive(Clone, Debug)]
pub struct NamedFile {
    name: Option<String>,
    path: PathBuf,
}

impl std::str::FromStr for NamedFile {
    type Err = std::convert::Infallible;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        // A file whose own name has an `=` is taken whole.
        Ok(match s.split_once('=') {
            Some((name, path)) if !name.is_empty() && !Path::new(s).exists() => {
                NamedFile { name: Some(name.to_owned()), path: path.into() }
            }
            _ => NamedFile { name: None, path: s.into() },
        })
    }
}

/// Reads the files and cuts them into batches for the model's inputs.
///
/// # Errors
/// If a file cannot be read or does not fit the model.
pub fn load_batches(
    graph: &Graph,
    files: &[NamedFile],
    preprocess: Option<&Path>,
    limit: Option<usize>,
) -> Result<Batches, Error> {
    let preprocess = preprocess.map(Preprocess::read).transpose()?;
    let mut arrays: Vec<(Option<String>, Rows)> = Vec::new();
    let wanted = graph.placeholders().count();
    for file in files {
        if let Some(rows) = NpyRows::open(&file.path)? {
            arrays.push((file.name.clone(), Rows::File(rows)));
            continue;
        }
        let found = read_arrays(&file.path)?;
        let single = found.len() == 1;
        for (name, tensor) in found {
            // A single array is given by position unless the command line names it; in an archive, names are the inputs'.
            let name = file.name.clone().or(if single && wanted == 1 { None } else { name });
            arrays.push((name, tensor.into()));
        }
    }
    Batches::new(graph, bind_inputs(graph, arrays)?, preprocess.as_ref(), BATCH, limit)
}

/// `--patterns DIR`: rules and backends besides those that are embedded.
#[derive(Clone, Debug, clap::Args)]
pub struct PatternsOption {
    /// A folder of .qpat files: rules and backends besides those that are embedded, or in their place if a file has the same name
    #[arg(long, value_name = "DIR")]
    patterns: Option<PathBuf>,
}

impl PatternsOption {
    /// The embedded library, extended by the folder.
    ///
    /// # Errors
    /// Everything wrong with the files.
    pub fn library(&self) -> Result<Cow<'static, Library>, Error> {
        Ok(match &self.patterns {
            Some(dir) => Cow::Owned(Library::with_dir(dir)?),
            None => Cow::Borrowed(Library::builtin()?),
        })
    }

    /// The folder, if one is given.
    pub fn dir(&self) -> Option<&Path> {
        self.patterns.as_deref()
    }
}

/// `NAME=1,48`: the shape of an input.
#[derive(Clone, Debug)]
pub struct ShapeOption {
    name: String,
    shape: Vec<usize>,
}

impl std::str::FromStr for ShapeOption {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (name, dims) = s.split_once('=').ok_or("must be NAME=D,D,...")?;
        let shape = dims
            .split(',')
            .map(|d| d.trim().parse::<usize>().map_err(|_| format!("`{d}` is no dimension")))
            .collect::<Result<_, _>>()?;
        Ok(ShapeOption { name: name.to_owned(), shape })
    }
}

/// Input types with every dimension known: from `--shape`, equal symbols alike, the first dimension from `--batch`.
///
/// # Errors
/// If a dimension stays unknown or a shape does not fit.
pub fn bind_shapes(graph: &Graph, shapes: &[ShapeOption], batch: usize) -> Result<Vec<(String, TensorType)>, Error> {
    let inputs: Vec<_> =
        graph.placeholders().map(|id| (graph.node(id).name().to_owned(), graph.node(id).types()[0].clone())).collect();
    if let Some(s) = shapes.iter().find(|s| !inputs.iter().any(|i| i.0 == s.name)) {
        return Err(Error::Data(format!("--shape: the model has no input `{}`", s.name)));
    }
    let given = |name: &str| shapes.iter().find(|s| s.name == name).map(|s| &s.shape);
    let mut symbols = std::collections::HashMap::new();
    for (name, ty) in &inputs {
        let Some(shape) = given(name) else { continue };
        if !ty.shape.compatible(&shape.as_slice().into()) {
            return Err(Error::Data(format!("--shape {name}={shape:?} does not fit {ty}")));
        }
        for (dim, size) in ty.shape.dims().iter().zip(shape) {
            if let Dim::Symbol(symbol) = dim {
                symbols.entry(symbol.clone()).or_insert(*size);
            }
        }
    }
    inputs
        .into_iter()
        .map(|(name, ty)| {
            let dims = ty.shape.dims().iter().enumerate().map(|(i, dim)| match dim {
                Dim::Known(n) => Ok(*n),
                _ if given(&name).is_some() => Ok(given(&name).map_or(0, |s| s[i])),
                Dim::Symbol(s) if symbols.contains_key(s) => Ok(symbols[s]),
                _ if i == 0 => Ok(batch),
                _ => Err(Error::Data(format!(
                    "the dimension {i} of the input `{name}`: {ty} is not known (hint: --shape {name}=D,D,...)"
                ))),
            });
            let shape: Vec<usize> = dims.collect::<Result<_, _>>()?;
            Ok((name, TensorType::new(ty.dtype, shape.as_slice())))
        })
        .collect()
}

/// Loads a model of any kind, ready to run.
///
/// # Errors
/// If it cannot be loaded.
pub fn load_compiled(path: &Path, threads: usize) -> Result<(Model, Compiled), Error> {
    let model = Model::load(path)?;
    let rules = quantc_pattern::RuleSet::builtin()?;
    let compiled = Compiled::new(&model, &rules, threads)?;
    Ok((model, compiled))
}

/// Runs all samples under a progress bar.
///
/// # Errors
/// If a batch fails.
pub fn run_all(compiled: &mut Compiled, batches: &Batches, what: &str) -> Result<Vec<(String, Tensor)>, Error> {
    let bar = super::ui::progress(what, batches.samples());
    let outputs = compiled.run_batches(batches, |done| bar.set_position(done as u64));
    bar.finish_and_clear();
    outputs
}

/// Most threads that may be asked for: more only cost time to start.
const MAX_THREADS: usize = 1024;

/// `--threads`.
///
/// # Errors
/// If it is no number from 1 to [`MAX_THREADS`].
pub fn thread_count(s: &str) -> Result<usize, String> {
    let n = s.parse().ok().filter(|n| (1..=MAX_THREADS).contains(n));
    n.ok_or_else(|| format!("must be a number from 1 to {MAX_THREADS}"))
}

/// The number of threads: as asked, or all the machine has.
pub fn threads(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into))
}
