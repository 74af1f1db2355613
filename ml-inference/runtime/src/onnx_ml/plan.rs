//! A graph as it is run: constants, and steps that read and fill numbered slots.

use std::collections::HashMap;
use std::fmt;

use super::node::{OpError, Operator, OperatorNode, describe, operator};
use super::operators;
use crate::error::LoadError;
use crate::graph_signature::output_spec;
use crate::onnx::{self, OnnxModel};
use crate::signature::{Dim, Signature, TensorSpec};
use crate::tensor::Tensor;

const ML: &str = "ai.onnx.ml";

/// Broadcasting of small tensors (version 7) and the operator sets since then are what exporters write.
pub(super) const OLDEST_OPSET: i64 = 7;
pub(super) const OLDEST_ML_OPSET: i64 = 1;
/// Newer sets may change what an operator means.
pub(super) const NEWEST_OPSET: i64 = 26;
pub(super) const NEWEST_ML_OPSET: i64 = 5;

pub(super) struct Plan {
    pub(super) signature: Signature,
    /// Constants: the content of each slot before a run.
    constants: Vec<Option<Tensor>>,
    inputs: Vec<usize>,
    steps: Vec<Step>,
    outputs: Vec<usize>,
}

struct Step {
    node: String,
    operator: Operator,
    inputs: Vec<Option<usize>>,
    /// `None` for an output that nobody reads.
    outputs: Vec<Option<usize>>,
    /// Slots that no later step reads.
    release: Vec<usize>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<&str> = self.steps.iter().map(|step| step.node.as_str()).collect();
        let mut plan = formatter.debug_struct("Plan");
        plan.field("signature", &self.signature).field("steps", &steps).finish()
    }
}

/// Gives names their slots.
#[derive(Debug, Default)]
struct Slots<'a> {
    numbers: HashMap<&'a str, usize>,
    constants: Vec<Option<Tensor>>,
}

impl<'a> Slots<'a> {
    /// A slot for a name that nothing had before.
    fn add(&mut self, name: &'a str, constant: Option<Tensor>) -> Result<usize, LoadError> {
        let number = self.constants.len();
        if self.numbers.insert(name, number).is_some() {
            return Err(LoadError::Graph(format!("the value `{name}` is made twice")));
        }
        self.constants.push(constant);
        Ok(number)
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }
}

impl Plan {
    pub(super) fn new(model: &OnnxModel<'_>) -> Result<Self, LoadError> {
        let opsets = Opsets::new(model)?;
        let graph = &model.graph;
        if graph.has_sparse_initializers {
            return Err(LoadError::Graph("sparse constants are not supported".to_owned()));
        }
        let mut slots = Slots::default();
        for tensor in &graph.initializers {
            slots.add(tensor.name, Some(tensor.read()?))?;
        }
        let mut signature = Signature {
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        let mut inputs = Vec::new();
        for input in &graph.inputs {
            // Older files list the constants among the inputs.
            if slots.find(input.name).is_none() {
                signature.inputs.push(input.spec()?);
                inputs.push(slots.add(input.name, None)?);
            }
        }
        let mut steps = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            steps.push(step(node, &opsets, &mut slots)?);
        }
        let mut outputs = Vec::new();
        for output in &graph.outputs {
            let slot = slots.find(output.name);
            let slot = slot.ok_or_else(|| LoadError::Graph(format!("nothing makes the output `{}`", output.name)))?;
            outputs.push(slot);
            signature.outputs.push(output_spec(output, &graph.nodes)?);
        }
        if inputs.is_empty() || outputs.is_empty() {
            return Err(LoadError::Graph("the graph has no input or no output".to_owned()));
        }
        let mut plan = Self {
            signature,
            constants: slots.constants,
            inputs,
            steps,
            outputs,
        };
        plan.release_early();
        plan.fold_constants()?;
        plan.try_out()?;
        Ok(plan)
    }

    pub(super) fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, (String, OpError)> {
        let mut computed: Vec<Option<Tensor>> = vec![None; self.constants.len()];
        let given = |slot: usize| {
            self.inputs
                .iter()
                .position(|input| *input == slot)
                .map(|at| &inputs[at])
        };
        for step in &self.steps {
            let read = |slot: usize| {
                let constant = self.constants[slot].as_ref();
                computed[slot].as_ref().or(constant).or_else(|| given(slot))
            };
            let arguments: Vec<Option<&Tensor>> = step.inputs.iter().map(|slot| slot.and_then(read)).collect();
            let results = (step.operator)(&arguments).map_err(|fault| (step.node.clone(), fault))?;
            for slot in &step.release {
                computed[*slot] = None;
            }
            for (slot, result) in step.outputs.iter().zip(results) {
                if let Some(slot) = slot {
                    computed[*slot] = Some(result);
                }
            }
        }
        let output = |slot: &usize| {
            let whole = || self.constants[*slot].as_ref().or_else(|| given(*slot)).cloned();
            let result = computed[*slot].clone().or_else(whole);
            result.ok_or_else(|| {
                (
                    "the graph".to_owned(),
                    OpError::Kind("an output was not made".to_owned()),
                )
            })
        };
        self.outputs.iter().map(output).collect()
    }

    fn release_early(&mut self) {
        let mut later: Vec<bool> = vec![false; self.constants.len()];
        for slot in &self.outputs {
            later[*slot] = true;
        }
        for step in self.steps.iter_mut().rev() {
            for slot in step.inputs.iter().flatten() {
                if !std::mem::replace(&mut later[*slot], true) {
                    step.release.push(*slot);
                }
            }
        }
    }

    /// Runs what depends on nothing but constants now, and never again.
    fn fold_constants(&mut self) -> Result<(), LoadError> {
        let mut left = Vec::with_capacity(self.steps.len());
        for step in std::mem::take(&mut self.steps) {
            let read = |slot: &Option<usize>| slot.map(|slot| self.constants[slot].as_ref());
            let arguments: Vec<Option<Option<&Tensor>>> = step.inputs.iter().map(read).collect();
            if arguments.iter().flatten().any(Option::is_none) {
                left.push(step);
                continue;
            }
            let arguments: Vec<Option<&Tensor>> = arguments.into_iter().map(Option::flatten).collect();
            let results = (step.operator)(&arguments).map_err(|fault| LoadError::Node {
                node: step.node.clone(),
                problem: fault.to_string(),
            })?;
            for (slot, result) in step.outputs.iter().zip(results) {
                if let Some(slot) = slot {
                    self.constants[*slot] = Some(result);
                }
            }
        }
        self.steps = left;
        self.forget_unread_constants();
        Ok(())
    }

    /// Drops constants that only folded steps read.
    fn forget_unread_constants(&mut self) {
        let mut read = vec![false; self.constants.len()];
        let by_steps = self.steps.iter().flat_map(|step| step.inputs.iter().flatten());
        for slot in by_steps.chain(&self.outputs) {
            read[*slot] = true;
        }
        let unread = self.constants.iter_mut().zip(read).filter(|(_, read)| !read);
        unread.for_each(|(constant, _)| *constant = None);
    }

    /// One run on zeros: types and shapes that do not go together show now. A model may refuse zeros for what they are, and
    /// where more than the number of rows is free, no length that is chosen here need be right.
    fn try_out(&mut self) -> Result<(), LoadError> {
        self.signature.check_one_row().map_err(LoadError::Graph)?;
        let open =
            |spec: &TensorSpec| spec.any_shape || spec.shape.iter().skip(1).any(|dim| matches!(dim, Dim::Free(_)));
        if self.signature.inputs.iter().any(open) {
            return Ok(());
        }
        let zeros = self
            .signature
            .zeros(1)
            .map_err(|error| LoadError::Graph(error.to_string()))?;
        let outputs = match self.run(&zeros) {
            Ok(outputs) => outputs,
            Err((_, OpError::Value(_))) => return Ok(()),
            Err((node, OpError::Kind(problem))) => return Err(LoadError::Node { node, problem }),
        };
        for (spec, output) in self.signature.outputs.iter_mut().zip(outputs) {
            let as_said =
                spec.data_type == output.data_type() && (spec.any_shape || spec.shape.len() == output.shape().len());
            if !as_said {
                let (name, found) = (&spec.name, output.describe());
                let problem = format!("the output `{name}` is said to be {spec}, but is {found}");
                return Err(LoadError::Graph(problem));
            }
            // skl2onnx says one column for a forest with several targets. The first dimension is the rows.
            for (said, length) in spec.shape.iter_mut().zip(output.shape()).skip(1) {
                if matches!(said, Dim::Fixed(_)) {
                    *said = Dim::Fixed(*length);
                }
            }
        }
        Ok(())
    }
}

/// The operator sets that a file was made for.
struct Opsets {
    own: i64,
    ml: i64,
}

impl Opsets {
    fn new(model: &OnnxModel<'_>) -> Result<Self, LoadError> {
        let within = |domain: &str, name: &str, oldest: i64, newest: i64| {
            let version = model.opset(domain).unwrap_or(oldest);
            if (oldest..=newest).contains(&version) {
                return Ok(version);
            }
            let known = format!("known are {oldest} to {newest}");
            Err(LoadError::Graph(format!(
                "the operator set {name} {version} is not supported; {known}"
            )))
        };
        Ok(Self {
            own: within("", "ai.onnx", OLDEST_OPSET, NEWEST_OPSET)?,
            ml: within(ML, ML, OLDEST_ML_OPSET, NEWEST_ML_OPSET)?,
        })
    }
}

fn step<'a>(proto: &onnx::NodeProto<'a>, opsets: &Opsets, slots: &mut Slots<'a>) -> Result<Step, LoadError> {
    let opset = if proto.domain == ML { opsets.ml } else { opsets.own };
    let node = OperatorNode::new(proto, opset);
    let Some(make) = operators::find(proto.domain, proto.operator) else {
        let operator = operator(proto);
        let node = describe(proto);
        return Err(LoadError::Operator { node, operator });
    };
    let operator = make(proto.operator, &node)?;
    node.finish()?;
    let mut inputs = Vec::with_capacity(proto.inputs.len());
    for name in &proto.inputs {
        inputs.push(match (*name, slots.find(name)) {
            ("", _) => None,
            (_, Some(slot)) => Some(slot),
            (_, None) => return Err(node.fault(format!("it uses `{name}`, which nothing before it makes"))),
        });
    }
    let mut outputs = Vec::with_capacity(proto.outputs.len());
    for name in &proto.outputs {
        outputs.push(if name.is_empty() {
            None
        } else {
            Some(slots.add(name, None)?)
        });
    }
    Ok(Step {
        node: node.describe(),
        operator,
        inputs,
        outputs,
        release: Vec::new(),
    })
}
