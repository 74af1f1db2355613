//! The elements of a tensor: a vector of one of the types.

use std::ops::Range;

use bytes::Bytes;

use super::data_type::DataType;

#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    Bool(Vec<bool>),
    Uint8(Vec<u8>),
    Uint16(Vec<u16>),
    Uint32(Vec<u32>),
    Uint64(Vec<u64>),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Fp32(Vec<f32>),
    Fp64(Vec<f64>),
    Bytes(Vec<Bytes>),
}

/// Runs one expression on the vector inside, whatever its type.
macro_rules! with_values {
    ($data:expr, $values:ident => $body:expr) => {
        match $data {
            Data::Bool($values) => $body,
            Data::Uint8($values) => $body,
            Data::Uint16($values) => $body,
            Data::Uint32($values) => $body,
            Data::Uint64($values) => $body,
            Data::Int8($values) => $body,
            Data::Int16($values) => $body,
            Data::Int32($values) => $body,
            Data::Int64($values) => $body,
            Data::Fp32($values) => $body,
            Data::Fp64($values) => $body,
            Data::Bytes($values) => $body,
        }
    };
}

/// A Rust type that tensors have as elements.
pub trait Element: Clone + Default + PartialEq + std::fmt::Debug + Send + Sync + 'static {
    const DATA_TYPE: DataType;

    fn wrap(values: Vec<Self>) -> Data;

    /// `None` when the elements are of another type.
    fn view(data: &Data) -> Option<&[Self]>;

    /// The other way round from [`Element::wrap`].
    fn unwrap(data: Data) -> Option<Vec<Self>>;
}

macro_rules! element {
    ($($type:ty => $variant:ident),*) => {$(
        impl Element for $type {
            const DATA_TYPE: DataType = DataType::$variant;

            fn wrap(values: Vec<Self>) -> Data {
                Data::$variant(values)
            }

            fn view(data: &Data) -> Option<&[Self]> {
                match data {
                    Data::$variant(values) => Some(values),
                    _ => None,
                }
            }

            fn unwrap(data: Data) -> Option<Vec<Self>> {
                match data {
                    Data::$variant(values) => Some(values),
                    _ => None,
                }
            }
        }
    )*};
}

element!(
    bool => Bool, u8 => Uint8, u16 => Uint16, u32 => Uint32, u64 => Uint64,
    i8 => Int8, i16 => Int16, i32 => Int32, i64 => Int64, f32 => Fp32, f64 => Fp64, Bytes => Bytes
);

impl Data {
    #[inline]
    pub fn data_type(&self) -> DataType {
        fn of<T: Element>(_values: &[T]) -> DataType {
            T::DATA_TYPE
        }
        with_values!(self, values => of(values))
    }

    #[inline]
    pub fn len(&self) -> usize {
        with_values!(self, values => values.len())
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `count` zeros, or empty texts.
    pub fn zeros(data_type: DataType, count: usize) -> Self {
        match data_type {
            DataType::Bool => Self::Bool(vec![false; count]),
            DataType::Uint8 => Self::Uint8(vec![0; count]),
            DataType::Uint16 => Self::Uint16(vec![0; count]),
            DataType::Uint32 => Self::Uint32(vec![0; count]),
            DataType::Uint64 => Self::Uint64(vec![0; count]),
            DataType::Int8 => Self::Int8(vec![0; count]),
            DataType::Int16 => Self::Int16(vec![0; count]),
            DataType::Int32 => Self::Int32(vec![0; count]),
            DataType::Int64 => Self::Int64(vec![0; count]),
            DataType::Fp32 => Self::Fp32(vec![0.0; count]),
            DataType::Fp64 => Self::Fp64(vec![0.0; count]),
            DataType::Bytes => Self::Bytes(vec![Bytes::new(); count]),
        }
    }

    /// A copy of some of the elements.
    pub(super) fn part(&self, range: Range<usize>) -> Self {
        fn copy<T: Element>(values: &[T]) -> Data {
            T::wrap(values.to_vec())
        }
        with_values!(self, values => copy(&values[range]))
    }

    /// Puts the elements of `more` behind these. Gives `false`, and changes nothing, when they are of another type.
    pub fn append(&mut self, more: Self) -> bool {
        fn join<T: Element>(values: &mut Vec<T>, more: Data) -> bool {
            match T::unwrap(more) {
                Some(mut more) => {
                    values.append(&mut more);
                    true
                }
                None => false,
            }
        }
        with_values!(self, values => join(values, more))
    }
}
