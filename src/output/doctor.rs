//! Findings, for people and for programs.

use std::fmt::Write as _;

use console::Style;
use serde::Serialize;

use super::text::Look;
use crate::doctor::{Finding, Level};
use crate::inventory::SCHEMA_VERSION;
use crate::units::printable;

/// What was found on a node, as JSON shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// Version of this form.
    pub schema_version: u32,
    /// Version of the program.
    pub version: &'static str,
    /// The node's host name.
    pub node: String,
    /// How many of the findings are problems.
    pub problems: usize,
    /// In the order in which a person would look.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// Of a node.
    pub fn new(node: String, findings: Vec<Finding>) -> Self {
        let problems = findings.iter().filter(|finding| finding.level == Level::Problem).count();
        Self { schema_version: SCHEMA_VERSION, version: env!("CARGO_PKG_VERSION"), node, problems, findings }
    }
}

/// One line a finding, and one for the way out.
pub fn render(diagnosis: &Diagnosis, look: Look) -> String {
    let mut text = format!("{}\n\n", look.bold(&format!("nuke-images {} on {}", diagnosis.version, printable(&diagnosis.node))));
    for finding in &diagnosis.findings {
        let (sign, style) = match finding.level {
            Level::Good => ("✓", Style::new().green()),
            Level::Advice => ("!", Style::new().yellow()),
            Level::Problem => ("✗", Style::new().red().bold()),
        };
        _ = writeln!(text, "{} {:<8}  {}", look.paint(&style, sign), finding.about, printable(&finding.what));
        if let Some(hint) = &finding.hint {
            _ = writeln!(text, "  {:<8}  {}", "", look.dim(&format!("→ {}", printable(hint))));
        }
    }
    let verdict = match diagnosis.problems {
        0 => "This node can do what is configured.".into(),
        1 => "1 problem keeps this node from doing what is configured.".into(),
        problems => format!("{problems} problems keep this node from doing what is configured."),
    };
    _ = writeln!(text, "\n{}", look.bold(&verdict));
    text
}
