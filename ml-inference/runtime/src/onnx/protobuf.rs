//! The wire format of protocol buffers (<https://protobuf.dev/programming-guides/encoding/>), as a view into the file.

use super::error::OnnxError;

/// A message: fields one after the other, in any order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    rest: &'a [u8],
    /// Where `rest` begins in the file.
    at: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) number: u64,
    value: Value<'a>,
    /// Where the value begins in the file.
    at: usize,
}

#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Bytes(&'a [u8]),
}

impl<'a> Message<'a> {
    pub(super) fn file(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, at: 0 }
    }

    /// The next field, or `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>, OnnxError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let at = self.at;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.fixed()?),
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).map_err(|_large| self.short(at))?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed32(self.fixed()?),
            kind => return Err(broken(at, format!("a field has the unknown wire type {kind}"))),
        };
        let at = match value {
            Value::Bytes(bytes) => self.at - bytes.len(),
            _ => at,
        };
        Ok(Some(Field {
            number: key >> 3,
            value,
            at,
        }))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], OnnxError> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(self.short(self.at));
        };
        self.rest = rest;
        self.at += length;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], OnnxError> {
        let at = self.at;
        let taken = self.take(N)?;
        taken.try_into().map_err(|_length| self.short(at))
    }

    fn varint(&mut self) -> Result<u64, OnnxError> {
        let begin = self.at;
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.fixed::<1>()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(broken(begin, "a number has more than 64 bits".to_owned()))
    }

    fn short(&self, at: usize) -> OnnxError {
        broken(at, "it ends in the middle of a field".to_owned())
    }
}

impl<'a> Field<'a> {
    pub(super) fn bytes(&self) -> Result<&'a [u8], OnnxError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.mismatch("bytes")),
        }
    }

    pub(super) fn text(&self) -> Result<&'a str, OnnxError> {
        let text = std::str::from_utf8(self.bytes()?);
        text.map_err(|_other| broken(self.at, "a text is no UTF-8".to_owned()))
    }

    pub(super) fn message(&self) -> Result<Message<'a>, OnnxError> {
        Ok(Message {
            rest: self.bytes()?,
            at: self.at,
        })
    }

    /// An `int64`, or any other integer or enum that is written as one.
    pub(super) fn int(&self) -> Result<i64, OnnxError> {
        match self.value {
            Value::Varint(value) => Ok(value.cast_signed()),
            _ => Err(self.mismatch("an integer")),
        }
    }

    pub(super) fn float(&self) -> Result<f32, OnnxError> {
        match self.value {
            Value::Fixed32(bytes) => Ok(f32::from_le_bytes(bytes)),
            _ => Err(self.mismatch("a 32-bit float")),
        }
    }

    /// Adds one integer, or all of a packed list of them.
    pub(super) fn ints(&self, list: &mut Vec<i64>) -> Result<(), OnnxError> {
        match self.value {
            Value::Bytes(_) => {
                let mut packed = self.message()?;
                while !packed.rest.is_empty() {
                    list.push(packed.varint()?.cast_signed());
                }
            }
            _ => list.push(self.int()?),
        }
        Ok(())
    }

    pub(super) fn floats(&self, list: &mut Vec<f32>) -> Result<(), OnnxError> {
        match self.value {
            Value::Bytes(bytes) => list.extend(self.packed(bytes)?.iter().map(|bytes| f32::from_le_bytes(*bytes))),
            _ => list.push(self.float()?),
        }
        Ok(())
    }

    pub(super) fn doubles(&self, list: &mut Vec<f64>) -> Result<(), OnnxError> {
        match self.value {
            Value::Bytes(bytes) => list.extend(self.packed(bytes)?.iter().map(|bytes| f64::from_le_bytes(*bytes))),
            Value::Fixed64(bytes) => list.push(f64::from_le_bytes(bytes)),
            _ => return Err(self.mismatch("a 64-bit float")),
        }
        Ok(())
    }

    fn packed<const N: usize>(&self, bytes: &'a [u8]) -> Result<&'a [[u8; N]], OnnxError> {
        match bytes.as_chunks() {
            (whole, []) => Ok(whole),
            _ => Err(broken(
                self.at,
                "a packed list ends in the middle of a number".to_owned(),
            )),
        }
    }

    fn mismatch(&self, expected: &str) -> OnnxError {
        broken(self.at, format!("field {} is not {expected}", self.number))
    }
}

fn broken(at: usize, problem: String) -> OnnxError {
    OnnxError::Broken { at, problem }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(bytes: &[u8]) -> Result<Vec<Field<'_>>, OnnxError> {
        let mut message = Message::file(bytes);
        let mut fields = Vec::new();
        while let Some(field) = message.next()? {
            fields.push(field);
        }
        Ok(fields)
    }

    #[test]
    fn fields_are_read_whether_packed_or_not() {
        let bytes = [
            0x08, 0x96, 0x01, 0x12, 0x03, b'a', b'b', b'c', 0x1a, 0x03, 0x01, 0x96, 0x01,
        ];
        let fields = fields(&bytes).expect("well formed");
        assert_eq!(fields.iter().map(|field| field.number).collect::<Vec<u64>>(), [1, 2, 3]);
        assert_eq!(fields[0].int(), Ok(150));
        assert_eq!(fields[1].text(), Ok("abc"));
        let mut ints = Vec::new();
        fields[0].ints(&mut ints).expect("one");
        fields[2].ints(&mut ints).expect("two");
        assert_eq!(ints, [150, 1, 150]);
    }

    #[test]
    fn what_is_broken_is_told_with_its_place() {
        for (bytes, message) in [
            (&[0x08][..], "at byte 1: it ends in the middle of a field"),
            (
                &[0x08, 0x01, 0x12, 0x05, b'a'],
                "at byte 4: it ends in the middle of a field",
            ),
            (&[0x0b], "at byte 1: a field has the unknown wire type 3"),
            (
                &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
                "at byte 1: a number has more",
            ),
            (
                &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
                "it ends in the middle",
            ),
        ] {
            let error = fields(bytes).expect_err("broken").to_string();
            assert!(error.contains(message), "{error}");
        }
        let number = fields(&[0x08, 0x01]).expect("well formed")[0];
        assert!(number.text().is_err() && number.float().is_err() && number.doubles(&mut Vec::new()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(fields) = fields(&bytes) {
                for field in fields {
                    // Whatever these say, they say it as a value.
                    let _either = (field.ints(&mut Vec::new()), field.floats(&mut Vec::new()), field.doubles(&mut Vec::new()));
                }
            }
        }
    }
}
