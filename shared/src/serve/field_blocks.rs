//! HTTP/2's field blocks as the bytes they are, to tell a trailer section that is too large from a small one.
//!
//! The h2 crate gives a head that is too large out as an error. Of trailers it drops the fields that go past the limit, and
//! gives the others out as if there were no more. Whoever passes them on would shorten a message (RFC 9113 section 10.5.1).
//! So trailers may be a quarter of a head at most, and their block three eighths as it comes, compressed: a field of such a
//! block has 8/5 of its bytes at most (HPACK's shortest code has five bits). Together that is less than a head, so nothing of
//! what passes both limits was dropped.

use http::HeaderMap;

use super::frames::{CONTINUATION, Frame, FrameReader, HEADERS};

/// The overhead of a field, as SETTINGS_MAX_HEADER_LIST_SIZE counts it (RFC 9113 section 6.5.2).
const FIELD: usize = 32;

/// Most bytes of trailers, where a head has `max_header_bytes` at most.
pub const fn max_trailer_bytes(max_header_bytes: usize) -> usize {
    max_header_bytes / 4
}

/// The size of trailers, as HTTP/2 counts it.
pub fn trailer_bytes(trailers: &HeaderMap) -> usize {
    let size = |(name, value): (&http::HeaderName, &http::HeaderValue)| name.as_str().len() + value.len() + FIELD;
    trailers.iter().map(size).sum()
}

/// A reader of one direction of a connection that knows where its frames begin, and nothing else of them.
#[derive(Debug)]
pub struct FieldBlocks {
    frames: FrameReader,
    progress: BlockProgress,
}

#[derive(Debug)]
struct BlockProgress {
    /// The largest block that may be trailers.
    limit: usize,
    /// The size of the latest block so far.
    size: usize,
    stream: u32,
    latest_stream: u32,
    opens_stream: bool,
}

/// A block that is too large for trailers. It may be a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LargeBlock {
    /// The stream's number.
    pub stream: u32,
    /// It is the first block of a stream that is newer than all before: a request's head.
    pub opens_stream: bool,
}

impl FieldBlocks {
    /// A reader of what a client sends, from its preface on, where a head has `max_header_bytes` at most.
    pub fn of_client(max_header_bytes: usize) -> Self {
        Self::new(max_header_bytes, FrameReader::after_preface())
    }

    /// A reader of what a server sends, where a head has `max_header_bytes` at most.
    pub fn of_server(max_header_bytes: usize) -> Self {
        Self::new(max_header_bytes, FrameReader::new())
    }

    fn new(max_header_bytes: usize, frames: FrameReader) -> Self {
        Self {
            frames,
            progress: BlockProgress {
                limit: max_header_bytes / 8 * 3,
                size: 0,
                stream: 0,
                latest_stream: 0,
                opens_stream: false,
            },
        }
    }

    /// Reads on, and calls `found` for each block that is too large, with the end of the frame that makes it so.
    pub fn advance(&mut self, bytes: &[u8], mut found: impl FnMut(LargeBlock)) {
        let Self { frames, progress } = self;
        frames.advance(bytes, |frame| {
            if let Some(block) = progress.add(frame) {
                found(block);
            }
        });
    }
}

impl BlockProgress {
    /// Takes a whole frame.
    fn add(&mut self, frame: Frame) -> Option<LargeBlock> {
        let before = match frame.kind {
            HEADERS => {
                self.stream = frame.stream;
                self.opens_stream = self.stream > self.latest_stream;
                self.latest_stream = self.latest_stream.max(self.stream);
                0
            }
            CONTINUATION => self.size,
            _ => return None,
        };
        self.size = before + frame.length;
        // Told once, when it grows too large.
        (before <= self.limit && self.size > self.limit).then_some(LargeBlock {
            stream: self.stream,
            opens_stream: self.opens_stream,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DATA: u8 = 0;
    /// Trailers have 384 bytes of this at most.
    const MAX_HEADER_BYTES: usize = 1024;

    fn frame(kind: u8, stream: u8, length: usize) -> Vec<u8> {
        let [.., high, low] = length.to_be_bytes();
        let mut frame = vec![0, high, low, kind, 0, 0, 0, 0, stream];
        // What a payload looks like does not matter: this is a HEADERS frame's head, over and over.
        frame.extend([0, 255, 255, HEADERS, 0, 0, 0, 0, 99].iter().cycle().take(length));
        frame
    }

    fn found(bytes: &[u8], cuts: &[usize]) -> Vec<(u32, bool)> {
        let mut blocks = FieldBlocks::of_client(MAX_HEADER_BYTES);
        let mut found = Vec::new();
        let mut places = cuts.to_vec();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        for pair in places.windows(2) {
            blocks.advance(&bytes[pair[0]..pair[1]], |block| {
                found.push((block.stream, block.opens_stream));
            });
        }
        found
    }

    proptest! {
        #[test]
        fn only_large_blocks_are_found_however_the_bytes_are_cut(
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let bytes = [
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
                frame(HEADERS, 1, 385),
                frame(DATA, 1, 9000),
                frame(HEADERS, 3, 384),
                frame(HEADERS, 1, 384),
                frame(HEADERS, 3, 300),
                frame(CONTINUATION, 3, 84),
                frame(CONTINUATION, 3, 1),
                frame(CONTINUATION, 3, 900),
                frame(HEADERS, 5, 9),
                frame(DATA, 5, 0),
                frame(HEADERS, 5, 400),
            ]
            .concat();
            let cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            prop_assert_eq!(found(&bytes, &cuts), [(1, true), (3, false), (5, false)]);
        }
    }

    #[test]
    fn trailers_are_counted_as_http2_does() {
        let trailers = HeaderMap::from_iter([("grpc-status".parse().expect("a name"), "5".parse().expect("a value"))]);
        assert_eq!(trailer_bytes(&trailers), 11 + 1 + 32);
    }
}
