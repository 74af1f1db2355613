//! The scoring protocol of MLflow's model servers, which SageMaker's containers speak too.
//!
//! ```text
//! POST /invocations   {"dataframe_split": {"columns": […], "data": [rows]}}   ┐
//!                     {"dataframe_records": [{column: value}]}                │
//!                     {"instances": [rows]}, {"inputs": columns}              ├─► {"predictions": …}
//!                     text/csv with a header                                  ┘
//! GET  /ping          whether it is answered
//! GET  /version       of this program
//! ```
//!
//! A table's columns are the inputs of their names. A model of one input takes them as the values of a row, in their order.
//! Where MLflow cuts or drops in silence, this refuses: a fraction for a whole number, a column that no input has, parameters.

mod answer;
mod csv;
mod error;
mod forms;
mod frame;
mod media_type;
mod request;

pub use answer::predictions;
pub use csv::parse_csv;
pub use error::Error;
pub use media_type::MediaType;
pub use request::{Form, Request, parse_json};
