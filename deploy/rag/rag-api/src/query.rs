//! A query as it comes, and its answer in each of three forms.
//!
//! ```text
//! {"question": "What is a pod?", "top_k": 3, "stream": true}
//!
//! stream false            one JSON object
//! stream true             event: passage …  event: done
//!   and Accept: …x-ndjson a JSON object a line
//! ```

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::texts::Passage;

/// The number of passages where a query names none.
const DEFAULT_TOP_K: usize = 3;

/// Limits of one query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryLimits {
    /// Characters of a question.
    pub question_chars: usize,
    /// Passages of an answer.
    pub top_k: usize,
}

/// A valid query.
#[derive(Debug, PartialEq, Eq)]
pub struct Query {
    pub question: String,
    pub top_k: usize,
    pub streams: bool,
}

/// A query that is not one: the member at fault and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct QueryError {
    pub field: String,
    pub problem: String,
    /// The number that was exceeded.
    pub limit: Option<u64>,
}

impl QueryError {
    fn new(field: &str, problem: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            problem: problem.into(),
            limit: None,
        }
    }

    fn beyond(field: &str, problem: impl Into<String>, limit: usize) -> Self {
        Self {
            limit: Some(limit as u64),
            ..Self::new(field, problem)
        }
    }
}

impl Query {
    /// Reads a body.
    pub fn parse(body: &[u8], limits: QueryLimits) -> Result<Self, QueryError> {
        let whole: Value = serde_json::from_slice(body).map_err(|error| {
            let problem = format!("is not valid JSON: {error}");
            QueryError::new("body", problem)
        })?;
        let Value::Object(members) = whole else {
            return Err(QueryError::new("body", "expected an object with `question`"));
        };
        let (mut question, mut top_k, mut streams) = (None, DEFAULT_TOP_K.min(limits.top_k), false);
        for (name, value) in members {
            match (name.as_str(), value) {
                ("question", Value::String(text)) => question = Some(text),
                ("question", _) => return Err(QueryError::new("question", "expected a text")),
                ("top_k", value) => top_k = whole_number(&value, limits.top_k)?,
                ("stream", Value::Bool(wanted)) => streams = wanted,
                ("stream", _) => return Err(QueryError::new("stream", "expected true or false")),
                (unknown, _) => {
                    let shown: String = unknown.chars().take(64).collect();
                    return Err(QueryError::new(
                        &shown,
                        "unknown member; there are question, top_k and stream",
                    ));
                }
            }
        }
        let question = question.ok_or_else(|| QueryError::new("question", "is missing"))?;
        let length = question.chars().count();
        if length > limits.question_chars {
            let problem = format!("has {length} characters, more than {}", limits.question_chars);
            return Err(QueryError::beyond("question", problem, limits.question_chars));
        }
        if question.trim().is_empty() {
            return Err(QueryError::new("question", "is empty"));
        }
        Ok(Self {
            question,
            top_k,
            streams,
        })
    }
}

fn whole_number(value: &Value, most: usize) -> Result<usize, QueryError> {
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
    let number = number.filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| QueryError::beyond("top_k", format!("expected a whole number from 1 to {most}"), most))
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One JSON object.
    Whole,
    /// Server-sent events.
    Events,
    /// A JSON object a line.
    Lines,
}

const LINES: &str = "application/x-ndjson";

impl Form {
    /// The form of an answer to a query with this `Accept`.
    pub fn of(query: &Query, accept: Option<&str>) -> Self {
        let takes_lines = || accept.is_some_and(|accept| accept.split([',', ';']).any(|one| one.trim() == LINES));
        match query.streams {
            false => Self::Whole,
            true if takes_lines() => Self::Lines,
            true => Self::Events,
        }
    }

    pub fn media_type(self) -> &'static str {
        match self {
            Self::Whole => "application/json",
            Self::Events => "text/event-stream",
            Self::Lines => LINES,
        }
    }

    /// The answer in its parts, each of which is sent as soon as it can be.
    pub fn write(self, query: &Query, passages: &[Passage<'_>]) -> Vec<Bytes> {
        let ranked = passages.iter().enumerate().map(|(at, passage)| Ranked {
            rank: at + 1,
            id: passage.id,
            score: passage.score,
            text: passage.text,
        });
        let done = json!({ "passages": passages.len() });
        match self {
            Self::Whole => {
                let passages: Vec<Ranked<'_>> = ranked.collect();
                let whole = Answer {
                    question: &query.question,
                    passages,
                };
                vec![format!("{}\n", text(&whole)).into()]
            }
            Self::Events => {
                let passages = ranked.map(|passage| format!("event: passage\ndata: {}\n\n", text(&passage)));
                let done = format!("event: done\ndata: {done}\n\n");
                passages.chain([done]).map(Bytes::from).collect()
            }
            Self::Lines => {
                let passages = ranked.map(|passage| format!("{}\n", text(&passage)));
                let done = format!("{}\n", json!({ "done": done }));
                passages.chain([done]).map(Bytes::from).collect()
            }
        }
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    question: &'a str,
    passages: Vec<Ranked<'a>>,
}

#[derive(Serialize)]
struct Ranked<'a> {
    rank: usize,
    id: usize,
    score: f32,
    text: &'a str,
}

/// Texts and numbers always serialize. A newline in a text becomes `\n` in JSON, so that an event's data is one line.
fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: QueryLimits = QueryLimits {
        question_chars: 20,
        top_k: 5,
    };

    fn parse(body: &str) -> Result<Query, String> {
        Query::parse(body.as_bytes(), LIMITS).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let expected = Query {
            question: "What is a pod?".to_owned(),
            top_k: 3,
            streams: false,
        };
        assert_eq!(parse("{\"question\": \"What is a pod?\"}"), Ok(expected));
        let streams = parse("{\"stream\": true, \"top_k\": 5, \"question\": \"q\"}").expect("a query");
        assert_eq!((streams.streams, streams.top_k), (true, 5));
    }

    #[test]
    fn a_fault_names_its_member_and_its_limit() {
        for (body, expected) in [
            ("{", "body: is not valid JSON"),
            ("[1]", "body: expected an object"),
            ("{}", "question: is missing"),
            ("{\"question\": 3}", "question: expected a text"),
            ("{\"question\": \" \\n\"}", "question: is empty"),
            (
                "{\"question\": \"123456789012345678901\"}",
                "question: has 21 characters, more than 20",
            ),
            (
                "{\"question\": \"q\", \"top_k\": 0}",
                "top_k: expected a whole number from 1 to 5",
            ),
            (
                "{\"question\": \"q\", \"top_k\": 6}",
                "top_k: expected a whole number from 1 to 5",
            ),
            (
                "{\"question\": \"q\", \"top_k\": 1.5}",
                "top_k: expected a whole number from 1 to 5",
            ),
            ("{\"question\": \"q\", \"stream\": 1}", "stream: expected true or false"),
            ("{\"question\": \"q\", \"topk\": 1}", "topk: unknown member"),
        ] {
            let error = parse(body).expect_err(body);
            assert!(error.starts_with(expected), "{body}: {error}");
        }
        // Characters count, not bytes.
        assert!(parse("{\"question\": \"ääääääääääääääääääää\"}").is_ok());
    }

    #[test]
    fn each_form_says_the_same() {
        let query = |streams| Query {
            question: "q".to_owned(),
            top_k: 2,
            streams,
        };
        let passages = [(4, "a \"pod\"\nis small"), (1, "b")].map(|(id, text)| Passage { id, score: 0.5, text });
        let written = |form: Form| -> Vec<String> {
            let parts = form.write(&query(true), &passages);
            parts
                .iter()
                .map(|part| String::from_utf8_lossy(part).into_owned())
                .collect()
        };
        let first = "{\"rank\":1,\"id\":4,\"score\":0.5,\"text\":\"a \\\"pod\\\"\\nis small\"}";
        let second = "{\"rank\":2,\"id\":1,\"score\":0.5,\"text\":\"b\"}";
        let whole = format!("{{\"question\":\"q\",\"passages\":[{first},{second}]}}\n");
        assert_eq!(written(Form::Whole), [whole]);
        let event = |data: &str| format!("event: passage\ndata: {data}\n\n");
        let done = "event: done\ndata: {\"passages\":2}\n\n".to_owned();
        assert_eq!(written(Form::Events), [event(first), event(second), done]);
        let line = |data: &str| format!("{data}\n");
        assert_eq!(
            written(Form::Lines),
            [line(first), line(second), line("{\"done\":{\"passages\":2}}")]
        );

        for (streams, accept, form) in [
            (false, Some(LINES), Form::Whole),
            (true, None, Form::Events),
            (true, Some("*/*"), Form::Events),
            (true, Some("text/html, application/x-ndjson;q=0.9"), Form::Lines),
        ] {
            assert_eq!(Form::of(&query(streams), accept), form, "{accept:?}");
        }
    }
}
