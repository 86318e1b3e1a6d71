//! A mapping as the dictionary of eager mode.

use quantc_ops::lookup;
use quantc_ops::names::nearest;
use quantc_pattern::torch_names;

use super::QConfigMapping;
use super::entry::{Entry, ObjectType};
use crate::eager::{EagerError, EagerModel, QConfigDict};

impl QConfigMapping {
    /// The dictionary of `propagate_qconfig_` with the entries of the mapping: the global one is the root's, classes of modules are types,
    /// paths are names. In eager mode a module's type comes before the QConfig of the module around it, where a mapping has it the
    /// other way round.
    ///
    /// # Errors
    /// If an entry has no equivalent, a regular expression, an operator, the index of a call, or names a module that is not there.
    pub fn to_qconfig_dict(&self, model: &EagerModel) -> Result<QConfigDict, EagerError> {
        let mut dict = QConfigDict::default();
        for (entry, qconfig) in self.entries() {
            let own = || qconfig.as_deref().cloned();
            let refused = |detail: String| EagerError::MappingEntry { entry: entry.to_string(), detail };
            match entry {
                Entry::Global => {
                    if qconfig.is_some() {
                        dict = dict.set_name("", own());
                    }
                }
                Entry::ModuleName(path) => {
                    model.check_module(path)?;
                    dict = dict.set_name(path, own());
                }
                Entry::ObjectType(wanted) => {
                    let mut types: Vec<&str> =
                        model.modules().map(|m| m.1).filter(|t| wanted.is_module_type(t)).collect();
                    types.sort_unstable();
                    types.dedup();
                    if types.is_empty() && !is_class(wanted) {
                        return Err(refused(match nearest_class(wanted, model) {
                            Some(class) => {
                                format!("and no class of modules is called that (hint: did you mean `{class}`?)")
                            }
                            None => {
                                "the functions that a forward calls have none: a type is the class of modules there \
                                     (hint: such as Linear or torch.nn.Conv2d)"
                                    .to_owned()
                            }
                        }));
                    }
                    if types.is_empty() {
                        tracing::warn!("the entry `{entry}` of the mapping has no effect: no module is of this type");
                    }
                    dict = types.into_iter().fold(dict, |dict, ty| dict.set_type(ty, own()));
                }
                Entry::ModuleNameRegex(_) => {
                    return Err(refused(
                        "there are no regular expressions (hint: name the modules in module_name)".to_owned(),
                    ));
                }
                Entry::Order(_) => {
                    return Err(refused(
                        "all calls of a module share one (hint: module_name with the module called)".to_owned(),
                    ));
                }
            }
        }
        Ok(dict)
    }
}

/// The class that a word which names neither a class nor an operator may have meant.
fn nearest_class(wanted: &ObjectType, model: &EagerModel) -> Option<String> {
    let name = wanted.name();
    if wanted.is_torch() || lookup(name).is_some() {
        return None;
    }
    if name.contains('.') {
        return torch_names::suggest(name);
    }
    let classes = torch_names::all().iter().filter_map(|row| row.module_type());
    nearest(name, classes.chain(model.modules().map(|m| m.1)))
}

/// Whether it is a class of PyTorch's modules, with its package or without.
fn is_class(wanted: &ObjectType) -> bool {
    torch_names::all().iter().filter_map(|row| row.module_type()).any(|ty| wanted.is_module_type(ty))
}
