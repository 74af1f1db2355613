//! Compressed request bodies, as Triton's clients send them when they are told to: gzip (RFC 1952), and zlib (RFC 1950), which HTTP
//! calls deflate.

use std::io::{self, BufRead, Read};

use bytes::Bytes;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use super::error::BodyError;

/// A byte of DEFLATE becomes at most so many (zlib's technical notes).
pub(super) const MOST_EXPANSION: usize = 1032;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Deflate,
}

impl Coding {
    /// Coding that Content-Encoding names; `None` for an unknown one, and for several codings.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let Some(value) = values.next() else {
            return Some(Self::Identity);
        };
        let named = |name: &str| value.as_bytes().eq_ignore_ascii_case(name.as_bytes());
        let coding = if named("identity") {
            Self::Identity
        } else if named("gzip") || named("x-gzip") {
            Self::Gzip
        } else if named("deflate") {
            Self::Deflate
        } else {
            return None;
        };
        values.next().is_none().then_some(coding)
    }

    /// Decompresses `body` to at most `limit` bytes.
    pub(super) fn decode(self, body: Bytes, limit: usize) -> Result<Bytes, BodyError> {
        let (coding, decoded) = match self {
            Self::Identity => return Ok(body),
            Self::Gzip => ("gzip", inflate(MultiGzDecoder::new(&*body), limit)),
            Self::Deflate => {
                let mut decoder = ZlibDecoder::new(&*body);
                let decoded = inflate(&mut decoder, limit).and_then(|decoded| {
                    let is_whole = decoded.len() > limit || decoder.into_inner().fill_buf()?.is_empty();
                    is_whole
                        .then_some(decoded)
                        .ok_or_else(|| io::ErrorKind::InvalidData.into())
                });
                ("deflate", decoded)
            }
        };
        let decoded = decoded.map_err(|_broken| BodyError::Coding { coding })?;
        match decoded.len() <= limit {
            true => Ok(decoded.into()),
            false => Err(BodyError::TooLarge { limit }),
        }
    }
}

/// At most one byte more than `limit`, which tells that there are more.
fn inflate(decoder: impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut decoded = Vec::new();
    decoder
        .take((limit as u64).saturating_add(1))
        .read_to_end(&mut decoded)?;
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1000;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).expect("memory");
        encoder.finish().expect("memory")
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).expect("memory");
        encoder.finish().expect("memory")
    }

    fn decode(coding: Coding, body: Vec<u8>) -> Result<Vec<u8>, BodyError> {
        coding.decode(body.into(), LIMIT).map(|decoded| decoded.to_vec())
    }

    fn named(values: &[&str]) -> Option<Coding> {
        let header = |value: &&str| (CONTENT_ENCODING, HeaderValue::from_str(value).expect("a value"));
        Coding::of(&values.iter().map(header).collect())
    }

    #[test]
    fn codings_are_known_by_their_names() {
        assert_eq!(named(&[]), Some(Coding::Identity));
        assert_eq!(named(&["identity"]), Some(Coding::Identity));
        assert_eq!(named(&["GZip"]), Some(Coding::Gzip));
        assert_eq!(named(&["x-gzip"]), Some(Coding::Gzip));
        assert_eq!(named(&["deflate"]), Some(Coding::Deflate));
        for other in [
            &["br"][..],
            &["gzip, gzip"],
            &["gzip", "gzip"],
            &["gzip", "identity"],
            &[""],
        ] {
            assert_eq!(named(other), None, "{other:?}");
        }
    }

    #[test]
    fn the_limit_holds_for_what_comes_out() {
        for (coding, compress) in [(Coding::Gzip, gzip as fn(&[u8]) -> Vec<u8>), (Coding::Deflate, zlib)] {
            assert_eq!(decode(coding, compress(&[7; LIMIT])), Ok(vec![7; LIMIT]));
            for length in [LIMIT + 1, 10_000_000] {
                let refused = decode(coding, compress(&vec![7; length]));
                assert_eq!(
                    refused,
                    Err(BodyError::TooLarge { limit: LIMIT }),
                    "{coding:?} {length}"
                );
            }
        }
    }

    #[test]
    fn gzip_may_have_several_members() {
        assert_eq!(
            decode(Coding::Gzip, [gzip(b"ab"), gzip(b"c")].concat()),
            Ok(b"abc".to_vec())
        );
    }

    #[test]
    fn what_is_not_all_of_it_or_more_is_refused() {
        let raw = {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(b"text").expect("memory");
            encoder.finish().expect("memory")
        };
        let (zipped, deflated) = (gzip(b"text"), zlib(b"text"));
        let mut wrong_sum = deflated.clone();
        *wrong_sum.last_mut().expect("a checksum") ^= 1;
        for (coding, body) in [
            (Coding::Gzip, b"text".to_vec()),
            (Coding::Gzip, Vec::new()),
            (Coding::Gzip, zipped[..zipped.len() - 1].to_vec()),
            (Coding::Gzip, [&zipped[..], b"x"].concat()),
            (Coding::Gzip, [&zipped[..], b"\0\0\0"].concat()),
            (Coding::Gzip, deflated.clone()),
            (Coding::Deflate, raw),
            (Coding::Deflate, Vec::new()),
            (Coding::Deflate, wrong_sum),
            (Coding::Deflate, deflated[..deflated.len() - 1].to_vec()),
            (Coding::Deflate, [&deflated[..], b"x"].concat()),
        ] {
            let refused = decode(coding, body.clone());
            assert!(
                matches!(refused, Err(BodyError::Coding { .. })),
                "{coding:?} {body:?}: {refused:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_back(text in prop::collection::vec(any::<u8>(), 0..LIMIT)) {
            prop_assert_eq!(decode(Coding::Gzip, gzip(&text)), Ok(text.clone()));
            prop_assert_eq!(decode(Coding::Deflate, zlib(&text)), Ok(text));
        }

        #[test]
        fn no_bytes_upset_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for coding in [Coding::Gzip, Coding::Deflate] {
                let length = decode(coding, bytes.clone()).map_or(0, |decoded| decoded.len());
                prop_assert!(length <= LIMIT, "{coding:?}: {length}");
            }
        }
    }
}
