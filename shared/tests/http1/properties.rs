//! Whatever comes: the verdict is the same however the bytes are cut, and what passes is read by others as the same.

use proptest::prelude::*;

use crate::reading::{judge, judge_whole, read_again};
use crate::table::{BAD_CHUNKS, BAD_FIELDS, BAD_LINES, CHUNKED, GOOD};

/// Pieces of requests, put together in an order that often makes sense.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(GOOD).prop_map(|(text, _)| text.as_bytes().to_vec()),
        2 => prop::sample::select(BAD_LINES).prop_map(|(line, _)| format!("{line}\r\n").into_bytes()),
        2 => prop::sample::select(BAD_FIELDS).prop_map(|(fields, _)| format!("{fields}\r\n").into_bytes()),
        2 => prop::sample::select(BAD_CHUNKS).prop_map(|(body, _)| body.as_bytes().to_vec()),
        2 => prop::sample::select(vec![
            "GET / HTTP/1.1\r\n", "POST /x HTTP/1.1\r\nhost: a\r\n", "host: a\r\n", "\r\n", "content-length: 3\r\n",
            "upgrade: x\r\n",
            CHUNKED, "5\r\nhello\r\n", "0\r\n", "x: y\r\n",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn the_verdict_does_not_depend_on_how_the_bytes_are_cut(
        input in stream(),
        pieces in prop::collection::vec(1..40_usize, 0..60),
    ) {
        prop_assert_eq!(judge(&input, pieces), judge_whole(&input));
    }

    #[test]
    fn what_passes_is_read_by_others_as_the_same(input in stream()) {
        let verdict = judge_whole(&input);
        prop_assert!(input.starts_with(&verdict.passed));
        read_again(&verdict);
    }

    #[test]
    fn a_body_passes_whatever_it_holds(body in prop::collection::vec(any::<u8>(), 0..300), size in 1..50_usize) {
        let length = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
        let sized = [length.as_bytes(), &body].concat();
        let chunks = body.chunks(size).map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
        let chunked = [CHUNKED.as_bytes(), &chunks.collect::<Vec<_>>().concat(), b"0\r\n\r\n"].concat();
        for input in [sized, chunked] {
            let verdict = judge_whole(&input);
            prop_assert_eq!((verdict.refusal, verdict.in_body), (None, false));
            prop_assert_eq!(verdict.passed, input);
        }
    }
}
