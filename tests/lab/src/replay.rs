//! A `crictl` that replays recordings of the real one: `crictl.sh` and the folder it answers from.
//!
//! What was recorded is answered unchanged, but for two things: a removed image is taken out of the list, and a container or
//! sandbox whose inspection nobody recorded is answered with that of another, under its own ID.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::Machine;

const FOLDER: &str = "/run/crictl";
/// Answers that are one text each.
const ANSWERS: [(&str, &str); 4] =
    [("version", "crictl-version"), ("info", "crictl-info"), ("ps", "crictl-ps-json"), ("pods", "crictl-pods-json")];

/// The `crictl` of a [`Machine`].
pub struct Replay<'a> {
    machine: &'a Machine,
    fixtures: PathBuf,
}

impl<'a> Replay<'a> {
    /// Puts it on the machine as `program`, with what the folder `recordings` of the fixtures holds.
    pub fn new(machine: &'a Machine, program: &str, recordings: &str) -> Result<Self> {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(recordings);
        let replay = Self { machine, fixtures };
        machine.program(program, include_str!("crictl.sh"))?;
        for (command, recording) in ANSWERS {
            replay.answers(command, recording)?;
        }
        replay.lists("crictl-images-json")?;
        if recordings.ends_with("1.30") {
            replay.write("one-by-one", "")?;
        }
        Ok(replay)
    }

    /// Answers a command (`ps`, `pods`, `info`, `version`) with another recording.
    pub fn answers(&self, command: &str, recording: &str) -> Result<()> {
        for part in ["out", "err", "rc"] {
            self.write(&format!("{command}.{part}"), &self.recorded(recording, part)?)?;
        }
        match command {
            "ps" => self.inspects("inspect", "containers", &self.recorded(recording, "out")?),
            "pods" => self.inspects("inspectp", "items", &self.recorded(recording, "out")?),
            _ => Ok(()),
        }
    }

    /// Answers a command with a text that nobody recorded.
    pub fn says(&self, command: &str, text: &str) -> Result<()> {
        self.write(&format!("{command}.out"), text)?;
        self.write(&format!("{command}.err"), "")?;
        self.write(&format!("{command}.rc"), "0")
    }

    /// Lists the images of another recording, and no others.
    pub fn lists(&self, recording: &str) -> Result<()> {
        let folder = self.machine.path(FOLDER)?.join("images");
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        self.write("images.err", &self.recorded(recording, "err")?)?;
        let list: Value = serde_json::from_str(&self.recorded(recording, "out")?)?;
        list["images"].as_array().context("a list of images")?.iter().try_for_each(|image| self.adds(image))
    }

    /// Lists one more image.
    pub fn adds(&self, image: &Value) -> Result<()> {
        let id = image["id"].as_str().context("an image has an ID")?;
        let hex = id.trim_start_matches("sha256:");
        let tags = image["repoTags"].as_array().into_iter().flatten().filter_map(Value::as_str);
        self.write(&format!("images/{hex}.names"), &tags.fold(String::new(), |lines, tag| lines + "Deleted: " + tag + "\n"))?;
        self.write(&format!("images/{hex}.json"), &image.to_string())
    }

    /// Answers the inspection of a container (`inspect`) or sandbox (`inspectp`) with this recording.
    pub fn inspected(&self, command: &str, recording: &str) -> Result<()> {
        let text = self.recorded(recording, "out")?;
        let entry: Value = serde_json::from_str(&text)?;
        let id = entry["status"]["id"].as_str().context("what was inspected has an ID")?;
        self.write(&format!("{command}/{id}.out"), &text)
    }

    /// Can no longer inspect this container or sandbox.
    pub fn loses(&self, command: &str, id: &str) -> Result<()> {
        Ok(fs::remove_file(self.machine.path(FOLDER)?.join(command).join(format!("{id}.out")))?)
    }

    /// Refuses to remove an image in the words of a recorded refusal; whatever else is asked for is removed.
    pub fn refuses(&self, hex: &str, recording: &str) -> Result<()> {
        let words = self.recorded(recording, "err")?;
        let words = words.split_once("err=\"").and_then(|(_, rest)| rest.split_once("\" image=")).context("a refusal")?.0;
        self.refuses_with(hex, words)
    }

    /// The same in these words.
    pub fn refuses_with(&self, hex: &str, words: &str) -> Result<()> {
        self.write(&format!("refuses/{hex}"), words)
    }

    /// Runs this script before it answers a command; what the script doesn't end goes on as usual.
    pub fn behaves_at(&self, command: &str, script: &str) -> Result<()> {
        self.write(&format!("at/{command}"), &format!("{script}\n"))
    }

    /// Every call so far, its arguments parted by spaces.
    pub fn calls(&self) -> Result<Vec<String>> {
        Ok(self.machine.read(&format!("{FOLDER}/calls"))?.lines().map(str::to_owned).collect())
    }

    /// What was asked to be removed, call by call.
    pub fn removals(&self) -> Result<Vec<String>> {
        let removal = |call: &String| call.split_once(" rmi ").map(|(_, ids)| ids.to_owned());
        Ok(self.calls()?.iter().filter_map(removal).collect())
    }

    /// The images that are listed now, by the digits of their IDs.
    pub fn images(&self) -> Result<Vec<String>> {
        let names = fs::read_dir(self.machine.path(FOLDER)?.join("images"))?;
        let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut hex: Vec<String> = names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect();
        hex.sort_unstable();
        Ok(hex)
    }

    /// The text of a recording: what was printed (`out`), the complaints (`err`) or the exit code (`rc`).
    pub fn recorded(&self, recording: &str, part: &str) -> Result<String> {
        let path = self.fixtures.join(format!("{recording}.{part}"));
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    }

    /// Puts down an answer for the inspection of each entry of a list.
    fn inspects(&self, command: &str, key: &str, list: &str) -> Result<()> {
        let list: Value = serde_json::from_str(list)?;
        let recordings = self.recordings_of(command)?;
        let (_, other) = recordings.first().with_context(|| format!("nobody recorded crictl {command}"))?;
        for entry in list[key].as_array().context("a list")? {
            let id = entry["id"].as_str().context("an ID")?;
            let own = recordings.iter().find(|(recorded, _)| recorded == id).map(|(_, text)| text.clone());
            let of_another = || {
                let mut answer: Value = serde_json::from_str(other)?;
                answer["status"]["id"] = json!(id);
                Ok::<_, serde_json::Error>(answer.to_string())
            };
            let text = own.map_or_else(of_another, Ok)?;
            self.write(&format!("{command}/{id}.out"), &text)?;
        }
        Ok(())
    }

    /// ID and text of what was inspected, `crictl-inspect` or `crictl-inspectp` first.
    fn recordings_of(&self, command: &str) -> Result<Vec<(String, String)>> {
        let (usual, more) = (format!("crictl-{command}.out"), format!("crictl-{command}-"));
        let is_answer = |name: &String| *name == usual || (name.starts_with(&more) && Path::new(name).extension() == Some("out".as_ref()));
        let names = fs::read_dir(&self.fixtures)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(is_answer).collect();
        names.sort_by_key(|name| (*name != usual, name.clone()));
        let read = |name: String| {
            let text = fs::read_to_string(self.fixtures.join(name))?;
            let entry: Value = serde_json::from_str(&text)?;
            Ok((entry["status"]["id"].as_str().context("an ID")?.to_owned(), text))
        };
        names.into_iter().map(read).collect()
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        self.machine.write(&format!("{FOLDER}/{file}"), text)
    }
}
