//! The settings of this service: the table everyone may read, and the typed values made of it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use shared::cli::Program;
use shared::config::scalar::{BYTES, NAME, SECONDS_OR_ZERO};
use shared::config::{Scalar, Secret, Setting, Settings, units};
use shared::service_settings::{self, ServiceSettings};

use crate::embedding::EmbeddingSettings;
use crate::query::QueryLimits;

/// Description of this service for the command line.
pub const PROGRAM: Program = Program {
    name: "rag-api",
    version: env!("CARGO_PKG_VERSION"),
    description: "Answers questions with the passages of a file of texts, found by embeddings that ml-inference computes.",
    settings: SETTINGS,
    documents: &[],
    default_document: "",
    default_file: "/etc/rag-api/rag-api.yaml",
    default_config_dirs: "/etc/rag-config",
    default_secret_dir: "/etc/secrets/rag-secrets",
    file_note: "The file is optional and holds one setting a line, such as `max_top_k: 5`.",
};

const PATH: Scalar = Scalar::quoted_text("an absolute path", "^/.*$");

const BIND_ADDRESS: Setting = Setting::new(
    "BIND_ADDRESS",
    "0.0.0.0",
    Scalar::quoted_text("an IPv4 or IPv6 address", "^[0-9A-Fa-f:.]+$"),
    "address to listen on",
);
const SERVICE_PORT: Setting = Setting::new(
    "SERVICE_PORT",
    "8000",
    Scalar::Whole(0, 65_535),
    "port to listen on; 0 takes a free one",
);
const EMBEDDING_URL: Setting = Setting::new(
    "EMBEDDING_URL",
    "http://ml-inference-service:5000",
    Scalar::quoted_text("an http or https URL without a query", "^https?://[^?#]+$"),
    "where ml-inference is",
);
const EMBEDDING_MODEL: Setting = Setting::new(
    "EMBEDDING_MODEL",
    "minilm",
    Scalar::any_text(
        "a name of up to 63 letters, digits, '-', '_' or '.'",
        "^[A-Za-z0-9._-]{1,63}$",
    ),
    "the model there that makes vectors: input_ids and attention_mask in, one vector a text or a token out",
);
const EMBEDDING_BATCH: Setting = Setting::new(
    "EMBEDDING_BATCH",
    "16",
    Scalar::Whole(1, 64),
    "texts of one request while the vectors of all texts are made",
);
const VOCABULARY_FILE: Setting = Setting::new(
    "VOCABULARY_FILE",
    "/etc/rag-api/vocab.txt",
    PATH,
    "the model's WordPiece vocabulary, a piece a line",
);
const TEXTS_FILE: Setting = Setting::new(
    "TEXTS_FILE",
    "/etc/rag-api/texts.txt",
    PATH,
    "the texts that answers are made of, one a line; read at the start",
);
const MAX_TEXTS_BYTES: Setting = Setting::new(
    "MAX_TEXTS_BYTES",
    "1Mi",
    BYTES,
    "largest TEXTS_FILE; with a larger one the service does not start",
);
const MAX_QUESTION_CHARS: Setting = Setting::new(
    "MAX_QUESTION_CHARS",
    "1000",
    Scalar::Whole(1, 10_000),
    "longest question in characters; longer ones are answered 400",
);
const MAX_TOP_K: Setting = Setting::new(
    "MAX_TOP_K",
    "10",
    Scalar::Whole(1, 100),
    "most passages of an answer; a query for more is answered 400",
);
const MAX_QUERIES: Setting = Setting::new(
    "MAX_QUERIES",
    "64",
    Scalar::Whole(1, 10_000),
    "most queries at a time, until the last byte of each answer; further ones are answered 503",
);
const PASSAGE_PAUSE: Setting = Setting::new(
    "PASSAGE_PAUSE",
    "0",
    SECONDS_OR_ZERO,
    "pause before each further part of a streamed answer, so that one can watch it stream",
);
const API_KEY: Setting = Setting::secret(
    "API_KEY",
    "what /query expects in X-API-Key or as Bearer token; without it, it asks for none",
);
const REQUEST_TIMEOUT: Setting = Setting {
    description: "longest time a request's body may take to arrive, and ml-inference to answer with all attempts",
    live: false,
    ..service_settings::REQUEST_TIMEOUT
};
const SERVICE_NAME: Setting = Setting::new("SERVICE_NAME", "rag-api", NAME, "what /health calls this service");
const OWN: &[Setting] = &[
    BIND_ADDRESS,
    SERVICE_PORT,
    SERVICE_NAME,
    EMBEDDING_URL,
    EMBEDDING_MODEL,
    EMBEDDING_BATCH,
    VOCABULARY_FILE,
    TEXTS_FILE,
    MAX_TEXTS_BYTES,
    MAX_QUESTION_CHARS,
    MAX_TOP_K,
    MAX_QUERIES,
    PASSAGE_PAUSE,
    REQUEST_TIMEOUT,
    API_KEY,
];

/// Every setting, in the order of `--help`.
pub const SETTINGS: &[Setting] = &service_settings::following::<{ OWN.len() + service_settings::SETTINGS.len() }>(OWN);

const LONGEST_NAME: usize = 63;

#[derive(Debug)]
pub struct Config {
    pub address: SocketAddr,
    pub service_name: String,
    pub service: ServiceSettings,
    pub embedding: EmbeddingSettings,
    /// Texts of one request at the start.
    pub batch: usize,
    pub vocabulary: PathBuf,
    pub texts: PathBuf,
    pub max_texts_bytes: u64,
    pub query: QueryLimits,
    pub max_queries: usize,
    pub passage_pause: Duration,
    pub request_timeout: Duration,
    pub api_key: Option<Secret>,
}

/// Takes every value out of `settings`; what is wrong is noted there.
pub fn parse(settings: &mut Settings) -> Config {
    let ip: IpAddr = settings.get(&BIND_ADDRESS, |text| text.parse().ok());
    let port: u16 = settings.get(&SERVICE_PORT, |text| text.parse().ok());
    let path = |text: &str| text.starts_with('/').then(|| PathBuf::from(text));
    let request_timeout = settings.get(&REQUEST_TIMEOUT, units::seconds);
    Config {
        address: SocketAddr::new(ip, port),
        service_name: settings.get(&SERVICE_NAME, |text| units::name(text, LONGEST_NAME)),
        service: ServiceSettings::from_settings(settings),
        embedding: EmbeddingSettings {
            url: settings.get(&EMBEDDING_URL, url),
            model: settings.get(&EMBEDDING_MODEL, |text| units::name(text, LONGEST_NAME)),
            timeout: request_timeout,
        },
        batch: settings.get(&EMBEDDING_BATCH, units::number),
        vocabulary: settings.get(&VOCABULARY_FILE, path),
        texts: settings.get(&TEXTS_FILE, path),
        max_texts_bytes: settings.get(&MAX_TEXTS_BYTES, units::bytes),
        query: QueryLimits {
            question_chars: settings.get(&MAX_QUESTION_CHARS, units::number),
            top_k: settings.get(&MAX_TOP_K, units::number),
        },
        max_queries: settings.get(&MAX_QUERIES, units::number),
        passage_pause: settings.get(&PASSAGE_PAUSE, units::seconds),
        request_timeout,
        api_key: settings.get_secret(&API_KEY),
    }
}

/// A URL that paths can be appended to.
fn url(text: &str) -> Option<String> {
    let url = reqwest::Url::parse(text).ok()?;
    let is_plain = matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none();
    is_plain.then(|| text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_one_that_paths_can_be_appended_to() {
        for (text, expected) in [
            (
                "http://ml-inference-service:5000",
                Some("http://ml-inference-service:5000"),
            ),
            ("https://models.example/base/", Some("https://models.example/base")),
            ("ml-inference-service:5000", None),
            ("ftp://models.example", None),
            ("http://models.example/?key=1", None),
            ("", None),
        ] {
            assert_eq!(url(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn no_two_settings_share_a_name() {
        let mut names: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
