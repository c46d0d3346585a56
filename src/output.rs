//! What a person or a program reads of a run. Pure: values in, text out.

pub mod doctor;
pub mod history;
pub mod json;
pub mod memory;
pub mod prometheus;
pub mod text;
