//! Paths that mean one thing to the route table and another to an upstream are refused.

use shared::percent::decode;

/// Tells whether a server that decodes `%2e`, `%2f` or `%5c`, or that folds dot segments and empty segments, could
/// see another path than the one that was matched. An encoded slash alone is fine: model names hold them.
/// For a path that [`decode_unreserved`] has put into its one form.
pub fn is_unsafe(path: &str) -> bool {
    let plain = !path.contains('%') && !path.contains("/.") && !path.contains("//") && !path.contains('\\');
    if plain {
        return false;
    }
    let Some(decoded) = decode(path, |_| true) else {
        return true;
    };
    let mut segments = decoded.split(|byte| *byte == b'/' || *byte == b'\\').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if segment == b"." || segment == b".." || (segment.is_empty() && !last) {
            return true;
        }
    }
    decoded.contains(&b'\\') || decoded.contains(&0)
}

/// The path with encoded letters, digits and `-._~` as themselves, which by RFC 3986 section 6.2.2.2 means the
/// same; `None` when that changes nothing. Routes match this form and upstreams get it, so that `/%61dmin`
/// is no way around a route for `/admin`. A path with a broken escape stays as it is: it is unsafe.
pub fn decode_unreserved(path: &str) -> Option<String> {
    if !path.contains('%') {
        return None;
    }
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let decoded = String::from_utf8(decode(path, unreserved)?).ok()?;
    (decoded != path).then_some(decoded)
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
            "/100%",
            "/a%zz",
            "/%%361dmin",
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
            "/a%20b",
        ] {
            assert!(!is_unsafe(path), "{path}");
        }
    }

    #[test]
    fn encoded_unreserved_characters_are_decoded_and_others_are_not() {
        assert_eq!(decode_unreserved("/%61dmi%6E").as_deref(), Some("/admin"));
        assert_eq!(decode_unreserved("/%7Euser%2D1").as_deref(), Some("/~user-1"));
        for unchanged in ["/a", "/a%2Fb", "/a%20b", "/a%", "/a%4", "/a%zz", "/%C3%A4"] {
            assert_eq!(decode_unreserved(unchanged), None, "{unchanged}");
        }
    }

    proptest! {
        #[test]
        fn after_decoding_there_is_nothing_left_to_decode(path in "/[a-z0-9A-F%]{0,20}") {
            if let Some(once) = decode_unreserved(&path) {
                prop_assert_eq!(decode_unreserved(&once), None);
            }
        }

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
