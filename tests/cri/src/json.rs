//! The JSON that crictl makes of CRI's messages.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::messages::{ContainerState, ContainerStatus, PodSandboxStatus};

/// The beginning of time as Go has it: what was never started began then.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A 64-bit number, which JSON's readers can't all take as one.
pub fn text<S: Serializer>(number: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

/// The same for several.
pub fn texts<S: Serializer>(numbers: &[i64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(numbers.iter().map(ToString::to_string))
}

/// The name of an enum's value, or its number if this client doesn't know it.
pub fn name_of<E: TryFrom<i32> + Serialize, S: Serializer>(value: &(impl Copy + Into<i32>), serializer: S) -> Result<S::Ok, S::Error> {
    let value: i32 = (*value).into();
    match E::try_from(value) {
        Ok(known) => known.serialize(serializer),
        Err(_) => serializer.serialize_i32(value),
    }
}

/// The status of a container, with times for people.
pub fn container_status(status: &ContainerStatus) -> Result<Value> {
    let state = ContainerState::try_from(status.state).unwrap_or(ContainerState::Unknown);
    let (started, finished) = match state {
        ContainerState::Created => (false, false),
        ContainerState::Running => (true, false),
        ContainerState::Exited => (true, true),
        ContainerState::Unknown => (true, status.finished_at > 0),
    };
    let mut json = serde_json::to_value(status)?;
    json["createdAt"] = json!(time(status.created_at));
    json["startedAt"] = json!(if started { time(status.started_at) } else { NEVER.to_owned() });
    json["finishedAt"] = json!(if finished { time(status.finished_at) } else { NEVER.to_owned() });
    Ok(json)
}

/// The status of a pod, with times for people.
pub fn pod_status(status: &PodSandboxStatus) -> Result<Value> {
    let mut json = serde_json::to_value(status)?;
    json["createdAt"] = json!(time(status.created_at));
    Ok(json)
}

/// A status together with what the runtime says besides: texts that may be JSON objects.
pub fn with_info(parts: Vec<(&str, Value)>, info: &BTreeMap<String, String>) -> Result<Value> {
    let mut status: serde_json::Map<_, _> = parts.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    for (key, value) in info {
        let value = if value.starts_with('{') {
            serde_json::from_str(value).with_context(|| format!("read the runtime's {key}"))?
        } else {
            json!(value.trim_matches('"'))
        };
        status.insert(key.clone(), value);
    }
    Ok(Value::Object(status))
}

/// Nanoseconds since 1970 as a time for people, with no more digits than needed.
fn time(nanoseconds: i64) -> String {
    let since = Duration::from_nanos(nanoseconds.try_into().unwrap_or_default());
    let time = humantime::format_rfc3339_nanos(UNIX_EPOCH + since).to_string();
    format!("{}Z", time.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{Image, Int64Value, MountPropagation, NamespaceMode, PodSandboxState};

    #[test]
    fn times_have_no_more_digits_than_needed() {
        for (nanoseconds, expected) in [
            (1_795_344_004_314_438_502, "2026-11-22T10:40:04.314438502Z"),
            (1_795_344_004_300_000_000, "2026-11-22T10:40:04.3Z"),
            (1_795_344_010_000_000_000, "2026-11-22T10:40:10Z"),
        ] {
            assert_eq!(time(nanoseconds), expected);
        }
    }

    #[test]
    fn names_are_those_of_cri_and_an_unknown_value_stays_a_number() -> Result<()> {
        let name = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let names = [
            serde_json::to_value(ContainerState::Running)?,
            serde_json::to_value(PodSandboxState::NotReady)?,
            serde_json::to_value(NamespaceMode::Node)?,
            serde_json::to_value(MountPropagation::HostToContainer)?,
        ];
        let expected = ["CONTAINER_RUNNING", "SANDBOX_NOTREADY", "NODE", "PROPAGATION_HOST_TO_CONTAINER"];
        assert_eq!(names.each_ref().map(name), expected);
        let status = ContainerStatus { state: 9, stop_signal: 23, ..ContainerStatus::default() };
        let json = container_status(&status)?;
        assert_eq!((&json["state"], &json["stopSignal"]), (&json!(9), &json!(23)));
        Ok(())
    }

    #[test]
    fn large_numbers_are_texts_and_what_is_absent_has_no_key() -> Result<()> {
        let image = Image { size: u64::MAX, uid: Some(Int64Value { value: -1 }), ..Image::default() };
        let json = serde_json::to_value(image)?;
        assert_eq!(json["size"], "18446744073709551615");
        assert_eq!(json["uid"], json!({"value": "-1"}));
        assert!(json.get("spec").is_none());
        Ok(())
    }

    #[test]
    fn what_never_began_began_in_the_year_one() -> Result<()> {
        let times = |state: ContainerState| {
            let status = ContainerStatus { state: state.into(), started_at: 1, finished_at: 2, ..ContainerStatus::default() };
            let json = container_status(&status)?;
            anyhow::Ok(["startedAt", "finishedAt"].map(|key| json[key] != NEVER))
        };
        assert_eq!(times(ContainerState::Created)?, [false, false]);
        assert_eq!(times(ContainerState::Running)?, [true, false]);
        assert_eq!(times(ContainerState::Exited)?, [true, true]);
        assert_eq!(times(ContainerState::Unknown)?, [true, true]);
        Ok(())
    }

    #[test]
    fn info_that_is_json_is_embedded_and_other_info_is_a_text() -> Result<()> {
        let info = [("config", r#"{"a": {"b": 1}}"#), ("golang", "\"go1.27\""), ("plain", "OK")];
        let info = info.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let expected = json!({"status": {}, "config": {"a": {"b": 1}}, "golang": "go1.27", "plain": "OK"});
        assert_eq!(with_info(vec![("status", json!({}))], &info)?, expected);
        assert!(with_info(vec![], &[("broken".to_owned(), "{".to_owned())].into()).is_err());
        Ok(())
    }
}
