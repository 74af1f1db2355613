use proptest::prelude::*;

use super::*;

const EXACT: Rules = Rules {
    type_name: DataType::name,
    rounds_whole_numbers: false,
    takes_words: true,
    null_is_nan: false,
    takes_empty_lists: true,
    most_lists: MAX_RANK,
};
const NEAREST: Rules = Rules {
    rounds_whole_numbers: true,
    ..EXACT
};

fn read(text: &str, data_type: DataType) -> Result<(Vec<usize>, Data), ReadError> {
    read_by(EXACT, text, data_type)
}

fn read_by(rules: Rules, text: &str, data_type: DataType) -> Result<(Vec<usize>, Data), ReadError> {
    let body = Bytes::copy_from_slice(text.as_bytes());
    let scanner = Scanner::of_bytes(&body)?;
    let mut reader = TensorReader::new(&body, scanner, rules, MemoryBudget::new(1 << 16));
    let mut data = Data::zeros(data_type, 0);
    let shape = reader.value(&mut data)?;
    Ok((shape.lengths().to_vec(), data))
}

fn refusal(text: &str, data_type: DataType) -> String {
    read(text, data_type).expect_err(text).to_string()
}

#[test]
fn lists_of_one_shape_are_a_tensor() {
    for (text, shape) in [
        ("5", &[][..]),
        ("[]", &[0]),
        ("[5]", &[1]),
        (" [ [1 , 2],[3,4] , [5,6]]", &[3, 2]),
        ("[[],[]]", &[2, 0]),
        ("[[[[[[[[1]]]]]]]]", &[1; 8]),
    ] {
        let (found, data) = read(text, DataType::Int32).expect(text);
        assert_eq!(found, shape, "{text}");
        assert_eq!(data.len(), shape.iter().product::<usize>(), "{text}");
    }
    for (text, problem) in [
        (
            "[[1,2],[3]]",
            "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
        ),
        (
            "[[1],2]",
            "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        ("[1,[2]]", "Encountered list at unexpected level: 1 expected < 1"),
        (
            "[[],1]",
            "JSON Value: 1 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        (
            "[[[[[[[[[1]]]]]]]]]",
            "Encountered list at unexpected level: 8 expected < 8",
        ),
        ("[1", "A comma or ] is missing after an element. at offset: 2"),
    ] {
        assert_eq!(refusal(text, DataType::Int32), problem, "{text}");
    }
}

#[test]
fn a_number_that_the_type_cannot_be_is_refused() {
    for (text, data_type, problem) in [
        (
            "1.5",
            DataType::Int64,
            "JSON Value: 1.5 Type: Number is not of expected type: INT64",
        ),
        (
            "1.0",
            DataType::Int64,
            "JSON Value: 1.0 Type: Number is not of expected type: INT64",
        ),
        (
            "NaN",
            DataType::Int64,
            "JSON Value: NaN Type: Number is not of expected type: INT64",
        ),
        (
            "300",
            DataType::Uint8,
            "JSON Value: 300 Type: Number is not of expected type: UINT8",
        ),
        (
            "-1",
            DataType::Uint64,
            "JSON Value: -1 Type: Number is not of expected type: UINT64",
        ),
        (
            "1",
            DataType::Bool,
            "JSON Value: 1 Type: Number is not of expected type: BOOL",
        ),
        (
            "true",
            DataType::Fp32,
            "JSON Value: true Type: True is not of expected type: FP32",
        ),
        (
            "{\"b64\":\"\"}",
            DataType::Fp32,
            "JSON Value: {\"b64\":\"\"} Type: Object is not of expected type: FP32",
        ),
        (
            "5",
            DataType::Bytes,
            "JSON Value: 5 Type: Number is not of expected type: BYTES",
        ),
        (
            "1e39",
            DataType::Fp32,
            "Cannot convert JSON value: 1e39 to FP32 without loss of precision.",
        ),
        (
            "-1e400",
            DataType::Fp64,
            "Cannot convert JSON value: -1e400 to FP64 without loss of precision.",
        ),
        (
            "16777217",
            DataType::Fp32,
            "Cannot convert JSON value: 16777217 to FP32 without loss of precision.",
        ),
        (
            "-9007199254740993",
            DataType::Fp64,
            "Cannot convert JSON value: -9007199254740993 to FP64 without loss of precision.",
        ),
    ] {
        assert_eq!(refusal(text, data_type), problem, "{text}");
    }
    let long = format!("\"{}\"", "ü".repeat(1000));
    let refusal = refusal(&long, DataType::Fp32);
    assert!(refusal.contains("üü… Type: String"), "{refusal}");
    assert!(refusal.len() < 400, "{refusal}");
}

#[test]
fn a_float_is_the_nearest_of_its_own_width() {
    // Read as 64-bit float first, this would be rounded twice: to a tie, and then to the wrong side.
    let text = "1.00000017881393432617187499";
    assert_eq!(read(text, DataType::Fp32), Ok((vec![], Data::Fp32(vec![1.000_000_1]))));
    for (text, value) in [
        ("16777216", 16_777_216.0),
        ("33554432", 33_554_432.0),
        ("123456789012345678901234567890", 1.234_567_9e29),
        ("1e-50", 0.0),
        ("-Infinity", f32::NEG_INFINITY),
    ] {
        assert_eq!(
            read(text, DataType::Fp32),
            Ok((vec![], Data::Fp32(vec![value]))),
            "{text}"
        );
    }
    let (_, nan) = read("[NaN]", DataType::Fp64).expect("a float");
    assert!(matches!(nan, Data::Fp64(values) if values[0].is_nan()));
}

#[test]
fn bytes_are_strings_or_base64() {
    let read = |text: &str| read(text, DataType::Bytes).map(|(_, data)| data);
    let texts = |texts: &[&'static [u8]]| Ok(Data::Bytes(texts.iter().map(|text| Bytes::from_static(text)).collect()));
    assert_eq!(
        read(r#"["a", "\n", {"b64": "/wA="}, {"b64":"/wA"}]"#),
        texts(&[b"a", b"\n", b"\xff\0", b"\xff\0"])
    );
    assert_eq!(read(r#"{"b64": "~"}"#), Err(ReadError::Base64));
    let object = r#"{"b64": "", "x": 1}"#;
    let value = object.to_owned();
    assert_eq!(read(object), Err(ReadError::Base64Object { value }));
}

#[test]
fn elements_take_no_more_memory_than_there_is_room() {
    let read = |budget: usize| {
        let body = Bytes::from_static(b"[1,2,3,4]");
        let scanner = Scanner::of_bytes(&body)?;
        let mut reader = TensorReader::new(&body, scanner, EXACT, MemoryBudget::new(budget));
        reader.value(&mut Data::zeros(DataType::Fp64, 0)).map(|_shape| ())
    };
    assert_eq!(read(32), Ok(()));
    assert_eq!(read(31), Err(ReadError::TooLarge { limit: 31 }));
}

#[test]
fn a_shape_is_found_when_there_is_one_way_to_it() {
    let (two, three, any) = (Dim::Fixed(2), Dim::Fixed(3), Dim::Free(None));
    assert_eq!(solve(&[any.clone(), three.clone()], 6), Some(vec![2, 3]));
    assert_eq!(solve(&[two.clone(), three.clone()], 6), Some(vec![2, 3]));
    assert_eq!(solve(&[], 1), Some(vec![]));
    assert_eq!(solve(std::slice::from_ref(&any), 0), Some(vec![0]));
    for (dims, count) in [
        (vec![any.clone(), three.clone()], 7),
        (vec![two, three], 7),
        (vec![any.clone(), any.clone()], 4),
        (vec![any, Dim::Fixed(0)], 0),
        (vec![], 2),
    ] {
        assert_eq!(solve(&dims, count), None, "{dims:?} {count}");
    }
}

proptest! {
    #[test]
    fn every_whole_number_is_read_exactly(number in any::<i64>(), positive in any::<u64>()) {
        prop_assert_eq!(read(&number.to_string(), DataType::Int64), Ok((vec![], Data::Int64(vec![number]))));
        prop_assert_eq!(read(&positive.to_string(), DataType::Uint64), Ok((vec![], Data::Uint64(vec![positive]))));
    }

    #[test]
    fn a_whole_number_is_a_float_when_it_is_one_exactly(number in -(1_i64 << 55)..1 << 55) {
        let text = number.to_string();
        let exact = (number as f64) as i64 == number;
        prop_assert_eq!(read(&text, DataType::Fp64).is_ok(), exact);
        let exact = (number as f32) as i64 == number;
        prop_assert_eq!(read(&text, DataType::Fp32).is_ok(), exact);
    }

    #[test]
    fn a_whole_number_becomes_the_nearest_float_where_the_rules_say_so(number in any::<i64>()) {
        let text = number.to_string();
        prop_assert_eq!(read_by(NEAREST, &text, DataType::Fp64), Ok((vec![], Data::Fp64(vec![number as f64]))));
        prop_assert_eq!(read_by(NEAREST, &text, DataType::Fp32), Ok((vec![], Data::Fp32(vec![number as f32]))));
    }
}
