//! The configuration as JSON.

use quantc_pattern::{Library, torch_names};
use serde_json::{Map, Value as Json, json};

use super::{
    CustomConfigError, ObservedClass, PrepareCustomConfig, QuantType, StandaloneModuleConfigEntry, quantizable,
};
use crate::eager::get_default_custom_config_dict;
use crate::qconfig_mapping::QConfigMapping;

impl PrepareCustomConfig {
    /// Reads the JSON form, whose keys are those of PyTorch's `PrepareCustomConfig.to_dict`: `standalone_module_name` and
    /// `standalone_module_class` are lists of `[name, mapping, example inputs, configuration, backend]` (all but the name may be `null`; example
    /// inputs are not looked at; a backend is the name of a built-in one), `non_traceable_module_name` and `_class` lists of names,
    /// `input_quantized_idxs` and `output_quantized_idxs` lists of numbers, `preserved_attributes` a list of parameters.
    /// `float_to_observed_custom_module_class` has observed classes by float ones under `static`: those of torch.ao.nn.quantizable, others are Rust code
    /// ([`PrepareCustomConfig::set_float_to_observed_mapping`]).
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
    /// If a mapping inside cannot be written, or a class that has no quantizable form is mapped to it.
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
            ("preserved_attributes", json!(self.preserved_attributes)),
        ];
        let filled = fields.into_iter().filter(|(_, v)| v.as_array().is_some_and(|v| !v.is_empty()));
        let mut map: Map<_, _> = filled.map(|(key, value)| (key.to_owned(), value)).collect();
        let mut classes: Map<String, Json> = Map::new();
        for (quant_type, class, observed) in &self.float_to_observed {
            let observed = match observed {
                ObservedClass::Quantizable => {
                    quantizable(class).ok_or_else(|| form(class, "it has no quantizable form"))?.to_owned()
                }
                ObservedClass::Custom(observed) => observed.name().to_owned(),
            };
            let rows = classes.entry(quant_type.name()).or_insert_with(|| json!({}));
            rows[class.as_str()] = json!(observed);
        }
        if !classes.is_empty() {
            map.insert(FLOAT_TO_OBSERVED.to_owned(), Json::Object(classes));
        }
        Ok(Json::Object(map))
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
            "preserved_attributes" => config.preserved_attributes = items(key, value, "a parameter", string)?,
            FLOAT_TO_OBSERVED => config.float_to_observed = float_to_observed(value)?,
            other => {
                let keys = "standalone_module_name, standalone_module_class, non_traceable_module_name, non_traceable_module_class, input_quantized_idxs, output_quantized_idxs, preserved_attributes, float_to_observed_custom_module_class";
                return Err(form(other, format!("unknown key (the keys are: {keys})")));
            }
        }
    }
    Ok(config)
}

/// PyTorch's key of custom modules.
const FLOAT_TO_OBSERVED: &str = "float_to_observed_custom_module_class";

fn float_to_observed(value: &Json) -> Result<Vec<(QuantType, String, ObservedClass)>, CustomConfigError> {
    let at = FLOAT_TO_OBSERVED;
    let types = value.as_object().ok_or_else(|| form(at, "must be an object of quantization types"))?;
    let mut rows = Vec::new();
    for (name, classes) in types {
        let names = QuantType::ALL.map(QuantType::name).join(", ");
        let quant_type = QuantType::ALL.into_iter().find(|t| t.name() == name);
        let quant_type = quant_type.ok_or_else(|| form(at, format!("`{name}` is none of {names}")))?;
        let at = format!("{at}.{name}");
        let classes = classes.as_object().ok_or_else(|| form(&at, "must be an object of classes"))?;
        for (class, observed) in classes {
            let short = torch_names::find(class).and_then(|row| row.module_type()).unwrap_or(class);
            let own = quantizable(short).filter(|own| quant_type == QuantType::Static && *observed == json!(own));
            if own.is_none() {
                let rows = get_default_custom_config_dict().float_to_observed_custom_module_class;
                let known: Vec<String> = rows.iter().map(|row| format!("{} of {}", row.1, row.0)).collect();
                let message = format!(
                    "{observed} of {class} is not known: under static there are {}; classes of one's own are given in Rust, by set_float_to_observed_mapping",
                    known.join(" and ")
                );
                return Err(form(&at, message));
            }
            rows.push((quant_type, short.to_owned(), ObservedClass::Quantizable));
        }
    }
    Ok(rows)
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
