//! The columns of the input: which are sent, in what form, and which are kept in the output.

/// The columns of the output that no column of the input may be named as, when it is kept.
pub const ROW: &str = "row";
pub const PREDICTION: &str = "prediction";
pub const MODEL_VERSION: &str = "model_version";

/// The form of a row in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The value of its one column.
    Value,
    List,
    /// Its columns by name.
    Object,
}

/// The columns of the input that stay in the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keep {
    None,
    All,
    Named(Vec<String>),
}

/// What the command line says about columns.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Those that are sent; `None` for all.
    pub columns: Option<Vec<String>>,
    /// Those that are sent as strings, whatever they look like.
    pub text: Vec<String>,
    pub keep: Keep,
    /// `None`: as the input has them.
    pub form: Option<Form>,
}

/// The columns of this input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub names: Vec<String>,
    /// Whether the column at this place is text.
    pub text: Vec<bool>,
    /// The places of what is sent.
    pub sent: Vec<usize>,
    /// The places of what is kept.
    pub kept: Vec<usize>,
    pub form: Form,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LayoutError {
    #[error("--{argument}: the input has no column {name:?}; it has {}", names.join(", "))]
    NoColumn {
        argument: &'static str,
        name: String,
        names: Vec<String>,
    },
    #[error("--rows-as value: {0} columns would be sent; name one with --columns")]
    NotOne(usize),
    #[error("--keep: column {0:?} has the name of a column of the output")]
    Reserved(String),
    #[error("column {0:?} is there twice")]
    Twice(String),
}

impl Layout {
    /// Makes the layout of an input with these columns, whose rows have this form by themselves.
    pub fn new(names: Vec<String>, own: Form, wanted: &Wanted) -> Result<Self, LayoutError> {
        if let Some(twice) = (1..names.len()).find(|&at| names[..at].contains(&names[at])) {
            return Err(LayoutError::Twice(names[twice].clone()));
        }
        let find = |argument, name: &String| {
            let at = names.iter().position(|known| known == name);
            at.ok_or_else(|| LayoutError::NoColumn {
                argument,
                name: name.clone(),
                names: names.clone(),
            })
        };
        let sent = match &wanted.columns {
            Some(columns) => columns
                .iter()
                .map(|name| find("columns", name))
                .collect::<Result<_, _>>()?,
            None => (0..names.len()).collect::<Vec<_>>(),
        };
        let kept = match &wanted.keep {
            Keep::None => Vec::new(),
            Keep::All => (0..names.len()).collect(),
            Keep::Named(columns) => columns
                .iter()
                .map(|name| find("keep", name))
                .collect::<Result<_, _>>()?,
        };
        let is_reserved = |at: &&usize| [ROW, PREDICTION, MODEL_VERSION].contains(&names[**at].as_str());
        if let Some(&at) = kept.iter().find(is_reserved) {
            return Err(LayoutError::Reserved(names[at].clone()));
        }
        let mut text = vec![false; names.len()];
        for name in &wanted.text {
            text[find("text-columns", name)?] = true;
        }
        let form = wanted.form.unwrap_or(match own {
            Form::Object if sent.len() == 1 => Form::Value,
            Form::Object => Form::List,
            own => own,
        });
        if form == Form::Value && sent.len() != 1 {
            return Err(LayoutError::NotOne(sent.len()));
        }
        Ok(Self {
            names,
            text,
            sent,
            kept,
            form,
        })
    }

    /// Names for the columns of rows without any: their numbers from 1.
    pub fn numbered(count: usize) -> Vec<String> {
        (1..=count).map(|number| number.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            columns: None,
            text: Vec::new(),
            keep: Keep::None,
            form: None,
        }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn one_named_column_is_a_value_and_several_are_a_list() {
        let one = Layout::new(names(&["x"]), Form::Object, &wanted()).expect("a layout");
        assert_eq!((one.form, one.sent), (Form::Value, vec![0]));
        let two = Layout::new(names(&["x", "y"]), Form::Object, &wanted()).expect("a layout");
        assert_eq!((two.form, two.sent), (Form::List, vec![0, 1]));
        let list = Layout::new(names(&["1"]), Form::List, &wanted()).expect("a layout");
        assert_eq!(list.form, Form::List);
    }

    #[test]
    fn columns_are_sent_in_the_order_they_are_named_in() {
        let named = Wanted {
            columns: Some(names(&["z", "x"])),
            keep: Keep::Named(names(&["id"])),
            text: names(&["z"]),
            ..wanted()
        };
        let layout = Layout::new(names(&["id", "x", "z"]), Form::Object, &named).expect("a layout");
        assert_eq!((layout.sent, layout.kept), (vec![2, 1], vec![0]));
        assert_eq!(layout.text, [false, false, true]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let all = Wanted {
            keep: Keep::All,
            ..wanted()
        };
        let value = Wanted {
            form: Some(Form::Value),
            ..wanted()
        };
        let unknown = Wanted {
            columns: Some(names(&["w"])),
            ..wanted()
        };
        for (columns, wanted, error) in [
            (&["x", "row"][..], &all, "--keep: column \"row\""),
            (&["x", "y"], &value, "--rows-as value: 2 columns would be sent"),
            (
                &["x", "y"],
                &unknown,
                "--columns: the input has no column \"w\"; it has x, y",
            ),
            (&["x", "x"], &all, "column \"x\" is there twice"),
        ] {
            let refused = Layout::new(names(columns), Form::Object, wanted).expect_err(error);
            assert!(refused.to_string().starts_with(error), "{refused}");
        }
    }
}
