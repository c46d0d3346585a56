//! JSON: one object, the same for the dry run and the real one.

use std::fmt::Write as _;

use serde::Serialize;

use crate::units::is_obeyed;

/// A value as indented JSON with a newline, fit for a terminal too.
pub fn render(value: &impl Serialize) -> String {
    // Our own types have text keys and no failing serialiser.
    let json = serde_json::to_string_pretty(value).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
    // serde_json escapes what JSON demands and no more. What is left can only stand within a text, and none lies above U+FFFF.
    let mut text = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        match c {
            '\n' => text.push(c),
            c if is_obeyed(c) => _ = write!(text, "\\u{:04x}", u32::from(c)),
            c => text.push(c),
        }
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_survives_and_holds_nothing_that_a_terminal_obeys() {
        let hostile = "\u{1b}[2J\u{7f}\u{9b}31m\n\u{202e}ä";
        let json = render(&[hostile]);
        assert!(json.chars().all(|c| !is_obeyed(c) || c == '\n'), "{json}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&json).expect("JSON"), [hostile]);
    }
}
