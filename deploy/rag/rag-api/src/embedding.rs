//! Vectors of texts, computed by a model that ml-inference serves: the Open Inference Protocol, version 2, over JSON.
//!
//! The model has the shape of MiniLM: token ids and a mask in (and token types, where it asks for them), and out either one
//! vector a text, or one a token, whose mean is taken here. Vectors are scaled to length 1, so that a dot product is a cosine.

use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::backoff::{Backoff, jittered};
use shared::http_client::{self, Dns};
use tokio::time::{sleep, timeout};

use crate::wordpiece::Vocabulary;

/// The largest answer: 64 texts of 256 tokens with 384 numbers each are some 70 MB of JSON where the model gives one vector a
/// token, and 300 KB where it gives one a text.
const LARGEST_ANSWER: usize = 128 << 20;
/// Much less than the 75 s after which ml-inference closes an idle connection.
const LONGEST_IDLE: Duration = Duration::from_secs(30);
/// A pod that goes away in a rollout refuses or closes; the next attempt meets another.
const ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Where the model is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddingSettings {
    /// Without a slash at the end.
    pub url: String,
    pub model: String,
    /// For one request with all its attempts.
    pub timeout: Duration,
}

/// Why there is no vector.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddingError {
    #[error("cannot reach {url}: {problem}")]
    Unreachable { url: String, problem: String },
    #[error("no answer within {} s", _0.as_secs_f64())]
    TimedOut(Duration),
    #[error("answered {status}: {detail}")]
    Refused { status: StatusCode, detail: String },
    #[error("the model {model} is no embedding model: {problem}")]
    Unsuitable { model: String, problem: String },
    #[error("malformed answer: {0}")]
    Malformed(String),
}

impl EmbeddingError {
    /// True when another attempt may meet a pod that answers.
    fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => matches!(status.as_u16(), 429 | 502..=504),
            Self::TimedOut(_) | Self::Unsuitable { .. } | Self::Malformed(_) => false,
        }
    }
}

/// What the model says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// All vectors come from this one: those of two versions cannot be compared.
    pub version: String,
    inputs: Vec<Input>,
    output: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Ids,
    Mask,
    Types,
}

impl Input {
    fn named(name: &str) -> Option<Self> {
        match name {
            "input_ids" => Some(Self::Ids),
            "attention_mask" => Some(Self::Mask),
            "token_type_ids" => Some(Self::Types),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ids => "input_ids",
            Self::Mask => "attention_mask",
            Self::Types => "token_type_ids",
        }
    }
}

#[derive(Deserialize)]
struct Metadata {
    versions: Vec<String>,
    inputs: Vec<TensorMetadata>,
    outputs: Vec<TensorMetadata>,
}

#[derive(Deserialize)]
struct TensorMetadata {
    name: String,
    datatype: String,
    shape: Vec<i64>,
}

impl Model {
    fn of(metadata: &Metadata) -> Result<Self, String> {
        let number = |version: &&String| version.parse::<u64>().unwrap_or(0);
        let version = metadata.versions.iter().max_by_key(number);
        let version = version.ok_or("no version of it is loaded")?;
        let mut inputs = Vec::new();
        for input in &metadata.inputs {
            let known = Input::named(&input.name).filter(|_| input.datatype == "INT64");
            let known = known.ok_or_else(|| format!("its input {} of {} is not known", input.name, input.datatype))?;
            inputs.push(known);
        }
        if !inputs.contains(&Input::Ids) {
            return Err("it has no input input_ids".to_owned());
        }
        // One vector a text, where there is such an output, else one a token.
        let of_rank = |rank| {
            let mut outputs = metadata.outputs.iter();
            outputs.find(|output| output.datatype == "FP32" && output.shape.len() == rank)
        };
        let output = of_rank(2).or_else(|| of_rank(3));
        let output = output.ok_or("it has no output of FP32 with two or three dimensions")?;
        Ok(Self {
            version: version.clone(),
            inputs,
            output: output.name.clone(),
        })
    }
}

#[derive(Deserialize)]
struct Inferred {
    model_version: Option<String>,
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Output {
    shape: Vec<usize>,
    data: Vec<f32>,
}

/// A client of ml-inference. One per thread: its connections live on the runtime that opened them.
#[derive(Debug, Clone)]
pub struct Embedder {
    client: reqwest::Client,
    settings: Arc<EmbeddingSettings>,
    vocabulary: Arc<Vocabulary>,
}

impl Embedder {
    pub fn new(settings: &Arc<EmbeddingSettings>, vocabulary: &Arc<Vocabulary>) -> reqwest::Result<Self> {
        let client = http_client::builder(http_client::public_roots())
            .dns_resolver(Dns::of_system(settings.timeout))
            .pool_idle_timeout(LONGEST_IDLE)
            .build()?;
        Ok(Self {
            client,
            settings: Arc::clone(settings),
            vocabulary: Arc::clone(vocabulary),
        })
    }

    /// Asks for the model's inputs, outputs and versions.
    pub async fn describe(&self) -> Result<Model, EmbeddingError> {
        let EmbeddingSettings { url, model, .. } = &*self.settings;
        let request = self.client.get(format!("{url}/v2/models/{model}"));
        let metadata: Metadata = parse(&self.send(request).await?)?;
        Model::of(&metadata).map_err(|problem| EmbeddingError::Unsuitable {
            model: model.clone(),
            problem,
        })
    }

    /// One vector for each of `texts`, of length 1.
    pub async fn embed(&self, model: &Model, texts: &[impl AsRef<str>]) -> Result<Vec<Vec<f32>>, EmbeddingError> {
        let tokens: Vec<Vec<u32>> = texts.iter().map(|text| self.vocabulary.tokens(text.as_ref())).collect();
        let body = request_body(model, &tokens, self.vocabulary.padding);
        let EmbeddingSettings { url, model: name, .. } = &*self.settings;
        let version = &model.version;
        let url = format!("{url}/v2/models/{name}/versions/{version}/infer");
        let request = self.client.post(url).json(&body);
        let answer: Inferred = parse(&self.send(request).await?)?;
        vectors(answer, version, &tokens).map_err(EmbeddingError::Malformed)
    }

    /// The body of a 200, from one of a few attempts.
    async fn send(&self, request: RequestBuilder) -> Result<Vec<u8>, EmbeddingError> {
        let limit = self.settings.timeout;
        let attempts = async {
            let mut backoff = Backoff::new(FIRST_PAUSE);
            loop {
                let request = request
                    .try_clone()
                    .unwrap_or_else(|| unreachable!("no body is a stream"));
                match self.attempt(request).await {
                    Err(error) if error.is_passing() && backoff.failures() + 1 < ATTEMPTS => {
                        sleep(jittered(backoff.pause(LONGEST_PAUSE), 0.5)).await;
                    }
                    answered => return answered,
                }
            }
        };
        timeout(limit, attempts)
            .await
            .unwrap_or(Err(EmbeddingError::TimedOut(limit)))
    }

    async fn attempt(&self, request: RequestBuilder) -> Result<Vec<u8>, EmbeddingError> {
        let unreachable = |error: reqwest::Error| EmbeddingError::Unreachable {
            url: self.settings.url.clone(),
            problem: with_causes(&error.without_url()),
        };
        let mut answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let body = read(&mut answer).await.map_err(unreachable)?;
        let body = body.ok_or_else(|| EmbeddingError::Malformed(format!("more than {LARGEST_ANSWER} bytes")))?;
        match status {
            StatusCode::OK => Ok(body),
            status => Err(EmbeddingError::Refused {
                status,
                detail: detail(&body),
            }),
        }
    }
}

/// The whole body, or `None` when it is too large.
async fn read(answer: &mut Response) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await? {
        if body.len() + part.len() > LARGEST_ANSWER {
            return Ok(None);
        }
        body.extend_from_slice(&part);
    }
    Ok(Some(body))
}

/// An error with what it was caused by.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // A string takes every write.
        let _written = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// What the body of an error says, as much of it as a log line needs.
fn detail(body: &[u8]) -> String {
    let said: Option<Value> = serde_json::from_slice(body).ok();
    let said = said.as_ref().and_then(|said| said["error"].as_str());
    let text = said.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    text.trim().chars().take(200).collect()
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, EmbeddingError> {
    serde_json::from_slice(body).map_err(|error| EmbeddingError::Malformed(error.to_string()))
}

/// The rows of a batch are filled up to the longest of them.
fn request_body(model: &Model, tokens: &[Vec<u32>], padding: u32) -> Value {
    let longest = tokens.iter().map(Vec::len).max().unwrap_or_default();
    let row = |of: fn(&u32) -> u32, fill: u32| -> Vec<u32> {
        let rows = tokens.iter().flat_map(|row| {
            let padding = std::iter::repeat_n(fill, longest - row.len());
            row.iter().map(of).chain(padding)
        });
        rows.collect()
    };
    let inputs = model.inputs.iter().map(|input| {
        let data = match input {
            Input::Ids => row(|id| *id, padding),
            Input::Mask => row(|_| 1, 0),
            Input::Types => row(|_| 0, 0),
        };
        json!({ "name": input.name(), "datatype": "INT64", "shape": [tokens.len(), longest], "data": data })
    });
    json!({ "inputs": inputs.collect::<Vec<_>>(), "outputs": [{ "name": model.output }] })
}

fn vectors(answer: Inferred, version: &str, tokens: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, String> {
    if answer.model_version.is_some_and(|other| other != version) {
        return Err(format!("another version than {version} answered"));
    }
    let [Output { shape, data }] = answer.outputs.as_slice() else {
        return Err(format!("{} outputs, where one was asked for", answer.outputs.len()));
    };
    let longest = tokens.iter().map(Vec::len).max().unwrap_or_default();
    let (length, width) = match shape[..] {
        [rows, width] if rows == tokens.len() => (1, width),
        [rows, length, width] if rows == tokens.len() && length == longest => (length, width),
        _ => return Err(format!("an output of shape {shape:?} for {} texts", tokens.len())),
    };
    if width == 0 || data.len() != tokens.len() * length * width {
        return Err(format!("{} numbers in an output of shape {shape:?}", data.len()));
    }
    let rows = data.chunks_exact(length * width).zip(tokens).map(|(row, tokens)| {
        // The sum: scaling makes it the same as the mean.
        let mut vector = vec![0.0; width];
        for token in row.chunks_exact(width).take(tokens.len()) {
            vector.iter_mut().zip(token).for_each(|(sum, number)| *sum += number);
        }
        scaled(vector)
    });
    rows.collect()
}

fn scaled(mut vector: Vec<f32>) -> Result<Vec<f32>, String> {
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    if !length.is_finite() {
        return Err("a vector that is not finite".to_owned());
    }
    // A text without a known word has no direction.
    if length > 0.0 {
        vector.iter_mut().for_each(|number| *number /= length);
    }
    Ok(vector)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(outputs: Value, inputs: Value) -> Result<Model, String> {
        let metadata = json!({ "versions": ["9", "10"], "inputs": inputs, "outputs": outputs });
        Model::of(&serde_json::from_value(metadata).expect("metadata"))
    }

    fn tensor(name: &str, datatype: &str, shape: &[i64]) -> Value {
        json!({ "name": name, "datatype": datatype, "shape": shape })
    }

    fn ids() -> Value {
        json!([
            tensor("input_ids", "INT64", &[-1, -1]),
            tensor("attention_mask", "INT64", &[-1, -1])
        ])
    }

    #[test]
    fn an_output_of_one_vector_a_text_is_preferred_and_the_newest_version() {
        let (tokens, texts) = (
            tensor("last_hidden_state", "FP32", &[-1, -1, 3]),
            tensor("sentence_embedding", "FP32", &[-1, 3]),
        );
        let both = model(json!([tokens, texts]), ids()).expect("a model");
        assert_eq!(
            (both.output.as_str(), both.version.as_str()),
            ("sentence_embedding", "10")
        );
        assert_eq!(both.inputs, [Input::Ids, Input::Mask]);
        assert_eq!(
            model(json!([tokens]), ids()).expect("a model").output,
            "last_hidden_state"
        );
    }

    #[test]
    fn a_model_of_another_shape_is_refused_with_the_reason() {
        let texts = json!([tensor("y", "FP32", &[-1, 3])]);
        for (outputs, inputs, expected) in [
            (
                texts.clone(),
                json!([tensor("x", "FP32", &[-1, 1])]),
                "its input x of FP32 is not known",
            ),
            (
                texts.clone(),
                json!([tensor("input_ids", "FP32", &[-1, 1])]),
                "its input input_ids of FP32 is not known",
            ),
            (texts, json!([]), "it has no input input_ids"),
            (
                json!([tensor("y", "INT64", &[-1, 3])]),
                ids(),
                "it has no output of FP32",
            ),
        ] {
            let problem = model(outputs, inputs).expect_err(expected);
            assert!(problem.starts_with(expected), "{problem}");
        }
    }

    fn inferred(shape: &[usize], data: &[f32]) -> Inferred {
        Inferred {
            model_version: Some("1".to_owned()),
            outputs: vec![Output {
                shape: shape.to_vec(),
                data: data.to_vec(),
            }],
        }
    }

    #[test]
    fn rows_are_filled_up_and_what_fills_them_counts_for_nothing() {
        let tokens = [vec![2, 7, 3], vec![2, 3]];
        let outputs = json!([tensor("last_hidden_state", "FP32", &[-1, -1, 2])]);
        let mut inputs = ids();
        inputs
            .as_array_mut()
            .expect("a list")
            .push(tensor("token_type_ids", "INT64", &[-1, -1]));
        let model = model(outputs, inputs).expect("a model");
        let body = request_body(&model, &tokens, 9);
        let data = |at: usize| body["inputs"][at]["data"].to_string();
        assert_eq!(
            (data(0), data(1), data(2)),
            ("[2,7,3,2,3,9]".into(), "[1,1,1,1,1,0]".into(), "[0,0,0,0,0,0]".into())
        );
        assert_eq!(body["inputs"][0]["shape"], json!([2, 3]));

        let of_tokens = inferred(
            &[2, 3, 2],
            &[1.0, 0.0, 1.0, 3.0, 1.0, 1.0, 0.0, 2.0, 0.0, 3.0, 100.0, 100.0],
        );
        assert_eq!(
            vectors(of_tokens, "1", &tokens),
            Ok(vec![vec![0.6, 0.8], vec![0.0, 1.0]])
        );
        let of_texts = inferred(&[2, 2], &[3.0, 4.0, 0.0, 0.0]);
        assert_eq!(
            vectors(of_texts, "1", &tokens),
            Ok(vec![vec![0.6, 0.8], vec![0.0, 0.0]])
        );
    }

    #[test]
    fn an_answer_that_does_not_fit_the_question_is_refused() {
        let tokens = [vec![2, 3], vec![2, 3]];
        for (answer, expected) in [
            (inferred(&[1, 2], &[1.0, 2.0]), "an output of shape [1, 2] for 2 texts"),
            (
                inferred(&[2, 5, 1], &[0.0; 10]),
                "an output of shape [2, 5, 1] for 2 texts",
            ),
            (inferred(&[2, 2], &[0.0; 3]), "3 numbers in an output of shape [2, 2]"),
            (inferred(&[2, 0], &[]), "0 numbers in an output of shape [2, 0]"),
            (inferred(&[2, 1], &[f32::MAX, f32::MAX]), "a vector that is not finite"),
        ] {
            assert_eq!(vectors(answer, "1", &tokens), Err(expected.to_owned()));
        }
        let other = vectors(inferred(&[2, 1], &[1.0, 1.0]), "2", &tokens);
        assert_eq!(other, Err("another version than 2 answered".to_owned()));
    }
}
