//! The frames of one direction of an HTTP/2 connection: their heads only (RFC 9113 section 4.1).

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const GOAWAY: u8 = 7;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;

/// What a client sends before its first frame (RFC 9113 section 3.4).
const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;

/// A frame without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// Bytes of its payload.
    pub(super) length: usize,
}

impl Frame {
    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The frame on the wire, with this payload, which is of its length.
    pub(super) fn encode(self, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).expect("frames of our own are short");
        let mut bytes = vec![0];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&[self.kind, self.flags]);
        bytes.extend_from_slice(&self.stream.to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }
}

/// Follows the frames through the pieces that they come in. Payloads are skipped, not looked at.
#[derive(Debug)]
pub(super) struct FrameReader {
    head: [u8; HEAD_BYTES],
    /// Bytes of `head` that have come.
    has: usize,
    /// Bytes that are left of the payload, or of the preface.
    left: usize,
    /// Bytes of the payload.
    length: usize,
}

impl FrameReader {
    /// For what a client sends.
    pub(super) fn after_preface() -> Self {
        Self {
            left: PREFACE_BYTES,
            ..Self::new()
        }
    }

    /// For what a server sends.
    pub(super) fn new() -> Self {
        Self {
            head: [0; HEAD_BYTES],
            has: 0,
            left: 0,
            length: 0,
        }
    }

    /// True between two frames.
    pub(super) fn is_between_frames(&self) -> bool {
        self.has == 0 && self.left == 0
    }

    /// Goes over `bytes` and gives each frame to `ended` when its last byte has come.
    pub(super) fn advance(&mut self, mut bytes: &[u8], mut ended: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = &bytes[skipped..];
            } else {
                let taken = (HEAD_BYTES - self.has).min(bytes.len());
                self.head[self.has..self.has + taken].copy_from_slice(&bytes[..taken]);
                self.has += taken;
                bytes = &bytes[taken..];
                if self.has < HEAD_BYTES {
                    return;
                }
                let [high, middle, low, ..] = self.head;
                self.length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                self.left = self.length;
            }
            if self.left == 0 && self.has == HEAD_BYTES {
                self.has = 0;
                let [_, _, _, kind, flags, stream @ ..] = self.head;
                // The first bit is reserved.
                let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
                ended(Frame {
                    kind,
                    flags,
                    stream,
                    length: self.length,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame() -> impl Strategy<Value = (Frame, Vec<u8>)> {
        let payload = prop::collection::vec(any::<u8>(), 0..300);
        (any::<u8>(), any::<u8>(), 0..u32::MAX >> 1, payload).prop_map(|(kind, flags, stream, payload)| {
            let length = payload.len();
            (
                Frame {
                    kind,
                    flags,
                    stream,
                    length,
                },
                payload,
            )
        })
    }

    proptest! {
        #[test]
        fn each_frame_is_seen_once_whatever_pieces_it_comes_in(
            sent in prop::collection::vec(frame(), 0..8),
            pieces in prop::collection::vec(1..40usize, 1..20),
        ) {
            let mut bytes = vec![b'P'; PREFACE_BYTES];
            sent.iter().for_each(|(frame, payload)| bytes.extend(frame.encode(payload)));
            let mut reader = FrameReader::after_preface();
            let mut seen = Vec::new();
            let mut rest = &bytes[..];
            for length in pieces.iter().cycle() {
                let (piece, others) = rest.split_at((*length).min(rest.len()));
                reader.advance(piece, |frame| seen.push(frame));
                rest = others;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert!(reader.is_between_frames());
            prop_assert_eq!(seen, sent.into_iter().map(|(frame, _)| frame).collect::<Vec<_>>());
        }
    }
}
