//! `cargo run -p generate` writes man page and completions anew; `cargo run -p generate -- sbom SECONDS` prints the bill of
//! materials of a release made at that time, in seconds since 1970.

use std::io::{self, Write};

use anyhow::{Context, Result, bail};
use generate::sbom;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => generate::write(),
        ["sbom", seconds] => {
            let bom = sbom::bom(&sbom::metadata()?, &sbom::checksums()?, seconds.parse().context("read the time of the release")?)?;
            io::stdout().write_all(format!("{bom:#}\n").as_bytes()).context("print the bill of materials")
        }
        _ => bail!("nothing, or sbom SECONDS"),
    }
}
