//! One node of the file, as the operators' import functions see it.

use std::cell::RefCell;

use super::error::NodeError;
use super::importer::Val;
use super::proto::{AttributeProto, NodeProto, TensorProto, attribute_type};
use super::scope::Place;

/// A node with its inputs resolved. Attributes that no import function asked for are an error, so nothing is ignored silently.
pub(crate) struct NodeCx<'a> {
    proto: &'a NodeProto,
    pub(crate) opset: i64,
    pub(crate) place: &'a Place,
    inputs: Vec<Option<Val>>,
    asked: RefCell<Vec<String>>,
}

impl<'a> NodeCx<'a> {
    pub(crate) fn new(proto: &'a NodeProto, opset: i64, place: &'a Place, inputs: Vec<Option<Val>>) -> NodeCx<'a> {
        NodeCx { proto, opset, place, inputs, asked: RefCell::new(Vec::new()) }
    }

    /// The name of the first output.
    pub(crate) fn output_name(&self) -> &'a str {
        self.proto.output.first().map_or("", String::as_str)
    }

    /// Number of outputs wanted.
    pub(crate) fn outputs(&self) -> usize {
        self.proto.output.len()
    }

    /// The inputs, absent ones included.
    pub(crate) fn inputs(&self) -> &[Option<Val>] {
        &self.inputs
    }

    /// Input `index`, called `name` in the standard.
    pub(crate) fn input(&self, index: usize, name: &str) -> Result<Val, NodeError> {
        self.opt_input(index).ok_or_else(|| NodeError::MissingInput { index, name: name.to_owned() })
    }

    /// Input `index`, if given.
    pub(crate) fn opt_input(&self, index: usize) -> Option<Val> {
        self.inputs.get(index).copied().flatten()
    }

    /// Every input; none may be absent.
    pub(crate) fn variadic(&self) -> Result<Vec<Val>, NodeError> {
        (0..self.inputs.len().max(1)).map(|i| self.input(i, "inputs")).collect()
    }

    fn find(&self, name: &str, kind: i32, kind_name: &str) -> Result<Option<&'a AttributeProto>, NodeError> {
        self.asked.borrow_mut().push(name.to_owned());
        let Some(found) = self.proto.attribute.iter().find(|a| a.name == name) else { return Ok(None) };
        // Files of IR version 1 leave the type out.
        if found.r#type != kind && found.r#type != 0 {
            return Err(NodeError::attribute(
                name,
                format!("(attribute type {})", found.r#type),
                &format!("it must be {kind_name}"),
            ));
        }
        Ok(Some(found))
    }

    pub(crate) fn opt_int(&self, name: &str) -> Result<Option<i64>, NodeError> {
        Ok(self.find(name, attribute_type::INT, "an integer")?.map(|a| a.i))
    }

    pub(crate) fn int(&self, name: &str, default: i64) -> Result<i64, NodeError> {
        Ok(self.opt_int(name)?.unwrap_or(default))
    }

    /// A flag that ONNX stores as an integer.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, NodeError> {
        match self.int(name, i64::from(default))? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(NodeError::attribute(name, other, "it must be 0 or 1")),
        }
    }

    pub(crate) fn opt_float(&self, name: &str) -> Result<Option<f32>, NodeError> {
        Ok(self.find(name, attribute_type::FLOAT, "a float")?.map(|a| a.f))
    }

    pub(crate) fn float(&self, name: &str, default: f32) -> Result<f32, NodeError> {
        Ok(self.opt_float(name)?.unwrap_or(default))
    }

    pub(crate) fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, NodeError> {
        Ok(self.find(name, attribute_type::INTS, "a list of integers")?.map(|a| a.ints.clone()))
    }

    pub(crate) fn floats(&self, name: &str) -> Result<Option<Vec<f32>>, NodeError> {
        Ok(self.find(name, attribute_type::FLOATS, "a list of floats")?.map(|a| a.floats.clone()))
    }

    pub(crate) fn str(&self, name: &str, default: &str) -> Result<String, NodeError> {
        Ok(match self.find(name, attribute_type::STRING, "a string")? {
            Some(a) => String::from_utf8_lossy(&a.s).into_owned(),
            None => default.to_owned(),
        })
    }

    pub(crate) fn strings(&self, name: &str) -> Result<Option<Vec<String>>, NodeError> {
        let found = self.find(name, attribute_type::STRINGS, "a list of strings")?;
        Ok(found.map(|a| a.strings.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect()))
    }

    pub(crate) fn tensor(&self, name: &str) -> Result<Option<&'a TensorProto>, NodeError> {
        Ok(self.find(name, attribute_type::TENSOR, "a tensor")?.and_then(|a| a.t.as_ref()))
    }

    /// A required value.
    pub(crate) fn need<T>(&self, name: &str, value: Option<T>) -> Result<T, NodeError> {
        value.ok_or_else(|| NodeError::MissingAttribute(name.to_owned()))
    }

    /// Accepts attributes that do not matter to inference, whatever their value.
    pub(crate) fn ignore(&self, names: &[&str]) {
        self.asked.borrow_mut().extend(names.iter().map(|n| (*n).to_owned()));
    }

    /// Fails unless a string attribute has one of the values.
    pub(crate) fn one_of(&self, name: &str, default: &str, allowed: &[&str]) -> Result<String, NodeError> {
        let value = self.str(name, default)?;
        if allowed.contains(&value.as_str()) {
            return Ok(value);
        }
        Err(NodeError::attribute(name, format!("{value:?}"), &format!("supported: {}", allowed.join(", "))))
    }

    /// Fails if the attribute is given with another value.
    pub(crate) fn only_int(&self, name: &str, value: i64, hint: &str) -> Result<(), NodeError> {
        match self.int(name, value)? {
            v if v == value => Ok(()),
            other => Err(NodeError::attribute(name, other, hint)),
        }
    }

    /// Fails if an attribute was given that nobody asked for.
    pub(crate) fn finish(&self) -> Result<(), NodeError> {
        let asked = self.asked.borrow();
        match self.proto.attribute.iter().find(|a| !asked.contains(&a.name)) {
            None => Ok(()),
            Some(a) => Err(NodeError::attribute(&a.name, "...", "the operator has no such attribute in this opset")),
        }
    }
}
