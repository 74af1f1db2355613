//! What the metadata says holds: requests that are made from it alone are answered with what it says, in both protocols and
//! in every form they have.

use std::fs;
use std::future::Future;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ml_inference::model::Model;
use model_runtime::tensor::{Data, DataType};
use model_runtime::{Dim, Signature, TensorSpec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::models::{Counting, counted, length};
use crate::service::{Answer, Service, version};

fn data_type() -> impl Strategy<Value = DataType> {
    prop::sample::select(DataType::ALL.to_vec())
}

fn dim() -> impl Strategy<Value = Dim> {
    prop_oneof![(1_usize..3).prop_map(Dim::Fixed), Just(Dim::Free(None))]
}

/// Tensors with rows and up to two dimensions more, under names that no two of them share.
fn specs() -> impl Strategy<Value = Vec<TensorSpec>> {
    let name = prop_oneof![
        "[a-z]{1,6}",
        "[ a-zA-Z0-9:/.\"\\\\ü😀_-]{1,8}",
        Just("image_bytes".to_owned())
    ];
    let inner = prop::collection::vec(dim(), 0..3);
    let spec = (data_type(), inner).prop_map(|(data_type, inner)| {
        let shape = std::iter::once(Dim::Free(None)).chain(inner).collect();
        TensorSpec::new("", data_type, shape)
    });
    prop::collection::btree_map(name, spec, 1..4).prop_map(|named| {
        let named = named.into_iter().map(|(name, spec)| TensorSpec { name, ..spec });
        named.collect()
    })
}

/// A tensor as a protocol describes it.
#[derive(Debug, PartialEq)]
struct Told {
    name: String,
    data_type: DataType,
    /// With `rows` for the first dimension, and two for any other that is free.
    shape: Vec<usize>,
}

fn told(name: &str, type_name: &Value, lengths: Vec<i64>, rows: usize) -> Told {
    let type_name = type_name.as_str().expect("a type");
    let is_named = |data_type: &DataType| [data_type.name(), data_type.tensorflow_name()].contains(&type_name);
    let mut shape: Vec<usize> = lengths
        .into_iter()
        .map(|length| usize::try_from(length).unwrap_or(2))
        .collect();
    shape[0] = rows;
    Told {
        name: name.to_owned(),
        data_type: DataType::ALL.into_iter().find(is_named).expect("a known type"),
        shape,
    }
}

/// What TensorFlow Serving's metadata says of the inputs or the outputs.
fn told_by_tf_serving(metadata: &Value, which: &str, rows: usize) -> Vec<Told> {
    let signature = &metadata["metadata"]["signature_def"]["signature_def"]["serving_default"];
    let tensors = signature[which].as_object().expect("an object").iter();
    let told = tensors.map(|(name, tensor)| {
        let dims = tensor["tensor_shape"]["dim"].as_array().expect("a list").iter();
        let lengths = dims.map(|dim| {
            dim["size"]
                .as_str()
                .and_then(|size| size.parse().ok())
                .expect("a number")
        });
        told(name, &tensor["dtype"], lengths.collect(), rows)
    });
    told.collect()
}

/// What the Open Inference Protocol's metadata says of the inputs or the outputs.
fn told_by_open_inference(metadata: &Value, which: &str, rows: usize) -> Vec<Told> {
    let tensors = metadata[which].as_array().expect("a list").iter();
    let told = tensors.map(|tensor| {
        let lengths = tensor["shape"].as_array().expect("a list").iter();
        let lengths = lengths.map(|length| length.as_i64().expect("a number")).collect();
        told(
            tensor["name"].as_str().expect("a name"),
            &tensor["datatype"],
            lengths,
            rows,
        )
    });
    told.collect()
}

/// Tensors as the metadata has them, as the configuration has them.
fn in_tritons_words(tensors: &Value) -> Value {
    let words = tensors.as_array().expect("a list").iter().map(|tensor| {
        let data_type = match tensor["datatype"].as_str().expect("a name") {
            "BYTES" => "TYPE_STRING".to_owned(),
            name => format!("TYPE_{name}"),
        };
        json!({ "name": tensor["name"], "data_type": data_type, "dims": tensor["shape"] })
    });
    words.collect()
}

/// The elements that the models of these tests give, and that are sent to them too.
fn elements(data: &Data) -> Vec<Value> {
    match data {
        Data::Bool(values) => values.iter().map(|x| json!(x)).collect(),
        Data::Uint8(values) => values.iter().map(|x| json!(x)).collect(),
        Data::Uint16(values) => values.iter().map(|x| json!(x)).collect(),
        Data::Uint32(values) => values.iter().map(|x| json!(x)).collect(),
        Data::Uint64(values) => values.iter().map(|x| json!(x)).collect(),
        Data::Int8(values) => values.iter().map(|x| json!(x)).collect(),
        Data::Int16(values) => values.iter().map(|x| json!(x)).collect(),
        Data::Int32(values) => values.iter().map(|x| json!(x)).collect(),
        Data::Int64(values) => values.iter().map(|x| json!(x)).collect(),
        Data::Fp32(values) => values.iter().map(|x| json!(x)).collect(),
        Data::Fp64(values) => values.iter().map(|x| json!(x)).collect(),
        Data::Bytes(values) => values
            .iter()
            .map(|x| json!(std::str::from_utf8(x).expect("UTF-8")))
            .collect(),
    }
}

/// The same as bytes, as the extension for binary tensors writes them.
fn bytes(data: &Data) -> Vec<u8> {
    match data {
        Data::Bool(values) => values.iter().map(|x| u8::from(*x)).collect(),
        Data::Uint8(values) => values.clone(),
        Data::Uint16(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::Uint32(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::Uint64(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::Int8(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::Int16(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::Int32(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::Int64(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::Fp32(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::Fp64(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::Bytes(values) => {
            let text = |text: &bytes::Bytes| [&(text.len() as u32).to_le_bytes()[..], text].concat();
            values.iter().flat_map(text).collect()
        }
    }
}

fn nest(shape: &[usize], elements: &[Value]) -> Value {
    let Some((length, inner)) = shape.split_first() else {
        return elements[0].clone();
    };
    let step = elements.len() / length;
    (0..*length)
        .map(|index| nest(inner, &elements[index * step..(index + 1) * step]))
        .collect()
}

impl Told {
    fn count(&self) -> usize {
        self.shape.iter().product()
    }

    fn data(&self) -> Data {
        counted(self.data_type, self.count())
    }

    fn flat(&self) -> Vec<Value> {
        elements(&self.data())
    }

    fn nested(&self) -> Value {
        nest(&self.shape, &self.flat())
    }

    /// As TensorFlow Serving's protocol answers: bytes may be in base64.
    fn answered(&self) -> Value {
        if self.data_type != DataType::Bytes || !self.name.ends_with("_bytes") {
            return self.nested();
        }
        let texts = self
            .flat()
            .into_iter()
            .map(|text| json!({ "b64": STANDARD.encode(text.as_str().expect("a text")) }));
        nest(&self.shape, &texts.collect::<Vec<Value>>())
    }

    fn described(&self, further: Value) -> Value {
        let mut input = json!({ "name": self.name, "shape": self.shape, "datatype": self.data_type.name() });
        let members = input.as_object_mut().expect("an object");
        members.extend(further.as_object().expect("an object").clone());
        input
    }
}

/// One object for each row, or the values alone when there is one tensor.
fn by_rows(tensors: &[Told], value: impl Fn(&Told) -> Value, are_named: bool) -> Vec<Value> {
    let columns: Vec<(String, Value)> = tensors
        .iter()
        .map(|tensor| (tensor.name.clone(), value(tensor)))
        .collect();
    let row = |row: usize| match are_named {
        true => columns
            .iter()
            .map(|(name, column)| (name.clone(), column[row].clone()))
            .collect::<Map<_, _>>()
            .into(),
        false => columns[0].1[row].clone(),
    };
    (0..tensors[0].shape[0]).map(row).collect()
}

fn by_columns(tensors: &[Told], value: impl Fn(&Told) -> Value, are_named: bool) -> Value {
    match are_named {
        true => tensors
            .iter()
            .map(|tensor| (tensor.name.clone(), value(tensor)))
            .collect::<Map<_, _>>()
            .into(),
        false => value(&tensors[0]),
    }
}

async fn tf_serving_keeps_its_word(service: &Service, rows: usize) {
    let metadata = service.get("/v1/models/m/metadata").await.ok();
    let (inputs, outputs) = ["inputs", "outputs"]
        .map(|which| told_by_tf_serving(&metadata, which, rows))
        .into();
    let several = outputs.len() > 1;
    let predictions = json!({ "predictions": by_rows(&outputs, Told::answered, several) });
    let columns = json!({ "outputs": by_columns(&outputs, Told::answered, several) });
    let mut asked = vec![
        (
            json!({ "instances": by_rows(&inputs, Told::nested, true) }),
            &predictions,
        ),
        (json!({ "inputs": by_columns(&inputs, Told::nested, true) }), &columns),
    ];
    if inputs.len() == 1 {
        asked.push((
            json!({ "instances": by_rows(&inputs, Told::nested, false) }),
            &predictions,
        ));
        asked.push((json!({ "inputs": by_columns(&inputs, Told::nested, false) }), &columns));
    }
    for (question, answer) in asked {
        let answered = service.post("/v1/models/m:predict", question.to_string()).await;
        assert_eq!(answered.ok(), *answer, "{question}");
    }
}

async fn infer(service: &Service, json: &Value, binary: &[u8]) -> Answer {
    let json = json.to_string();
    let length = json.len().to_string();
    let headers = [("inference-header-content-length", length.as_str())];
    let headers = if binary.is_empty() { &[][..] } else { &headers };
    let body = [json.as_bytes(), binary].concat();
    service.ask("POST", "/v2/models/m/infer", headers, body).await
}

async fn open_inference_keeps_its_word(service: &Service, rows: usize) {
    let metadata = service.get("/v2/models/m").await.ok();
    let config = service.get("/v2/models/m/config").await.ok();
    for (configured, told) in [("input", "inputs"), ("output", "outputs")] {
        assert_eq!(config[configured], in_tritons_words(&metadata[told]));
    }
    let (inputs, outputs): (Vec<Told>, Vec<Told>) = ["inputs", "outputs"]
        .map(|which| told_by_open_inference(&metadata, which, rows))
        .into();
    let flat: Vec<Value> = inputs
        .iter()
        .map(|input| input.described(json!({ "data": input.flat() })))
        .collect();
    let nested: Vec<Value> = inputs
        .iter()
        .map(|input| input.described(json!({ "data": input.nested() })))
        .collect();
    let binary: Vec<u8> = inputs.iter().flat_map(|input| bytes(&input.data())).collect();
    let behind: Vec<Value> = inputs
        .iter()
        .map(|input| input.described(json!({ "parameters": { "binary_data_size": bytes(&input.data()).len() } })))
        .collect();
    let given: Vec<Value> = outputs
        .iter()
        .map(|output| output.described(json!({ "data": output.flat() })))
        .collect();
    for (inputs, binary) in [(&flat, &[][..]), (&nested, &[]), (&behind, &binary)] {
        let answered = infer(service, &json!({ "inputs": inputs }), binary).await.ok();
        assert_eq!(answered["outputs"], json!(given), "{inputs:?}");
    }

    let question = json!({ "inputs": flat, "parameters": { "binary_data_output": true } });
    let answered = infer(service, &question, &[]).await;
    let length = answered
        .header("inference-header-content-length")
        .and_then(|text| text.parse().ok());
    let (json, binary) = answered.body.split_at(length.expect("a length"));
    let json: Value = serde_json::from_slice(json).expect("JSON");
    let described = outputs
        .iter()
        .map(|output| output.described(json!({ "parameters": { "binary_data_size": bytes(&output.data()).len() } })));
    assert_eq!(json["outputs"], described.collect::<Value>());
    assert_eq!(
        binary,
        outputs
            .iter()
            .flat_map(|output| bytes(&output.data()))
            .collect::<Vec<u8>>()
    );

    let last = outputs.last().expect("an output");
    let question = json!({ "inputs": flat, "outputs": [{ "name": last.name }] });
    let answered = infer(service, &question, &[]).await.ok();
    assert_eq!(answered["outputs"], json!([given.last()]));
}

fn run(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future);
}

proptest! {
    #[test]
    fn what_the_metadata_says_is_taken_and_given(inputs in specs(), outputs in specs(), rows in 1_usize..4) {
        let service = Service::with("m", Counting(Signature { inputs: inputs.clone(), outputs: outputs.clone() }));
        run(async {
            let first = service.get("/v1/models/m/metadata").await.ok();
            let second = service.get("/v2/models/m").await.ok();
            for (which, specs) in [("inputs", &inputs), ("outputs", &outputs)] {
                let one = told_by_tf_serving(&first, which, rows);
                assert_eq!(one, told_by_open_inference(&second, which, rows), "both protocols say the same");
                let shapes = specs.iter().map(|spec| spec.shape[1..].iter().map(length).collect::<Vec<usize>>());
                assert!(one.iter().map(|told| told.shape[1..].to_vec()).eq(shapes), "{one:?}");
            }
            tf_serving_keeps_its_word(&service, rows).await;
            open_inference_keeps_its_word(&service, rows).await;
        });
    }
}

#[test]
fn the_built_in_models_keep_their_word() {
    let service = Service::half_plus_two();
    run(async {
        for rows in 1..4 {
            let told = told_by_open_inference(&service.get("/v2/models/half_plus_two").await.ok(), "inputs", rows);
            let inputs: Vec<Value> = told
                .iter()
                .map(|input| input.described(json!({ "data": input.flat() })))
                .collect();
            let body = json!({ "inputs": inputs }).to_string();
            let answer = service.post("/v2/models/half_plus_two/infer", body).await.ok();
            let expected: Vec<f64> = (0..rows).map(|x| x as f64 / 2.0 + 2.0).collect();
            assert_eq!(answer["outputs"][0]["data"], json!(expected));
            assert_eq!(answer["outputs"][0]["shape"], json!([rows, 1]));
        }
    });
}

/// A model out of the zoo is asked for one row of zeros.
async fn a_real_model_keeps_its_word(name: &str, file: &[u8]) {
    let mut service = Service::new(&[]);
    service.insert(Model::from_onnx("m", version(1), file.to_vec()).unwrap_or_else(|error| panic!("{name}: {error}")));
    service.serve();
    let metadata = service.get("/v2/models/m").await.ok();
    let signature = service.get("/v1/models/m/metadata").await.ok();
    let signature = &signature["metadata"]["signature_def"]["signature_def"]["serving_default"];
    let inputs = told_by_open_inference(&metadata, "inputs", 1);
    let zeros: Vec<Vec<Value>> = inputs
        .iter()
        .map(|input| elements(&Data::zeros(input.data_type, input.count())))
        .collect();
    let described = inputs.iter().zip(&zeros);
    let described: Vec<Value> = described
        .map(|(input, zeros)| input.described(json!({ "data": zeros })))
        .collect();
    let body = json!({ "inputs": described }).to_string();
    let answer = service.post("/v2/models/m/infer", body).await.ok();
    let columns: Map<String, Value> = inputs
        .iter()
        .zip(&zeros)
        .map(|(input, zeros)| (input.name.clone(), nest(&input.shape, zeros)))
        .collect();
    let body = json!({ "inputs": columns }).to_string();
    let predicted = service.post("/v1/models/m:predict", body).await.ok();

    let outputs = metadata["outputs"].as_array().expect("a list");
    for (index, output) in outputs.iter().enumerate() {
        let given = &answer["outputs"][index];
        assert_eq!(
            (&given["name"], &given["datatype"]),
            (&output["name"], &output["datatype"]),
            "{name}"
        );
        let shape: Vec<usize> = serde_json::from_value(given["shape"].clone()).expect("lengths");
        let said: Vec<i64> = serde_json::from_value(output["shape"].clone()).expect("lengths");
        let fits = |(length, said): (&usize, &i64)| *said == -1 || i64::try_from(*length) == Ok(*said);
        let output_name = output["name"].as_str().expect("a name");
        let may_be_any = &signature["outputs"][output_name]["tensor_shape"]["unknown_rank"];
        assert!(
            *may_be_any == true || shape.len() == said.len() && shape.iter().zip(&said).all(fits),
            "{name}: {shape:?} is no {said:?}"
        );
        let data = given["data"].as_array().expect("a list");
        assert_eq!(data.len(), shape.iter().product::<usize>(), "{name}");
        let column = match outputs.len() {
            1 => &predicted["outputs"],
            _ => &predicted["outputs"][output_name],
        };
        assert_eq!(column, &nest(&shape, data), "{name}: both protocols give the same");
    }
}

#[test]
fn the_models_of_the_zoo_keep_their_word() {
    let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/zoo/small");
    let mut asked = 0;
    for entry in fs::read_dir(zoo).expect("the zoo") {
        let path = entry.expect("a file").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8");
        if name.ends_with(".onnx") && !name.ends_with(".answers.onnx") {
            run(a_real_model_keeps_its_word(
                name,
                &fs::read(&path).expect("a readable file"),
            ));
            asked += 1;
        }
    }
    assert!(asked > 10, "{asked} models");
}
