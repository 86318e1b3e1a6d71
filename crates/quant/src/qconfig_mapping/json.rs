//! The mapping as JSON.

use serde_json::{Map, Value as Json, json};

use super::{MappingError, Order, QConfigMapping};
use crate::qconfig::{MaybeQConfig, QConfig, preset};

impl QConfigMapping {
    /// Reads the JSON form, whose keys are those of PyTorch's `QConfigMapping.to_dict`: `{"": Q, "object_type": [["conv2d", Q], ...],
    /// "module_name_regex": [[re, Q], ...], "module_name": [[path, Q], ...], "module_name_object_type_order": [[path, type, index, Q], ...]}`
    /// where `Q` is `null`, a preset's name or `{"activation": {...}, "weight": {...}}`. `global` is another name of the key `""`.
    ///
    /// # Errors
    /// With the place in the document.
    pub fn from_json(text: &str) -> Result<QConfigMapping, MappingError> {
        let json: Json = serde_json::from_str(text).map_err(|e| MappingError::Json(e.to_string()))?;
        let Json::Object(map) = json else {
            return Err(form("the document", "must be an object"));
        };
        let mut mapping = QConfigMapping::new();
        if map.contains_key("") && map.contains_key("global") {
            return Err(form("global", "is another name of the key \"\", which is there too"));
        }
        for (key, value) in &map {
            match key.as_str() {
                "" | "global" => mapping = mapping.set_global(parse_qconfig("global", value)?),
                "object_type" => {
                    for (at, row) in rows(key, value, 2)? {
                        mapping = mapping.set_object_type(string(&at, &row[0])?, parse_qconfig(&at, &row[1])?);
                    }
                }
                "module_name_regex" => {
                    for (at, row) in rows(key, value, 2)? {
                        mapping = mapping.set_module_name_regex(string(&at, &row[0])?, parse_qconfig(&at, &row[1])?)?;
                    }
                }
                "module_name" => {
                    for (at, row) in rows(key, value, 2)? {
                        mapping = mapping.set_module_name(string(&at, &row[0])?, parse_qconfig(&at, &row[1])?);
                    }
                }
                "module_name_object_type_order" => {
                    for (at, row) in rows(key, value, 4)? {
                        let index = row[2]
                            .as_u64()
                            .and_then(|v| u32::try_from(v).ok())
                            .ok_or_else(|| form(&at, "the index must be a whole number"))?;
                        mapping = mapping.set_module_name_object_type_order(
                            string(&at, &row[0])?,
                            string(&at, &row[1])?,
                            index,
                            parse_qconfig(&at, &row[3])?,
                        );
                    }
                }
                other => {
                    let keys =
                        "\"\" (or global), object_type, module_name_regex, module_name, module_name_object_type_order";
                    return Err(form(other, format!("unknown key (the keys are: {keys})")));
                }
            }
        }
        Ok(mapping)
    }

    /// The JSON form, as [`QConfigMapping::from_json`] reads it (PyTorch `QConfigMapping.to_dict`). QConfigs are written out; what is
    /// empty is left out, but for the global QConfig.
    ///
    /// # Errors
    /// If a number in a QConfig is not finite, which JSON cannot say.
    pub fn to_json(&self) -> Result<Json, MappingError> {
        let qconfig = |of: &MaybeQConfig| -> Result<Json, MappingError> {
            serde_json::to_value(of.as_deref()).map_err(|e| MappingError::Json(e.to_string()))
        };
        fn pairs<K>(
            entries: &[(K, MaybeQConfig)],
            row: impl Fn(&K, Json) -> Json,
            qconfig: impl Fn(&MaybeQConfig) -> Result<Json, MappingError>,
        ) -> Result<Json, MappingError> {
            entries.iter().map(|(key, of)| Ok(row(key, qconfig(of)?))).collect()
        }
        let object_type = pairs(&self.object_type, |t, q| json!([t.name(), q]), qconfig)?;
        let regexes = pairs(&self.module_name_regex, |r, q| json!([r.text, q]), qconfig)?;
        let names = pairs(&self.module_name, |n, q| json!([n, q]), qconfig)?;
        let row = |o: &Order, q| json!([o.module_name, o.object_type.name(), o.index, q]);
        let orders = pairs(&self.module_name_object_type_order, row, qconfig)?;
        let lists = [
            ("object_type", object_type),
            ("module_name_regex", regexes),
            ("module_name", names),
            ("module_name_object_type_order", orders),
        ];
        let mut map = Map::new();
        map.insert(String::new(), qconfig(&self.global)?);
        let filled = lists.into_iter().filter(|(_, rows)| rows.as_array().is_some_and(|r| !r.is_empty()));
        map.extend(filled.map(|(key, rows)| (key.to_owned(), rows)));
        Ok(Json::Object(map))
    }
}

fn form(at: &str, message: impl Into<String>) -> MappingError {
    MappingError::Form { at: at.to_owned(), message: message.into() }
}

fn rows<'a>(key: &str, value: &'a Json, width: usize) -> Result<Vec<(String, &'a Vec<Json>)>, MappingError> {
    let list = value.as_array().ok_or_else(|| form(key, "must be a list of rows"))?;
    list.iter()
        .enumerate()
        .map(|(i, row)| {
            let at = format!("{key}[{i}]");
            match row.as_array() {
                Some(row) if row.len() == width => Ok((at, row)),
                _ => Err(form(&at, format!("must be a list of {width} items"))),
            }
        })
        .collect()
}

fn string<'a>(at: &str, value: &'a Json) -> Result<&'a str, MappingError> {
    value.as_str().ok_or_else(|| form(at, "a name must be a string"))
}

fn parse_qconfig(at: &str, value: &Json) -> Result<Option<QConfig>, MappingError> {
    match value {
        Json::Null => Ok(None),
        Json::String(name) => preset(name).map(Some).map_err(|e| form(at, e.to_string())),
        other => {
            let qconfig: QConfig = serde_json::from_value(other.clone()).map_err(|e| form(at, e.to_string()))?;
            qconfig.check().map_err(|e| form(at, e.to_string()))?;
            Ok(Some(qconfig))
        }
    }
}
