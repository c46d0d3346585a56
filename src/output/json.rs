//! JSON: one object, the same for the dry run and the real one.

use serde::Serialize;

/// A value as indented JSON with a newline.
pub fn render(value: &impl Serialize) -> String {
    // Our own types have text keys and no failing serialiser.
    serde_json::to_string_pretty(value).map_or_else(|error| format!("{{\"error\":\"{error}\"}}\n"), |json| json + "\n")
}
