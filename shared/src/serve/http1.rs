//! HTTP/1.1 requests as the bytes they are: where each ends, and which are refused before they are requests.
//!
//! hyper is a lenient reader: of a Content-Length next to a Transfer-Encoding it drops one, and a bare LF ends a
//! line. Whoever reads the same bytes another way sees another request, which is how requests are smuggled past a
//! proxy. The [`Validator`] knows one reading, the strict one of RFC 9112, and lets nothing pass that has a second.
//! It does no I/O and keeps no bytes: it says how many of those it was shown may go on, and its caller shows the
//! rest again when more have come.
//!
//! ```text
//! validator ──► head (request line, header lines) ──► target, host
//!           └─► chunk (size lines)                          bytes: classes of bytes
//! ```

mod bytes;
mod chunk;
mod head;
mod limits;
mod refusal;
mod target;
mod validator;

pub use limits::HeadLimits;
pub use refusal::Refusal;
pub use target::is_host;
pub(super) use target::is_path_target;
pub use validator::Validator;
