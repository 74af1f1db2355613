//! Limits of what is read as a request.

/// Limits of a request's head; those of a trailer section are the same.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// The request line and all header lines, with their line breaks.
    pub max_bytes: usize,
    /// The request line without its line break.
    pub max_request_line_bytes: usize,
    /// One header line without its line break.
    pub max_header_line_bytes: usize,
    /// The number of header lines.
    pub max_headers: usize,
}
