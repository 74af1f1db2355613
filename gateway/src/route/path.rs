//! Paths that mean one thing to the route table and another to an upstream are refused.

/// Whether a server that decodes `%2e`, `%2f` or `%5c`, or that folds dot segments and empty segments, could
/// see another path than the one that was matched. An encoded slash alone is fine: model names hold them.
pub fn is_unsafe(path: &str) -> bool {
    let plain = !path.contains('%') && !path.contains("/.") && !path.contains("//") && !path.contains('\\');
    if plain {
        return false;
    }
    let decoded = decode(path.as_bytes());
    let mut segments = decoded.split(|byte| *byte == b'/' || *byte == b'\\').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if segment == b"." || segment == b".." || (segment.is_empty() && !last) {
            return true;
        }
    }
    decoded.contains(&b'\\') || decoded.contains(&0)
}

fn decode(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        let value = match (byte, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        match value {
            Some(value) => {
                decoded.push(value);
                rest = &after[2..];
            }
            None => {
                decoded.push(byte);
                rest = after;
            }
        }
    }
    decoded
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for path in [
            "/predict/../admin",
            "/..",
            "/.",
            "/a/./b",
            "/%2e%2e/a",
            "/a/%2E./b",
            "/a/..%2fb",
            "/a%2f..%2fb",
            "//a",
            "/a//b",
            "/a\\..\\b",
            "/a%5cb",
            "/a%00b",
            "/a/%2e",
        ] {
            assert!(is_unsafe(path), "{path}");
        }
        for path in [
            "/",
            "/a",
            "/a/",
            "/a.b/..c",
            "/.well-known/x",
            "/org%2Fname:predict",
            "/100%",
            "/a%zz",
            "/a%20b",
        ] {
            assert!(!is_unsafe(path), "{path}");
        }
    }

    proptest! {
        #[test]
        fn plain_segments_are_never_refused(segments in prop::collection::vec("[a-zA-Z0-9_~:-]{1,10}", 0..6)) {
            let path = format!("/{}", segments.join("/"));
            prop_assert!(!is_unsafe(&path), "{}", path);
        }

        #[test]
        fn a_dot_segment_is_refused_however_it_is_written(
            before in "(/[a-z]{1,5}){0,3}",
            dots in prop::sample::select(vec![".", "..", "%2e", "%2E%2e", ".%2e"]),
            slash in prop::sample::select(vec!["/", "%2f", "%2F"]),
        ) {
            let path = format!("{before}/x{slash}{dots}");
            prop_assert!(is_unsafe(&path), "{}", path);
        }
    }
}
