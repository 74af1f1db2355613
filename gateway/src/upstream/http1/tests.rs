use super::decode::{self, Decoder, Part};
use super::encode::{self, Encoder};
use super::*;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use proptest::prelude::*;
use std::future::poll_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Result of reading an answer whose bytes arrive in these pieces.
fn decoded(pieces: &[&[u8]], is_head_request: bool) -> Result<(StatusCode, Vec<u8>, HeaderMap, bool), UpstreamError> {
    let mut head = None;
    let mut before = Vec::new();
    let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
    for piece in pieces {
        let mut ahead = Bytes::copy_from_slice(piece);
        if head.is_none() {
            before.extend_from_slice(piece);
            let whole = Bytes::from(before.clone());
            let Some((parsed, length)) = decode::head(&whole, is_head_request)? else {
                continue;
            };
            head = Some(parsed);
            ahead = whole.slice(length..);
        }
        let decoder = &mut head.as_mut().expect("it was just parsed").decoder;
        loop {
            match decoder.next(&mut ahead)? {
                Part::Data(data) => body.extend_from_slice(&data),
                Part::Trailers(last) => trailers = last,
                Part::Ended | Part::NeedsMore => break,
            }
        }
    }
    let head = head.ok_or(UpstreamError::Closed)?;
    let ended = matches!(head.decoder, Decoder::Ended);
    Ok((head.response.status(), body, trailers, ended))
}

fn answer(text: &str) -> Result<(StatusCode, Vec<u8>, HeaderMap, bool), UpstreamError> {
    decoded(&[text.as_bytes()], false)
}

#[test]
fn a_body_ends_where_its_framing_says() {
    for (text, body) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokmore", "ok"),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "ok",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2;x=\"y\"\r\nok\r\n00\r\n\r\n",
            "ok",
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", ""),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", ""),
        ("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", ""),
    ] {
        let (_, got, _, ended) = answer(text).expect(text);
        assert_eq!(got, body.as_bytes(), "{text}");
        assert!(ended, "{text}");
    }
    let (_, body, _, ended) = answer("HTTP/1.1 200 OK\r\n\r\nuntil the end").expect("valid");
    assert_eq!((body.as_slice(), ended), (b"until the end".as_slice(), false));
    let head = decoded(&[b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"], true).expect("valid");
    assert!(head.1.is_empty() && head.3, "HEAD has no body");
}

#[test]
fn an_answer_that_could_be_read_in_two_ways_is_refused() {
    for text in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nna me : x\r\n\r\n",
        "HTTP/1.1 200 OK\r\n : x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nname: x\r\n folded\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 099 Low\r\n\r\n",
        "SSH-2.0-OpenSSH_9.7\r\n",
    ] {
        assert!(matches!(answer(text), Err(UpstreamError::Invalid(_))), "{text:?}");
    }
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    for chunks in [
        "\r\n",
        "x\r\n",
        "-1\r\n",
        "0x2\r\nok\r\n",
        " 2\r\nok\r\n",
        "2\nok\r\n",
        "2\r\nokay\r\n",
        "2\r\nok\n0\r\n\r\n",
        "11111111111111111\r\n",
        "2;x\nok\r\n",
        "0\r\nbad name: x\r\n\r\n",
    ] {
        let text = format!("{chunked}{chunks}");
        assert!(matches!(answer(&text), Err(UpstreamError::Invalid(_))), "{chunks:?}");
    }
    let long = format!("{chunked}2;{}\r\nok\r\n0\r\n\r\n", "x".repeat(5000));
    assert!(matches!(answer(&long), Err(UpstreamError::Invalid(_))));
}

#[test]
fn trailers_are_read_and_framing_has_no_place_among_them() {
    let text = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\ngrpc-status: 0\r\ncontent-length: 9\r\n\r\n";
    let (_, _, trailers, ended) = answer(text).expect("valid");
    assert!(ended);
    assert_eq!(trailers.len(), 1);
    assert_eq!(trailers["grpc-status"], "0");
}

/// The bytes of a request with this head, whose body comes in these frames.
fn encoded(head: &request::Parts, body: &RequestBody, frames: Vec<Frame<Bytes>>) -> Result<Vec<u8>, UpstreamError> {
    let (mut out, mut parts) = (Vec::new(), VecDeque::new());
    let mut encoder = encode::head(&mut out, head, &InjectedHeaders::default(), body);
    let mut all = Vec::new();
    for frame in frames {
        encoder.encode(frame, &mut out, &mut parts)?;
        all.append(&mut out);
        all.extend(parts.drain(..).flatten());
    }
    encoder.end(&mut out)?;
    all.append(&mut out);
    Ok(all)
}

fn request(method: &str, headers: &[(&'static str, &'static str)]) -> request::Parts {
    let mut request = Request::builder().method(method).uri("/a?b");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request").into_parts().0
}

#[test]
fn a_request_announces_its_body_once() {
    let empty = RequestBody::Whole(Bytes::new());
    let text =
        |head, body: &RequestBody| String::from_utf8(encoded(&head, body, vec![]).expect("valid")).expect("text");
    assert_eq!(
        text(request("GET", &[("host", "h")]), &empty),
        "GET /a?b HTTP/1.1\r\nhost: h\r\n\r\n"
    );
    assert_eq!(
        text(request("POST", &[]), &empty),
        "POST /a?b HTTP/1.1\r\ncontent-length: 0\r\n\r\n"
    );
    assert_eq!(
        text(request("POST", &[("content-length", "0")]), &empty),
        "POST /a?b HTTP/1.1\r\ncontent-length: 0\r\n\r\n"
    );
}

#[test]
fn chunks_and_trailers_are_written_as_they_come() {
    let mut out = Vec::new();
    let mut parts = VecDeque::new();
    let mut encoder = Encoder::Chunked;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", HeaderValue::from_static("1"));
    trailers.insert("content-length", HeaderValue::from_static("9"));
    for frame in [Frame::data(Bytes::from_static(b"ok")), Frame::trailers(trailers)] {
        encoder.encode(frame, &mut out, &mut parts).expect("valid");
    }
    encoder.end(&mut out).expect("ended");
    assert_eq!(out, b"2\r\nok\r\n0\r\nx-checksum: 1\r\n\r\n");
}

#[test]
fn a_body_that_is_not_as_long_as_announced_is_an_error() {
    let (mut out, mut parts) = (Vec::new(), VecDeque::new());
    let data = |text: &'static str| Frame::data(Bytes::from_static(text.as_bytes()));
    let mut encoder = Encoder::Length(3);
    assert!(encoder.encode(data("four"), &mut out, &mut parts).is_err());
    let mut encoder = Encoder::Length(3);
    encoder
        .encode(data("ok"), &mut out, &mut parts)
        .expect("not too long yet");
    assert!(encoder.end(&mut out).is_err());
}

/// A connection and the upstream's end of it.
async fn connected() -> (Http1, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let stream = TcpStream::connect(address).await.expect("connects");
    let (upstream, _) = listener.accept().await.expect("accepts");
    (Http1::new(stream, 8192), upstream)
}

async fn exchange(http: &mut Http1, upstream: &mut TcpStream, answer: &[u8]) -> Result<Response<()>, UpstreamError> {
    let body = RequestBody::Whole(Bytes::from_static(b"body"));
    http.start(&request("POST", &[]), &InjectedHeaders::default(), &body);
    upstream.write_all(answer).await.expect("written");
    poll_fn(|cx| http.poll_answer(cx)).await
}

#[tokio::test]
async fn interim_answers_are_passed_over_and_the_connection_can_be_used_again() {
    let (mut http, mut upstream) = connected().await;
    let text = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let response = exchange(&mut http, &mut upstream, text).await.expect("an answer");
    assert_eq!(response.status(), 200);
    assert!(!http.may_be_used_again(), "the body is still to be read");
    let frame = poll_fn(|cx| http.poll_body(cx)).await.expect("a frame").expect("data");
    assert_eq!(frame.into_data().expect("data"), "ok");
    assert!(poll_fn(|cx| http.poll_body(cx)).await.is_none());
    assert!(http.may_be_used_again() && http.is_quiet());
    let mut seen = vec![0; 200];
    let count = upstream.read(&mut seen).await.expect("read");
    assert_eq!(&seen[..count], b"POST /a?b HTTP/1.1\r\ncontent-length: 4\r\n\r\nbody");
}

#[tokio::test]
async fn a_connection_that_says_close_or_says_more_is_not_used_again() {
    for text in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\n",
    ] {
        let (mut http, mut upstream) = connected().await;
        exchange(&mut http, &mut upstream, text.as_bytes())
            .await
            .expect("an answer");
        assert!(!http.may_be_used_again(), "{text}");
    }
}

#[tokio::test]
async fn what_was_not_written_is_handed_over_whole() {
    let (mut http, upstream) = connected().await;
    drop(upstream);
    http.start(
        &request("POST", &[]),
        &InjectedHeaders::default(),
        &RequestBody::Whole(Bytes::from_static(b"body")),
    );
    let unsent = http.take_unsent().expect("nothing went out");
    let (mut other, mut upstream) = connected().await;
    other.start_unsent(unsent);
    upstream
        .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
        .await
        .expect("written");
    let response = poll_fn(|cx| other.poll_answer(cx)).await.expect("an answer");
    assert_eq!(response.status(), 204);
    assert!(other.take_unsent().is_none(), "it went out");
}

#[tokio::test]
async fn a_head_over_the_limit_is_an_error_that_says_so() {
    let (mut http, mut upstream) = connected().await;
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(9000));
    let answer = exchange(&mut http, &mut upstream, long.as_bytes()).await;
    assert!(matches!(answer, Err(UpstreamError::HeadTooLarge(8192))), "{answer:?}");
}

proptest! {
    #[test]
    fn how_an_answer_is_cut_into_pieces_does_not_matter(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
        trailer: bool,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut text = b"HTTP/1.1 200 OK\r\nserver: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for chunk in &chunks {
            text.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
            text.extend_from_slice(chunk);
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(if trailer { b"0\r\na: b\r\n\r\n" } else { b"0\r\n\r\n" });
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
        places.extend([0, text.len()]);
        places.sort_unstable();
        let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        let (_, body, trailers, ended) = decoded(&pieces, false).expect("valid");
        prop_assert_eq!(body, chunks.concat());
        prop_assert_eq!(trailers.len(), usize::from(trailer));
        prop_assert!(ended);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), chunked: bool) {
        let mut text = Vec::new();
        if chunked {
            text.extend_from_slice(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        }
        text.extend_from_slice(&bytes);
        let _refused_or_not = decoded(&[&text], false);
    }
}
