//! The configuration as JSON.

use quantc_pattern::Library;
use serde_json::{Map, Value as Json, json};

use super::{CustomConfigError, PrepareCustomConfig, StandaloneModuleConfigEntry};
use crate::qconfig_mapping::QConfigMapping;

/// PyTorch's keys for what a graph does not have, and why.
const NOT_HERE: &[(&str, &str)] = &[
    (
        "float_to_observed_custom_module_class",
        "observed classes are Python code; quantc writes out attention and recurrent layers itself",
    ),
    ("preserved_attributes", "a graph has no attributes but the parameters that its calls read"),
];

impl PrepareCustomConfig {
    /// Reads the JSON form, whose keys are those of PyTorch's `PrepareCustomConfig.to_dict`: `standalone_module_name` and
    /// `standalone_module_class` are lists of `[name, mapping, example inputs, configuration, backend]` (all but the name may be `null`; example
    /// inputs are not looked at; a backend is the name of a built-in one), `non_traceable_module_name` and `_class` lists of names,
    /// `input_quantized_idxs` and `output_quantized_idxs` lists of numbers.
    ///
    /// # Errors
    /// With the place in the document.
    pub fn from_json(text: &str) -> Result<PrepareCustomConfig, CustomConfigError> {
        let json: Json = serde_json::from_str(text).map_err(|e| CustomConfigError::Json(e.to_string()))?;
        read(&json, "the document")
    }

    /// The JSON form, as [`PrepareCustomConfig::from_json`] reads it (PyTorch `PrepareCustomConfig.to_dict`). Of backends the names are written.
    ///
    /// # Errors
    /// If a mapping inside cannot be written.
    pub fn to_json(&self) -> Result<Json, CustomConfigError> {
        let row = |(name, entry): &(String, StandaloneModuleConfigEntry)| {
            let mapping = entry.qconfig_mapping.as_ref().map(QConfigMapping::to_json).transpose();
            let mapping = mapping.map_err(|source| CustomConfigError::Mapping { at: name.clone(), source })?;
            let backend = entry.backend_config.as_ref().map(|b| b.name.to_string());
            Ok(json!([name, mapping, null, entry.prepare_custom_config.to_json()?, backend]))
        };
        let rows = |entries: &[(String, StandaloneModuleConfigEntry)]| -> Result<Json, CustomConfigError> {
            entries.iter().map(row).collect()
        };
        let fields = [
            ("standalone_module_name", rows(&self.standalone_module_names)?),
            ("standalone_module_class", rows(&self.standalone_module_classes)?),
            ("non_traceable_module_name", json!(self.non_traceable_module_names)),
            ("non_traceable_module_class", json!(self.non_traceable_module_classes)),
            ("input_quantized_idxs", json!(self.input_quantized_indexes)),
            ("output_quantized_idxs", json!(self.output_quantized_indexes)),
        ];
        let filled = fields.into_iter().filter(|(_, v)| v.as_array().is_some_and(|v| !v.is_empty()));
        Ok(Json::Object(filled.map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>()))
    }
}

fn form(at: &str, message: impl Into<String>) -> CustomConfigError {
    CustomConfigError::Form { at: at.to_owned(), message: message.into() }
}

fn read(json: &Json, at: &str) -> Result<PrepareCustomConfig, CustomConfigError> {
    let map = json.as_object().ok_or_else(|| form(at, "must be an object"))?;
    let mut config = PrepareCustomConfig::new();
    for (key, value) in map {
        match key.as_str() {
            "standalone_module_name" => config.standalone_module_names = standalone(key, value)?,
            "standalone_module_class" => config.standalone_module_classes = standalone(key, value)?,
            "non_traceable_module_name" => config.non_traceable_module_names = items(key, value, "a name", string)?,
            "non_traceable_module_class" => config.non_traceable_module_classes = items(key, value, "a class", string)?,
            "input_quantized_idxs" => config.input_quantized_indexes = items(key, value, "an index", index)?,
            "output_quantized_idxs" => config.output_quantized_indexes = items(key, value, "an index", index)?,
            other => {
                if let Some((_, why)) = NOT_HERE.iter().find(|n| n.0 == other) {
                    let empty =
                        value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
                    if empty {
                        continue;
                    }
                    return Err(form(other, format!("there is no such thing here: {why}")));
                }
                let keys = "standalone_module_name, standalone_module_class, non_traceable_module_name, non_traceable_module_class, input_quantized_idxs, output_quantized_idxs";
                return Err(form(other, format!("unknown key (the keys are: {keys})")));
            }
        }
    }
    Ok(config)
}

fn string(value: &Json) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn index(value: &Json) -> Option<usize> {
    value.as_u64().and_then(|v| usize::try_from(v).ok())
}

fn items<T>(
    key: &str,
    value: &Json,
    what: &str,
    item: impl Fn(&Json) -> Option<T>,
) -> Result<Vec<T>, CustomConfigError> {
    let list = value.as_array().ok_or_else(|| form(key, "must be a list"))?;
    let one = |(i, v)| item(v).ok_or_else(|| form(&format!("{key}[{i}]"), format!("must be {what}")));
    list.iter().enumerate().map(one).collect()
}

fn standalone(key: &str, value: &Json) -> Result<Vec<(String, StandaloneModuleConfigEntry)>, CustomConfigError> {
    let list = value.as_array().ok_or_else(|| form(key, "must be a list of rows"))?;
    let mut entries = Vec::new();
    for (i, row) in list.iter().enumerate() {
        let at = format!("{key}[{i}]");
        let row = row.as_array().filter(|r| !r.is_empty() && r.len() <= 5);
        let row = row.ok_or_else(|| {
            form(&at, "must be a list of a name, a mapping, example inputs, a configuration and a backend")
        })?;
        let name = string(&row[0]).ok_or_else(|| form(&at, "must begin with a name"))?;
        let field = |i: usize| row.get(i).filter(|v| !v.is_null());
        let mapping = field(1).map(|v| QConfigMapping::from_json(&v.to_string())).transpose();
        let qconfig_mapping = mapping.map_err(|source| CustomConfigError::Mapping { at: at.clone(), source })?;
        let prepare_custom_config = field(3).map(|v| read(v, &at)).transpose()?.unwrap_or_default();
        let backend = |v: &Json| {
            let name = v.as_str().ok_or_else(|| form(&at, "a backend must be the name of a built-in one"))?;
            let found = Library::builtin().and_then(|l| l.backend(name).cloned());
            found.map_err(|e| form(&at, e.to_string()))
        };
        let backend_config = field(4).map(backend).transpose()?;
        entries.push((name, StandaloneModuleConfigEntry { qconfig_mapping, prepare_custom_config, backend_config }));
    }
    Ok(entries)
}
