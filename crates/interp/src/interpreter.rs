//! The interpreter.

use std::sync::Arc;

use quantc_ir::{Graph, Node, NodeId, NodeKind};
use quantc_ops::{Attrs, OpRef};
use quantc_tensor::{Tensor, TensorType, Value};

use crate::{InterpError, inputs};

/// Runs a graph node by node with each operator's reference evaluation.
///
/// Values stay in the form the numeric contract gives them (a dequantized tensor keeps its integers), so that running a q/dq
/// graph defines what its integer kernels must compute. A value is dropped after its last use.
#[derive(Clone, Debug)]
pub struct Interpreter<'g> {
    graph: &'g Graph,
    /// For each node index: how many node inputs use it.
    uses: Vec<usize>,
    floats: bool,
}

impl<'g> Interpreter<'g> {
    /// An interpreter of a graph; it may run any number of times.
    pub fn new(graph: &'g Graph) -> Interpreter<'g> {
        let mut uses = vec![0; graph.bound()];
        for id in graph.order() {
            for value in graph.node(id).inputs().iter().flatten() {
                uses[value.node.index()] += 1;
            }
        }
        Interpreter { graph, uses, floats: false }
    }

    /// Dequantized values become f32 and everything computes on f32, as PyTorch runs a reference graph. The numeric contract does not
    /// hold then: sums are rounded, biases are not, and which way a value in the middle between two steps goes is up to rounding errors.
    pub fn in_floats(mut self) -> Interpreter<'g> {
        self.floats = true;
        self
    }

    /// The graph it runs.
    pub fn graph(&self) -> &'g Graph {
        self.graph
    }

    /// Runs the graph: inputs by name, in any order; outputs in the graph's order, as plain tensors.
    ///
    /// # Errors
    /// An input that is missing, unknown or of another type; a parameter without a value; a call that fails.
    pub fn run<S: AsRef<str>>(&self, inputs: &[(S, Tensor)]) -> Result<Vec<(Arc<str>, Tensor)>, InterpError> {
        self.run_with(inputs, |_, _| ())
    }

    /// As [`Interpreter::run`]; after each call, `hook` sees the node and its outputs (calibration looks at `observer` nodes).
    ///
    /// # Errors
    /// As [`Interpreter::run`].
    pub fn run_with<S: AsRef<str>>(
        &self,
        inputs: &[(S, Tensor)],
        mut hook: impl FnMut(NodeId, &[Value]),
    ) -> Result<Vec<(Arc<str>, Tensor)>, InterpError> {
        let graph = self.graph;
        let Some(output) = graph.output_node() else {
            return Err(InterpError::Graph { message: format!("`{}` has no outputs", graph.name()) });
        };
        let mut values = Values { slots: vec![None; graph.bound()], left: self.uses.clone() };
        for (id, tensor) in inputs::bind(graph, inputs)? {
            values.put(id, vec![Value::from(tensor.clone())]);
        }
        for id in graph.order() {
            let node = graph.node(id);
            match node.kind() {
                NodeKind::Placeholder | NodeKind::Output { .. } => {}
                NodeKind::GetAttr { param } => {
                    let Some(value) = graph.constant(id) else {
                        let user = graph.uses(id).first().map_or(output, |u| u.0);
                        return Err(InterpError::ParamWithoutValue {
                            param: param.to_string(),
                            node: graph.node(user).name().to_owned(),
                        });
                    };
                    values.put(id, vec![Value::from(value.clone())]);
                }
                NodeKind::Call { op, attrs } => {
                    let args = values.take_inputs(node)?;
                    let mut results = eval_call(node, *op, attrs, &args)?;
                    if self.floats {
                        results.iter_mut().for_each(|value| *value = Value::from(value.to_tensor()));
                    }
                    drop(args);
                    hook(id, &results);
                    values.put(id, results);
                }
            }
        }
        let results = values.take_inputs(graph.node(output))?;
        let names = graph.outputs().into_iter().map(|o| o.0);
        Ok(names.zip(results.iter().flatten().map(Value::to_tensor)).collect())
    }
}

/// The values alive, by node index.
struct Values {
    slots: Vec<Option<Vec<Value>>>,
    left: Vec<usize>,
}

impl Values {
    fn put(&mut self, id: NodeId, outputs: Vec<Value>) {
        if self.left[id.index()] > 0 {
            self.slots[id.index()] = Some(outputs);
        }
    }

    /// The inputs of a node; those it is the last user of are given up.
    fn take_inputs(&mut self, node: &Node) -> Result<Vec<Option<Value>>, InterpError> {
        let get = |slots: &[Option<Vec<Value>>], id: NodeId, output: u32| {
            slots[id.index()].as_ref().and_then(|v| v.get(output as usize)).cloned()
        };
        let mut args = Vec::with_capacity(node.inputs().len());
        for value in node.inputs() {
            args.push(match value {
                None => None,
                Some(v) => Some(get(&self.slots, v.node, v.output).ok_or_else(|| InterpError::Graph {
                    message: format!("node `{}` uses a value that is not computed before it", node.name()),
                })?),
            });
        }
        for value in node.inputs().iter().flatten() {
            let left = &mut self.left[value.node.index()];
            *left -= 1;
            if *left == 0 {
                self.slots[value.node.index()] = None;
            }
        }
        Ok(args)
    }
}

/// Evaluates one call and holds the results to the types of the node.
pub(crate) fn eval_call(
    node: &Node,
    op: OpRef,
    attrs: &Attrs,
    inputs: &[Option<Value>],
) -> Result<Vec<Value>, InterpError> {
    let (name, op_name) = (|| node.name().to_owned(), || op.name().to_owned());
    let results = op.eval(inputs, attrs).map_err(|source| InterpError::Eval {
        node: name(),
        op: op_name(),
        origin: origin(node),
        source,
    })?;
    if results.len() != node.types().len() {
        return Err(InterpError::Graph {
            message: format!(
                "node `{}` ({op}) gave {} outputs, the graph says {}",
                node.name(),
                results.len(),
                node.types().len()
            ),
        });
    }
    for (output, (value, expected)) in results.iter().zip(node.types()).enumerate() {
        let got = TensorType::new(value.dtype(), value.shape());
        if got.dtype != expected.dtype || !got.shape.compatible(&expected.shape) {
            return Err(InterpError::OutputType {
                node: name(),
                op: op_name(),
                origin: origin(node),
                output,
                got: Box::new(got),
                expected: Box::new(expected.clone()),
            });
        }
    }
    Ok(results)
}

fn origin(node: &Node) -> String {
    if node.origins().is_empty() {
        return String::new();
    }
    let list: Vec<_> = node.origins().iter().map(ToString::to_string).collect();
    format!(" from {}", list.join(", "))
}
