//! Headers of a request that its client did not send.

use http::{HeaderName, HeaderValue};

/// Headers that the gateway adds to a request. They stay beside the client's headers, not among them: writing them from here
/// costs a fraction of five places in a map, and an attempt changes it without a look-up.
#[derive(Debug, Default)]
pub struct InjectedHeaders<'a>(pub [Option<(&'a HeaderName, &'a HeaderValue)>; 6]);

impl<'a> InjectedHeaders<'a> {
    pub fn iter(&self) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
        self.0.iter().copied().flatten()
    }
}
