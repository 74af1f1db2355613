//! Mutated requests, for as long as `FUZZ_SECONDS` says.

use std::path::Path;

use shared::test_util::fuzz;

use crate::reading::{judge, judge_byte_by_byte, judge_whole, read_again};
use crate::table::{BAD_CHUNKS, CHUNKED, GOOD, bad_heads};

const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b" ",
    b"\t",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"host: a\r\n",
    b"content-length: ",
    b"chunked",
    b"upgrade: x\r\n",
    b"transfer-encoding: ",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b";a=\"b\"",
    b"http://",
    b"*",
    b"[::1]:80",
    b"CONNECT ",
];

#[test]
fn no_input_passes_that_others_read_differently() {
    let bad = bad_heads();
    let chunks = BAD_CHUNKS.iter().map(|(body, _)| format!("{CHUNKED}{body}"));
    let bad: Vec<String> = bad.into_iter().map(|(head, _)| head).chain(chunks).collect();
    let seeds = GOOD
        .iter()
        .map(|(text, _)| text.as_bytes())
        .chain(bad.iter().map(String::as_bytes));
    let regressions = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http1/regressions");
    fuzz(&regressions, &seeds.collect::<Vec<_>>(), WORDS, |input| {
        let whole = judge_whole(input);
        assert_eq!(judge_byte_by_byte(input), whole, "cut into bytes");
        assert_eq!(judge(input, [input.len() / 2]), whole, "cut in the middle");
        assert!(input.starts_with(&whole.passed));
        read_again(&whole);
        (whole.refusal, whole.requests, whole.in_head, whole.in_body)
    });
}
