//! Options that several commands share.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quantc::data::{Batches, bind_inputs, read_arrays};
use quantc::{Compiled, Error, Preprocess};
use quantc_ir::Graph;
use quantc_ops::dims::{MAX_ELEMENTS, numel};
use quantc_pattern::Library;
use quantc_tensor::{Dim, Tensor, TensorType};

/// Samples run at once where the model takes any number.
const BATCH: usize = 16;

/// More threads than any machine has cores.
const MAX_THREADS: usize = 1024;

/// `[NAME=]FILE`: a file of arrays, for the input of that name.
#[derive(Clone, Debug)]
pub struct NamedFile {
    name: Option<String>,
    path: PathBuf,
}

impl NamedFile {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
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
    let mut arrays = Vec::new();
    let wanted = graph.placeholders().count();
    for file in files {
        let found = read_arrays(&file.path)?;
        let single = found.len() == 1;
        for (name, tensor) in found {
            // A single array is given by position unless the command line names it; in an archive, names are the inputs'.
            let name = file.name.clone().or(if single && wanted == 1 { None } else { name });
            arrays.push((name, tensor));
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

/// Input types with every dimension known: from `--shape`, equal symbols alike, the first dimension from `--batch` (1 if not given).
///
/// # Errors
/// If a dimension stays unknown, a shape does not fit or contradicts another option, the first dimension of every input is another than
/// `--batch`, or a tensor would be too large.
pub fn bind_shapes(
    graph: &Graph,
    shapes: &[ShapeOption],
    batch: Option<usize>,
) -> Result<Vec<(String, TensorType)>, Error> {
    let batch = batch.map(|n| within("--batch", n, MAX_ELEMENTS)).transpose()?;
    let inputs: Vec<_> =
        graph.placeholders().map(|id| (graph.node(id).name().to_owned(), graph.node(id).types()[0].clone())).collect();
    let mut given: HashMap<&str, &[usize]> = HashMap::new();
    let mut symbols: HashMap<Arc<str>, usize> = HashMap::new();
    for ShapeOption { name, shape } in shapes {
        let fail = |why: String| Err(Error::Data(format!("--shape {name}={}: {why}", comma_separated(shape))));
        let Some((_, ty)) = inputs.iter().find(|i| i.0 == *name) else {
            let names: Vec<String> = inputs.iter().map(|(name, _)| format!("`{name}`")).collect();
            return fail(format!("the model has no input `{name}`, its inputs are {}", names.join(", ")));
        };
        if given.insert(name, shape).is_some() {
            return fail("the input has a --shape already".to_owned());
        }
        if !ty.shape.compatible(&shape.as_slice().into()) {
            return fail(format!("it does not fit {ty}"));
        }
        for (i, (dim, size)) in ty.shape.dims().iter().zip(shape).enumerate() {
            if let (0, None, Some(n)) = (i, dim.known(), batch.filter(|n| n != size)) {
                return fail(format!("--batch {n} is another size of the first dimension"));
            }
            if let Dim::Symbol(symbol) = dim
                && let Some(other) = symbols.insert(symbol.clone(), *size).filter(|n| n != size)
            {
                return fail(format!("`{symbol}` is {other} elsewhere"));
            }
        }
    }
    if let Some(n) = batch {
        let takes =
            |(_, ty): &(_, TensorType)| ty.shape.dims().first().is_some_and(|d| d.known().is_none_or(|k| k == n));
        if !inputs.iter().any(takes) {
            let types: Vec<String> = inputs.iter().map(|(name, ty)| format!("{name}: {ty}")).collect();
            return Err(Error::Data(format!("--batch {n}: the model's batch is fixed ({})", types.join(", "))));
        }
    }
    let size = |name: &str, ty: &TensorType, i: usize| match &ty.shape.dims()[i] {
        Dim::Known(n) => Ok(*n),
        _ if given.contains_key(name) => Ok(given[name][i]),
        Dim::Symbol(s) if symbols.contains_key(s) => Ok(symbols[s]),
        _ if i == 0 => Ok(batch.unwrap_or(1)),
        _ => Err(Error::Data(format!(
            "the dimension {i} of the input `{name}`: {ty} is not known (hint: --shape {name}=D,D,...)"
        ))),
    };
    let bind = |(name, ty): (String, TensorType)| {
        let shape = (0..ty.shape.rank()).map(|i| size(&name, &ty, i)).collect::<Result<Vec<_>, _>>()?;
        numel(&shape).map_err(|e| Error::Data(format!("the input `{name}`: {e}")))?;
        Ok((name, TensorType::new(ty.dtype, shape.as_slice())))
    };
    inputs.into_iter().map(bind).collect()
}

fn comma_separated(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
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

/// The number of threads: as asked, or all the machine has.
///
/// # Errors
/// If it is 0 or more than any machine has.
pub fn threads(asked: Option<usize>) -> Result<usize, Error> {
    let all = || std::thread::available_parallelism().map_or(1, Into::into);
    asked.map_or(Ok(all().min(MAX_THREADS)), |n| within("--threads", n, MAX_THREADS))
}

/// An option's number, from 1 to `max`.
///
/// # Errors
/// If it is outside.
pub fn within(option: &str, n: usize, max: usize) -> Result<usize, Error> {
    if (1..=max).contains(&n) { Ok(n) } else { Err(Error::Data(format!("{option} {n}: must be from 1 to {max}"))) }
}
