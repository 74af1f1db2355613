//! CSV as pandas, spreadsheets and people write it.

use model_runtime::tensor::DataType;
use model_runtime::{Dim, TensorSpec};
use proptest::prelude::*;

use super::*;

const PLENTY: usize = 1 << 20;

fn signature(inputs: &[(&str, DataType, usize)]) -> Signature {
    let spec = |(name, data_type, length): &(&str, DataType, usize)| {
        TensorSpec::new(*name, *data_type, vec![Dim::Free(None), Dim::Fixed(*length)])
    };
    Signature {
        inputs: inputs.iter().map(spec).collect(),
        outputs: Vec::new(),
    }
}

fn people() -> Signature {
    signature(&[
        ("age", DataType::Int64, 1),
        ("income", DataType::Fp32, 1),
        ("name", DataType::Bytes, 1),
        ("member", DataType::Bool, 1),
    ])
}

fn read(text: &str, signature: &Signature) -> Result<Vec<Tensor>, String> {
    let body = Bytes::copy_from_slice(text.as_bytes());
    parse_csv(&body, signature, PLENTY).map_err(|error| error.to_string())
}

fn texts(values: &[&str]) -> Vec<Bytes> {
    values
        .iter()
        .map(|value| Bytes::copy_from_slice(value.as_bytes()))
        .collect()
}

#[test]
fn columns_go_to_the_inputs_of_their_names_whatever_their_order() {
    let text = "name,member,income,age\r\n\"Ann, \"\"A\"\"\",true,1.5,31\r\n\r\nBob,False, 2 ,-4\r\n";
    let expected = [
        Tensor::of(vec![2, 1], vec![31_i64, -4]),
        Tensor::of(vec![2, 1], vec![1.5_f32, 2.0]),
        Tensor::of(vec![2, 1], texts(&["Ann, \"A\"", "Bob"])),
        Tensor::of(vec![2, 1], vec![true, false]),
    ];
    let expected: Vec<Tensor> = expected.map(|tensor| tensor.expect("a tensor")).into();
    assert_eq!(read(text, &people()), Ok(expected));
}

#[test]
fn a_model_of_one_input_takes_the_columns_as_its_row() {
    let row = signature(&[("x", DataType::Fp64, 3)]);
    let expected = Tensor::of(vec![2, 3], vec![1.0_f64, 2.0, 3.0, 4.0, 5.0, 6.0]).expect("a tensor");
    for text in [
        "a,b,c\n1,2,3\n4,5,6\n",
        "\u{feff}a,b,c\n1,2,3\n4,5,6",
        "0,1,2\r1,2,3\r4,5,6\r",
    ] {
        assert_eq!(read(text, &row), Ok(vec![expected.clone()]), "{text:?}");
    }
}

#[test]
fn a_number_that_is_missing_is_nan_where_a_float_may_be() {
    let pair = signature(&[("x", DataType::Fp32, 2)]);
    let inputs = read("a,b\n1,\nNA,NaN\nnull,-inf\n", &pair).expect("is read");
    let values = inputs[0].values::<f32>().expect("floats");
    assert_eq!(values[0], 1.0);
    assert!(values[1..5].iter().all(|value| value.is_nan()), "{values:?}");
    assert_eq!(values[5], f32::NEG_INFINITY);
}

#[test]
fn what_is_wrong_is_named_with_its_line_and_its_column() {
    let people = people();
    for (text, problem) in [
        (
            "age,income,name,member\n1.9,1,a,true\n",
            "line 2: column `age`: expected a whole number that is INT64, found 1.9",
        ),
        (
            "age,income,name,member\n1,1,\"two\nlines\",true\n,1,a,true\n",
            "line 4: column `age`: expected a whole number that is INT64, found ",
        ),
        (
            "age,income,name,member\n1,much,a,true\n",
            "line 2: column `income`: expected FP32, found \"much\"",
        ),
        (
            "age,income,name,member\n1,1e39,a,true\n",
            "line 2: column `income`: 1e39 is too large for FP32",
        ),
        (
            "age,income,name,member\n1,1,a,maybe\n",
            "line 2: column `member`: expected true or false, found \"maybe\"",
        ),
        (
            "age,income,name,member\n1,1,a\n",
            "line 2: expected 4 values, as the header has columns, found 3",
        ),
        (
            "age,income,name,member\n1,1,a,true,5\n",
            "line 2: expected 4 values, as the header has columns, found 5",
        ),
        (
            "age,income,name,size\n",
            "line 1: the model has no input `size`; it has age, income, name, member",
        ),
        (
            "age,income,name\n",
            "line 1: the column `member` is missing; the model has age, income, name, member",
        ),
        ("age,age\n", "line 1: the column `age` is given twice"),
        ("age,income,name,member\n", "line 2: there is no row after the header"),
        ("age,\"income\n", "line 1: a quoted value has no end"),
        (
            "\"age\"x,income\n",
            "line 1: something follows the closing quote of a value",
        ),
        ("\n\n", "the body is empty; send CSV with a header"),
    ] {
        assert_eq!(read(text, &people), Err(problem.to_owned()), "{text:?}");
    }
    let row = signature(&[("x", DataType::Fp64, 2)]);
    assert_eq!(
        read("5.1,3.5\n4.9,3.0\n", &row),
        Err("line 1: expected a header with the names of the columns, found numbers".to_owned()),
        "the first row would be lost"
    );
    let not_text = parse_csv(&Bytes::from_static(b"a,b\n1,\xff\n"), &row, PLENTY);
    assert_eq!(
        not_text.map_err(|error| error.to_string()),
        Err("line 2: the text is no UTF-8".to_owned())
    );
}

#[test]
fn names_and_values_are_held_to_the_limit() {
    let column = signature(&[("x", DataType::Fp64, 1)]);
    let read = |text: &str, limit: usize| parse_csv(&Bytes::copy_from_slice(text.as_bytes()), &column, limit);
    let refused = |limit: usize| Err(Error::TooLarge { limit });
    assert_eq!(read(&",".repeat(10_000), 1000), Err(refuse_twice()));
    let names: Vec<String> = (0..100).map(|number| format!("c{number}")).collect();
    assert_eq!(read(&names.join(","), 1000), refused(1000));
    assert_eq!(read(&format!("x\n{}", "1\n".repeat(200)), 1000), refused(1000));
}

fn refuse_twice() -> Error {
    Error::member("line 1", "the column `` is given twice")
}

proptest! {
    #[test]
    fn texts_come_back_however_they_are_quoted(values in prop::collection::vec("[a-z ,\"\n\r;é]{0,8}", 1..20)) {
        let column = signature(&[("t", DataType::Bytes, 1)]);
        let lines: String = values.iter().map(|value| format!("\"{}\"\n", value.replace('"', "\"\""))).collect();
        let expected: Vec<&str> = values.iter().map(String::as_str).collect();
        let expected = Tensor::of(vec![values.len(), 1], texts(&expected)).expect("a tensor");
        prop_assert_eq!(read(&format!("t\n{lines}"), &column), Ok(vec![expected]));
    }

    #[test]
    fn no_text_upsets_it(text in "[a-c0-9,.\"\n\r\u{feff}é-]{0,60}") {
        let _either = read(&text, &people());
        let _either = read(&text, &signature(&[("x", DataType::Fp32, 2)]));
    }
}
