use super::*;
use proptest::prelude::*;
use proxy_header::{ProxiedAddress, Tlv};

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn header(source: &str, destination: &str) -> ProxyHeader<'static> {
    ProxyHeader::with_address(ProxiedAddress::stream(address(source), address(destination)))
}

fn version_2(header: &ProxyHeader<'_>) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 17];
    let length = header.encode_to_slice_v2(&mut bytes).expect("fits");
    bytes.truncate(length);
    bytes
}

fn fixed(version_and_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("fits").to_be_bytes();
    [V2_SIGNATURE, &[version_and_command, family], &length, rest].concat()
}

#[test]
fn a_header_names_the_client_or_nobody() {
    let v4 = "203.0.113.9:4711";
    let v6 = "[2001:db8::9]:4711";
    let mut with_additions = header(v4, "192.0.2.1:443");
    with_additions.append_tlv(Tlv::Authority("app.example".into()));
    with_additions.append_tlv(Tlv::Custom(0xea, vec![7; 900].into()));
    for (bytes, client) in [
        (b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n".to_vec(), Some(v4)),
        (b"PROXY TCP6 2001:db8::9 2001:db8::1 4711 443\r\n".to_vec(), Some(v6)),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
        (version_2(&header(v4, "192.0.2.1:443")), Some(v4)),
        (version_2(&header(v6, "[2001:db8::1]:443")), Some(v6)),
        (version_2(&with_additions), Some(v4)),
        (version_2(&ProxyHeader::with_local()), None),
        // LOCAL, whatever it says besides.
        (fixed(V2_LOCAL, 0x11, &[]), None),
        (fixed(V2_LOCAL, 0xff, &[1, 2, 3]), None),
        // A family that is not told, and a Unix socket.
        (fixed(0x21, 0x00, &[]), None),
        (fixed(0x21, 0x31, &[0; 216]), None),
    ] {
        let expected = Parsed {
            client: client.map(address),
            length: bytes.len(),
        };
        let followed = [&bytes[..], b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(parse(&followed).expect("valid"), Some(expected), "{bytes:?}");
        for length in 0..bytes.len() {
            assert_eq!(
                parse(&bytes[..length]).expect("not over yet"),
                None,
                "{length} of {bytes:?}"
            );
        }
    }
}

#[test]
fn what_is_no_header_is_refused_as_early_as_it_shows() {
    let unterminated = [&b"PROXY UNKNOWN "[..], &[b'x'; LONGEST_V1]].concat();
    for bytes in [
        &b"G"[..],
        b"GET / HTTP/1.1\r\n",
        b"PROXI",
        b"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n\r\n",
        b"\r\n\r\n\0\r\nQUIX",
        &unterminated,
        // A version and a command that do not exist, addresses cut off, and a client of UDP.
        &fixed(0x11, 0x11, &[0; 12]),
        &fixed(0x22, 0x11, &[0; 12]),
        &fixed(0x21, 0x11, &[0; 11]),
        &fixed(0x21, 0x21, &[0; 35]),
        &fixed(0x21, 0x12, &[0; 12]),
    ] {
        let fault = parse(bytes).expect_err("no header");
        assert!(matches!(fault, Fault::Malformed), "{fault}: {bytes:?}");
    }
}

#[test]
fn a_header_has_a_longest_length() {
    let of = |length: usize| fixed(V2_LOCAL, 0, &vec![0; length - V2_FIXED]);
    assert!(parse(&of(LONGEST)).expect("valid").is_some());
    let fault = parse(&of(LONGEST + 1)[..V2_FIXED]).expect_err("too long");
    assert!(matches!(fault, Fault::TooLong), "{fault}");
}

proptest! {
    /// A header is read to its end whatever follows and wherever the connection cuts it, and nothing makes the reader panic.
    #[test]
    fn any_bytes_are_read_or_refused(start in 0..4_usize, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let starts = [&b""[..], b"PROXY ", b"PROXY TCP4 ", V2_SIGNATURE];
        let bytes = [starts[start], &bytes].concat();
        if let Ok(Some(parsed)) = parse(&bytes) {
            prop_assert!(parsed.length <= bytes.len());
            let again = parse(&bytes[..parsed.length]).expect("valid");
            prop_assert_eq!(again, Some(parsed));
        }
    }
}
