//! Classes of bytes, by table, and the search for the end of a line.

/// Membership of every byte in one class.
pub(super) type Class = [bool; 256];

const fn class(members: &[u8]) -> Class {
    let mut class = [false; 256];
    let mut letter = b'a';
    while letter <= b'z' {
        class[letter as usize] = true;
        class[letter.to_ascii_uppercase() as usize] = true;
        letter += 1;
    }
    let mut digit = b'0';
    while digit <= b'9' {
        class[digit as usize] = true;
        digit += 1;
    }
    let mut at = 0;
    while at < members.len() {
        class[members[at] as usize] = true;
        at += 1;
    }
    class
}

/// `tchar`: methods and names, RFC 9110 section 5.6.2.
const TOKEN: Class = class(b"!#$%&'*+-.^_`|~");

/// A target's characters, RFC 3986, and those that browsers leave unescaped. No `#`: a fragment is never sent.
pub(super) const TARGET: Class = class(b"!$%&'()*+,-./:;=?@[]_~{}|\\^");

/// A host's name: what DNS and container networks have. RFC 3986 allows more, such as a comma, that only serves
/// to make two readers disagree.
pub(super) const HOST: Class = class(b"-._~");

/// The number of bytes at the start that belong to `class`.
pub(super) fn span(bytes: &[u8], class: &Class) -> usize {
    let end = bytes.iter().position(|byte| !class[usize::from(*byte)]);
    end.unwrap_or(bytes.len())
}

/// The token at the start, perhaps empty, and what follows it.
pub(super) fn split_token(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(span(bytes, &TOKEN))
}

/// The bytes without the spaces and tabs around them, the optional whitespace of RFC 9110.
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

fn is_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f
}

/// The place of the first control byte that is no tab: in a good line that is the CR at its end. Eight bytes at a
/// time, because this is the one pass over every byte of every head; a loop left to the compiler took twice as long.
pub(super) fn find_control(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGH: u64 = ONES << 7;
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let value = u64::from_le_bytes(*word);
        let delete = value ^ (ONES * 0x7f);
        let below_space = value.wrapping_sub(ONES * 0x20) & !value;
        let is_delete = delete.wrapping_sub(ONES) & !delete;
        // The high bit of each byte that is a hit; a borrow may mark bytes above a hit that are none.
        let mut hits = (below_space | is_delete) & HIGH;
        while hits != 0 {
            let at = hits.trailing_zeros() as usize / 8;
            if is_control(word[at]) {
                return Some(index * 8 + at);
            }
            hits &= hits - 1;
        }
    }
    let at = rest.iter().position(|byte| is_control(*byte))?;
    Some(words.len() * 8 + at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_control_byte_is_found_wherever_it_stands(
            bytes in prop::collection::vec(prop_oneof![8 => 0x1eu8..=0x81, 1 => any::<u8>()], 0..64),
        ) {
            prop_assert_eq!(find_control(&bytes), bytes.iter().position(|byte| is_control(*byte)));
        }
    }

    #[test]
    fn only_spaces_and_tabs_are_trimmed() {
        assert_eq!(trim(b" \t a b\t "), b"a b");
        assert_eq!(trim(b" \t "), b"");
        assert_eq!(trim(b"\x0b5\x0c"), b"\x0b5\x0c");
    }
}
