//! Mutated answers, for as long as `FUZZ_SECONDS` says, read by the decoder and by a second, plain reader.

use std::path::Path;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use shared::test_util::fuzz;

use super::decode::{self, Decoder, Head, Part};

const SEEDS: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1a;x=\"y\"\r\nabcdefghijklmnopqrstuvwxyz\r\n00\r\na: b\r\nc:\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.0 529 Site is overloaded\r\nconnection: keep-alive, close\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n",
    b"HTTP/1.1 304\r\nname\t : x \r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.7\r\n",
];

const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r ",
    b"\r\r",
    b" ",
    b"0\r\n\r\n",
    b"0\r\n",
    b"5\r\nhello\r\n",
    b"ffffffffffffffff\r\n",
    b"content-length: ",
    b"transfer-encoding: chunked\r\n",
    b"HTTP/1.1 ",
    b"100",
    b"204",
    b"x: 1\r\n",
    b";a=b",
];

/// What became of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum End {
    Whole,
    /// More may come; the end of the connection would break it off, or, where that is its end, make it whole.
    Open {
        until_close: bool,
    },
    Refused,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Read {
    end: End,
    status: u16,
    body: Vec<u8>,
    trailers: usize,
    /// Bytes of the input up to its end; all of it when it has not ended.
    length: usize,
}

/// Reads as a connection does: interim answers are passed over.
fn read(pieces: &[&[u8]], is_head_request: bool) -> Read {
    let mut read = Read {
        end: End::Open { until_close: false },
        status: 0,
        body: Vec::new(),
        trailers: 0,
        length: 0,
    };
    let (mut head, mut partial): (Option<Head>, Vec<u8>) = (None, Vec::new());
    for piece in pieces {
        let mut ahead = Bytes::copy_from_slice(piece);
        read.length += piece.len();
        while head.is_none() {
            partial.extend_from_slice(&ahead);
            let whole = Bytes::from(std::mem::take(&mut partial));
            match decode::head(&whole, is_head_request) {
                Err(_) => return refused(read),
                Ok(None) => {
                    partial = whole.to_vec();
                    break;
                }
                Ok(Some((parsed, length))) => {
                    ahead = whole.slice(length..);
                    head = Some(parsed).filter(|head| !head.is_interim());
                }
            }
        }
        let Some(head) = &mut head else { continue };
        read.status = head.response.status().as_u16();
        loop {
            match head.decoder.next(&mut ahead) {
                Err(_) => return refused(read),
                Ok(Part::Data(data)) => {
                    assert!(!data.is_empty(), "a part without bytes");
                    read.body.extend_from_slice(&data);
                }
                Ok(Part::Trailers(trailers)) => read.trailers = trailers.len(),
                Ok(Part::NeedsMore) => break,
                Ok(Part::Ended) => {
                    read.length -= ahead.len();
                    read.end = End::Whole;
                    return read;
                }
            }
        }
        let until_close = matches!(head.decoder, Decoder::UntilClose);
        read.end = End::Open { until_close };
    }
    read
}

/// Of an answer that is refused it does not matter how far it came.
fn refused(read: Read) -> Read {
    Read {
        end: End::Refused,
        body: Vec::new(),
        length: 0,
        ..read
    }
}

/// The plain reader: it has all bytes at once. The body and its length as it came, when `input` has all of it.
fn chunked(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let line = line(&input[at..])?;
        at += line.len() + 2;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let extension = &line[digits..];
        let is_one = matches!(extension.first(), None | Some(b';' | b' ' | b'\t')) && !extension.contains(&b'\n');
        is_one.then_some(())?;
        let size = u64::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).ok()?;
        let end = at.checked_add(size)?;
        body.extend_from_slice(input.get(at..end)?);
        at = end + 2;
        (input.get(end..at)? == b"\r\n").then_some(())?;
    }
    loop {
        let line = line(&input[at..])?;
        at += line.len() + 2;
        if line.is_empty() {
            return Some((body, at));
        }
    }
}

fn line(input: &[u8]) -> Option<&[u8]> {
    let end = input.windows(2).position(|pair| pair == b"\r\n")?;
    Some(&input[..end])
}

/// Compares a final answer that the decoder calls whole with what the plain reader makes of it.
fn compare(input: &[u8], read: &Read, is_head_request: bool) {
    let mut start = 0;
    let head = loop {
        let (head, length) = decode::head(&Bytes::copy_from_slice(&input[start..]), is_head_request)
            .expect("it was read before")
            .expect("it is there");
        start += length;
        if !head.is_interim() {
            break head;
        }
    };
    let headers = head.response.headers();
    let lengths: Vec<_> = headers.get_all(CONTENT_LENGTH).iter().collect();
    let is_chunked = headers.contains_key(TRANSFER_ENCODING);
    assert!(!is_chunked || lengths.is_empty(), "two framings");
    assert!(
        lengths
            .windows(2)
            .all(|pair| pair[0] == pair[1] || pair[0].len() != pair[1].len())
    );
    let bodiless = is_head_request || matches!(read.status, 101 | 204 | 304);
    let (body, length) = match lengths.first() {
        _ if bodiless => (Vec::new(), 0),
        Some(length) => {
            let length: usize = length.to_str().expect("digits").parse().expect("a length that came");
            (input[start..start + length].to_vec(), length)
        }
        None => {
            assert!(
                is_chunked,
                "without a length or chunks only the connection's end is one"
            );
            chunked(&input[start..]).expect("the plain reader finds its end too")
        }
    };
    assert_eq!((&read.body, read.length), (&body, start + length));
}

/// Checks one input, and tells what the decoder did with it.
fn check(input: &[u8], is_head_request: bool) -> (End, u16, usize, usize) {
    let whole = read(&[input], is_head_request);
    // A head is parsed anew with each piece: of a long input in single bytes that would take all the time.
    let bytes: Vec<&[u8]> = input.chunks(1 + input.len() / 128).collect();
    let (before, after) = input.split_at(input.len() / 2);
    for pieces in [&bytes[..], &[before, after]] {
        let cut = read(pieces, is_head_request);
        // What follows an answer is not looked at, and may not have come yet.
        assert_eq!(cut.end, whole.end);
        assert_eq!((&cut.body, cut.trailers), (&whole.body, whole.trailers));
    }
    assert!(whole.body.len() + whole.trailers <= input.len());
    if whole.end == End::Whole {
        compare(input, &whole, is_head_request);
        let short = read(&[&input[..whole.length - 1]], is_head_request);
        assert_ne!(short.end, End::Whole, "its last byte is missing");
    }
    (whole.end, whole.status, whole.trailers, whole.body.len().min(4))
}

#[test]
fn no_answer_is_read_in_two_ways_or_taken_for_whole_before_its_end() {
    let regressions = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/upstream/http1/regressions");
    fuzz(&regressions, SEEDS, WORDS, |input| {
        // Only the head is read in another way.
        let to_head = read(&[input], true);
        if to_head.end == End::Whole {
            compare(input, &to_head, true);
        }
        (check(input, false), to_head.end)
    });
}

#[test]
fn no_single_byte_makes_a_second_reading_of_an_answer() {
    for seed in SEEDS {
        for at in 0..seed.len() {
            for byte in *b"\0\t\n\r \",0:;=fg\x7f\xff" {
                let mut other = seed.to_vec();
                other[at] = byte;
                check(&other, false);
                let mut more = seed.to_vec();
                more.insert(at, byte);
                check(&more, false);
            }
            let mut less = seed.to_vec();
            less.remove(at);
            check(&less, false);
        }
    }
}
