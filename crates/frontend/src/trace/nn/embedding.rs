//! Tables of embeddings.

use quantc_ops::Attrs;

use super::only;
use crate::trace::{Init, Module, Proxy, TraceError, Tracer};

/// `Embedding`: rows of its parameter `weight` `[num_embeddings, embedding_dim]`.
#[derive(Clone, Debug)]
pub struct Embedding {
    /// Number of rows.
    pub num_embeddings: usize,
    /// Size of a row.
    pub embedding_dim: usize,
}

impl Module for Embedding {
    fn type_name(&self) -> &str {
        "Embedding"
    }

    fn is_leaf(&self) -> bool {
        true
    }

    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        let weight = t.param("weight", &[self.num_embeddings, self.embedding_dim], Init::Uniform(1.0))?;
        t.main_call("gather", &[Some(weight), Some(only(inputs)?)], Attrs::new())
    }
}

/// `EmbeddingBag`: bags of rows of its parameter `weight` `[num_embeddings, embedding_dim]`. Inputs: the indices, perhaps the offsets, perhaps a
/// factor of each index.
#[derive(Clone, Debug)]
pub struct EmbeddingBag {
    /// Number of rows.
    pub num_embeddings: usize,
    /// Size of a row.
    pub embedding_dim: usize,
    /// `sum`, `mean` or `max`.
    pub mode: String,
    /// Whether the last offset is the number of indices.
    pub include_last_offset: bool,
    /// An index that does not count.
    pub padding_idx: Option<i64>,
}

impl Module for EmbeddingBag {
    fn type_name(&self) -> &str {
        "EmbeddingBag"
    }

    fn is_leaf(&self) -> bool {
        true
    }

    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        if !(1..=3).contains(&inputs.len()) {
            return Err(TraceError::new(format!("it takes 1 to 3 inputs, {} given", inputs.len())));
        }
        let weight = t.param("weight", &[self.num_embeddings, self.embedding_dim], Init::Uniform(1.0))?;
        let mut attrs =
            Attrs::new().with("mode", self.mode.as_str()).with("include_last_offset", self.include_last_offset);
        if let Some(index) = self.padding_idx {
            attrs.set("padding_idx", index);
        }
        let all: Vec<Option<Proxy>> = std::iter::once(weight).chain(inputs.iter().copied()).map(Some).collect();
        t.main_call("embedding_bag", &all, attrs)
    }
}
