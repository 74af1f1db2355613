//! Errors of the lab's protocol.

/// What is wrong with a body, in words for whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// Not JSON, or not the kind of JSON that is asked for.
    #[error("{problem}")]
    Document { problem: String },
    /// One member is at fault: `instances[3]`.
    #[error("{field}: {problem}")]
    Member { field: String, problem: String },
    #[error("{field}: more than the limit of {limit} numbers")]
    TooMany { field: String, limit: usize },
}
