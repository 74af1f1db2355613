//! A batch of rows becomes predictions. A batch that is refused is halved until the rows to blame stand alone.

use bytes::Bytes;
use http::Method;

use crate::arguments::{Options, Protocol};
use crate::client::{Client, ClientError, Reply};
use crate::layout::Layout;
use crate::protocol::{self, Codec};
use crate::row::{BadRow, Entry, Row};

const X_MODEL_VERSION: &str = "x-model-version";

#[derive(Debug, thiserror::Error)]
pub enum ScorerError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{url}: {reason}")]
    Answer { url: String, reason: String },
}

/// What became of a row.
#[derive(Debug)]
pub enum Outcome {
    Scored {
        row: Row,
        /// JSON.
        prediction: String,
        version: String,
    },
    Bad(BadRow),
}

#[derive(Debug)]
pub struct Scorer<'s> {
    client: &'s Client,
    layout: &'s Layout,
    codec: Codec,
    url: String,
}

/// The predictions for some rows with the version that made them, or why they are refused.
type Judged = Result<(Vec<String>, String), String>;

impl<'s> Scorer<'s> {
    /// Asks the model for its inputs where the protocol needs them.
    pub async fn new(options: &Options, client: &'s Client, layout: &'s Layout) -> Result<Self, ScorerError> {
        let base = options.url.trim_end_matches('/');
        let url = match protocol::path(options.protocol, &options.model) {
            path if path.is_empty() => options.url.clone(),
            path => format!("{base}{path}"),
        };
        let codec = match options.protocol {
            Protocol::Lab | Protocol::TfServing => Codec::Instances,
            Protocol::OpenInference => {
                let url = format!("{base}{}", protocol::metadata_path(&options.model));
                let codec = match client.send(Method::GET, &url, Bytes::new()).await? {
                    Reply::Answered { body, .. } => Codec::of_metadata(&body, layout),
                    Reply::Refused(reason) => Err(reason),
                };
                codec.map_err(|reason| ScorerError::Answer { url, reason })?
            }
        };
        Ok(Self {
            client,
            layout,
            codec,
            url,
        })
    }

    /// The requests that were sent again so far, and the last failure.
    pub fn retries(&self) -> (u64, String) {
        self.client.retries()
    }

    /// Scores a batch. With more than `most_bad` bad rows in it the rest is left out.
    pub async fn score(&self, entries: Vec<Entry>, most_bad: u64) -> Result<Vec<Outcome>, ScorerError> {
        let rows: Vec<&Row> = entries.iter().filter_map(good).collect();
        let mut judged: Vec<Result<(String, String), String>> = Vec::with_capacity(rows.len());
        let mut bad = (entries.len() - rows.len()) as u64;
        let mut pending: Vec<&[&Row]> = vec![&rows];
        while let Some(part) = pending.pop() {
            // The bad rows of the input itself may be the ones too many; those of the server are found in order.
            if part.is_empty() || bad > most_bad {
                continue;
            }
            match self.judge(part).await? {
                Ok((predictions, version)) => {
                    let scored = predictions
                        .into_iter()
                        .map(|prediction| Ok((prediction, version.clone())));
                    judged.extend(scored);
                }
                Err(reason) if part.len() == 1 => {
                    bad += 1;
                    judged.push(Err(reason));
                }
                Err(_) => {
                    let (left, right) = part.split_at(part.len() / 2);
                    pending.extend([right, left]);
                }
            }
        }
        let mut judged = judged.into_iter();
        let outcome = |entry| match entry {
            Entry::Bad(bad) => Some(Outcome::Bad(bad)),
            Entry::Row(row) => Some(match judged.next()? {
                Ok((prediction, version)) => Outcome::Scored {
                    row,
                    prediction,
                    version,
                },
                Err(reason) => {
                    let place = row.place;
                    Outcome::Bad(BadRow { place, reason })
                }
            }),
        };
        Ok(entries.into_iter().filter_map(outcome).collect())
    }

    async fn judge(&self, rows: &[&Row]) -> Result<Judged, ScorerError> {
        let body = match self.codec.encode(self.layout, rows) {
            Ok(body) => body,
            Err(reason) => return Ok(Err(reason)),
        };
        let (headers, body) = match self.client.send(Method::POST, &self.url, body.into()).await? {
            Reply::Answered { headers, body } => (headers, body),
            Reply::Refused(reason) => return Ok(Err(reason)),
        };
        let answer = self
            .codec
            .decode(&body, rows.len())
            .map_err(|reason| ScorerError::Answer {
                url: self.url.clone(),
                reason,
            })?;
        let named = headers.get(X_MODEL_VERSION).and_then(|version| version.to_str().ok());
        let version = answer.version.or_else(|| named.map(str::to_owned)).unwrap_or_default();
        Ok(Ok((answer.predictions, version)))
    }
}

fn good(entry: &Entry) -> Option<&Row> {
    match entry {
        Entry::Row(row) => Some(row),
        Entry::Bad(_) => None,
    }
}
