//! The validator of raw requests: what passes, what is refused, and that no other reader sees another request.

mod fuzz;
mod properties;
mod reading;
mod table;
