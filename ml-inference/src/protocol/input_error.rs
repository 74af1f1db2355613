//! Errors of the lab's protocol.

/// Error of a request body, in words for its author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// Not JSON, or not the expected kind of JSON.
    #[error("{problem}")]
    Document { problem: String },
    /// One member is at fault: `instances[3]`.
    #[error("{field}: {problem}")]
    Member { field: String, problem: String },
    #[error("{field}: more than the limit of {limit} numbers")]
    TooMany { field: String, limit: usize },
}
