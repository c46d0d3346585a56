//! What was, without a look at the runtime.

use anyhow::Result;

use super::{Ended, Session, read_state, write_json, write_out};
use crate::cli::Format;
use crate::collect::host_name;
use crate::output::history::{History, render};

impl Session<'_> {
    /// The last runs.
    pub(super) fn history(&self) -> Result<Ended> {
        let state = read_state(self.started_at)?;
        let history = History::new(host_name(), state.runs());
        match self.options.output {
            Format::Json => write_json(&history)?,
            Format::Text => write_out(&render(&history, self.started_at, self.style()))?,
        }
        Ok(Ended::Done)
    }
}
