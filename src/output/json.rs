//! JSON: one object, the same for the dry run and the real one.

use std::fmt::Write as _;

use serde::Serialize;

use crate::units::is_obeyed;

/// A value as indented JSON with a newline, fit for a terminal too.
///
/// A path that is no UTF-8 can't be written, and is an error.
pub fn render(value: &impl Serialize) -> Result<String, serde_json::Error> {
    let json = serde_json::to_string_pretty(value)?;
    // serde_json escapes what JSON demands and no more. What is left can only stand within a text, and none lies above U+FFFF.
    let mut text = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        match c {
            '\n' => text.push(c),
            c if is_obeyed(c) => _ = write!(text, "\\u{:04x}", u32::from(c)),
            c => text.push(c),
        }
    }
    Ok(text + "\n")
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use super::*;

    #[test]
    fn a_text_survives_and_holds_nothing_that_a_terminal_obeys() {
        let hostile = "\u{1b}[2J\u{7f}\u{9b}31m\n\u{202e}ä";
        let json = render(&[hostile]).expect("JSON");
        assert!(json.chars().all(|c| !is_obeyed(c) || c == '\n'), "{json}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&json).expect("JSON"), [hostile]);
    }

    #[test]
    fn a_path_that_is_no_text_is_an_error_and_no_json() {
        let path = Path::new(OsStr::from_bytes(b"/m/\xff.yaml"));
        let error = render(&path).expect_err("no text");
        assert_eq!(error.to_string(), "path contains invalid UTF-8 characters");
    }
}
