//! One function per verb.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::json::{container_status, pod_status, with_info};
use crate::messages::{
    ContainerConfig, ContainerId, ContainerState, ContainerStatusResponse, CreateContainerRequest, Image, ImageRequest, ImageSpec,
    ImageStatusRequest, ImageStatusResponse, ListContainersResponse, ListImagesResponse, ListPodSandboxResponse, Nothing, PodSandboxConfig,
    PodSandboxId, PodSandboxState, PodSandboxStatusResponse, PullImageResponse, RunPodSandboxRequest, StatusOfRequest, StatusRequest,
    StatusResponse, StopContainerRequest, VersionRequest, VersionResponse,
};
use crate::service::Service;

/// Who answers.
pub async fn version(runtime: &Service) -> Result<()> {
    let version: VersionResponse = runtime.call("Version", VersionRequest { version: "v1".to_owned() }).await?;
    println!("Version:  {}", version.version);
    println!("RuntimeName:  {}", version.runtime_name);
    println!("RuntimeVersion:  {}", version.runtime_version);
    println!("RuntimeApiVersion:  {}", version.runtime_api_version);
    Ok(())
}

/// State and configuration of the runtime.
pub async fn info(runtime: &Service) -> Result<()> {
    let answer: StatusResponse = runtime.call("Status", StatusRequest { verbose: true }).await?;
    let mut parts = vec![("status", json!(answer.status))];
    if !answer.runtime_handlers.is_empty() {
        parts.push(("runtimeHandlers", json!(answer.runtime_handlers)));
    }
    if let Some(features) = answer.features {
        parts.push(("features", json!(features)));
    }
    print(&with_info(parts, &answer.info)?)
}

/// All images, by name.
pub async fn images(images: &Service) -> Result<()> {
    let mut answer: ListImagesResponse = images.call("ListImages", Nothing {}).await?;
    answer.images.sort_by_cached_key(|image| shown_names(image).first().cloned().unwrap_or_else(|| image.id.clone()));
    print(&answer)
}

/// Containers, the newest first.
pub async fn containers(runtime: &Service, all: bool) -> Result<()> {
    let mut answer: ListContainersResponse = runtime.call("ListContainers", Nothing {}).await?;
    answer.containers.retain(|container| all || container.state() == ContainerState::Running);
    answer.containers.sort_by_key(|container| Reverse(container.created_at));
    print(&answer)
}

/// Pods, the newest first.
pub async fn pods(runtime: &Service) -> Result<()> {
    let mut answer: ListPodSandboxResponse = runtime.call("ListPodSandbox", Nothing {}).await?;
    answer.items.sort_by_key(|pod| Reverse(pod.created_at));
    print(&answer)
}

/// Everything about containers.
pub async fn inspect_containers(runtime: &Service, ids: &[String]) -> Result<()> {
    let mut statuses = vec![];
    for id in ids {
        let answer = container(runtime, id, true).await.context("get container status")?;
        let status = container_status(&answer.status.unwrap_or_default())?;
        statuses.push(with_info(vec![("status", status)], &answer.info)?);
    }
    print_statuses(&statuses)
}

/// Everything about pods.
pub async fn inspect_pods(runtime: &Service, ids: &[String]) -> Result<()> {
    let mut statuses = vec![];
    for id in ids {
        let answer = pod(runtime, id, true).await.context("get pod sandbox status")?;
        let status = pod_status(&answer.status.unwrap_or_default())?;
        statuses.push(with_info(vec![("status", status)], &answer.info)?);
    }
    print_statuses(&statuses)
}

/// Everything about images.
pub async fn inspect_images(images: &Service, names: &[String]) -> Result<()> {
    let mut statuses = vec![];
    for name in names {
        let answer = image(images, name, true).await.with_context(|| format!("image status for {name:?} request"))?;
        let status = answer.image.with_context(|| format!("no such image {name:?} present"))?;
        statuses.push(with_info(vec![("status", json!(status))], &answer.info)?);
    }
    print_statuses(&statuses)
}

/// Removes images, all at the same time; one that fails doesn't stop the others.
pub async fn remove_images(images: &Service, names: &[String]) -> Result<()> {
    let mut removals = JoinSet::new();
    for name in names.iter().cloned().collect::<BTreeSet<_>>() {
        let images = images.clone();
        removals.spawn_local(async move { remove_image(&images, &name).await });
    }
    let errors: Vec<_> = removals.join_all().await.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    if errors.is_empty() { Ok(()) } else { Err(anyhow!(errors.join("\n"))) }
}

async fn remove_image(images: &Service, name: &str) -> Result<()> {
    let status = image(images, name, false).await.with_context(|| format!("image status request for {name:?} failed"))?;
    let Some(status) = status.image else { bail!("no such image {name}") };
    let is_tag = !name.starts_with("sha256:") && name.contains([':', '/']);
    if is_tag && status.repo_tags.len() > 1 {
        let warning = "has multiple tags. Removing this image will delete all of the following tags:";
        crate::log("warning", &format!("Image {name:?} {warning}"));
        status.repo_tags.iter().for_each(|tag| crate::log("warning", &format!("  {tag}")));
    }
    let question = ImageRequest { image: Some(named(name)) };
    let _: Nothing = images.call("RemoveImage", question).await.with_context(|| format!("error of removing image {name:?}"))?;
    for name in shown_names(&status) {
        println!("Deleted: {name}");
    }
    Ok(())
}

/// Pulls an image, however long it takes.
pub async fn pull(images: Service, name: &str) -> Result<()> {
    let question = ImageRequest { image: Some(named(name)) };
    let answer: PullImageResponse = images.patient().call("PullImage", question).await.context("pulling image")?;
    println!("Image is up to date for {}", answer.image_ref);
    Ok(())
}

/// Makes and starts a pod, without containers.
pub async fn run_pod(runtime: &Service, file: &Path) -> Result<()> {
    let config = read(file)?;
    let answer: PodSandboxId = runtime.call("RunPodSandbox", RunPodSandboxRequest { config: Some(config) }).await?;
    println!("{}", answer.pod_sandbox_id);
    Ok(())
}

/// Makes a container in a pod.
pub async fn create(runtime: &Service, pod: String, container: &Path, pod_file: &Path) -> Result<()> {
    let (mut config, sandbox): (ContainerConfig, PodSandboxConfig) = (read(container)?, read(pod_file)?);
    let image = config.image.as_mut().context("image is not set")?;
    if image.user_specified_image.is_empty() {
        image.user_specified_image.clone_from(&image.image);
    }
    let question = CreateContainerRequest { pod_sandbox_id: pod, config: Some(config), sandbox_config: Some(sandbox) };
    let answer: ContainerId = runtime.call("CreateContainer", question).await.context("creating container")?;
    println!("{}", answer.container_id);
    Ok(())
}

/// Starts containers.
pub async fn start(runtime: &Service, ids: Vec<String>) -> Result<()> {
    for id in ids {
        let question = ContainerId { container_id: id.clone() };
        let _: Nothing = runtime.call("StartContainer", question).await.with_context(|| format!("starting the container {id:?}"))?;
        println!("{id}");
    }
    Ok(())
}

/// Stops containers; what still runs after so many seconds is killed.
pub async fn stop(runtime: &Service, ids: Vec<String>, seconds: i64) -> Result<()> {
    for id in ids {
        stop_container(runtime, &id, seconds).await?;
    }
    Ok(())
}

async fn stop_container(runtime: &Service, id: &str, seconds: i64) -> Result<()> {
    let question = StopContainerRequest { container_id: id.to_owned(), timeout: seconds };
    let _: Nothing = runtime.call("StopContainer", question).await.with_context(|| format!("stopping the container {id:?}"))?;
    println!("{id}");
    Ok(())
}

/// Removes containers, and with them their logs.
pub async fn remove_containers(runtime: &Service, ids: Vec<String>, force: bool) -> Result<()> {
    for id in ids {
        let status = container(runtime, &id, false).await.with_context(|| format!("getting container status {id:?}"))?;
        let status = status.status.unwrap_or_default();
        match (status.state(), force) {
            (ContainerState::Running, true) => stop_container(runtime, &id, 0).await?,
            (ContainerState::Running, false) => bail!("container {id:?} is running, please stop it first"),
            (ContainerState::Created | ContainerState::Exited | ContainerState::Unknown, _) => {}
        }
        let question = ContainerId { container_id: id.clone() };
        let _: Nothing = runtime.call("RemoveContainer", question).await.with_context(|| format!("removing container {id:?}"))?;
        if !status.log_path.is_empty()
            && let Err(error) = fs::remove_file(&status.log_path)
        {
            crate::log("error", &format!("removing log file {} for container {id:?} failed: {error}", status.log_path));
        }
        println!("{id}");
    }
    Ok(())
}

/// Stops pods with their containers.
pub async fn stop_pods(runtime: &Service, ids: Vec<String>) -> Result<()> {
    for id in ids {
        stop_pod(runtime, &id).await?;
    }
    Ok(())
}

async fn stop_pod(runtime: &Service, id: &str) -> Result<()> {
    let question = PodSandboxId { pod_sandbox_id: id.to_owned() };
    let _: Nothing = runtime.call("StopPodSandbox", question).await.with_context(|| format!("stopping the pod sandbox {id:?}"))?;
    println!("Stopped sandbox {id}");
    Ok(())
}

/// Removes pods with their containers.
pub async fn remove_pods(runtime: &Service, ids: Vec<String>, force: bool) -> Result<()> {
    for id in ids {
        let status = pod(runtime, &id, false).await.with_context(|| format!("getting sandbox status of pod {id:?}"))?;
        match (status.status.unwrap_or_default().state(), force) {
            (PodSandboxState::Ready, true) => stop_pod(runtime, &id).await?,
            (PodSandboxState::Ready, false) => bail!("pod sandbox {id:?} is running, please stop it first"),
            (PodSandboxState::NotReady, _) => {}
        }
        let question = PodSandboxId { pod_sandbox_id: id.clone() };
        let _: Nothing = runtime.call("RemovePodSandbox", question).await.with_context(|| format!("removing the pod sandbox {id:?}"))?;
        println!("Removed sandbox {id}");
    }
    Ok(())
}

async fn container(runtime: &Service, id: &str, verbose: bool) -> Result<ContainerStatusResponse> {
    runtime.call("ContainerStatus", StatusOfRequest { id: id.to_owned(), verbose }).await
}

async fn pod(runtime: &Service, id: &str, verbose: bool) -> Result<PodSandboxStatusResponse> {
    runtime.call("PodSandboxStatus", StatusOfRequest { id: id.to_owned(), verbose }).await
}

async fn image(images: &Service, name: &str, verbose: bool) -> Result<ImageStatusResponse> {
    images.call("ImageStatus", ImageStatusRequest { image: Some(named(name)), verbose }).await
}

fn named(name: &str) -> ImageSpec {
    ImageSpec { image: name.to_owned(), ..ImageSpec::default() }
}

/// The names that an image is shown by: its tags, or its digests where it has none.
fn shown_names(image: &Image) -> &[String] {
    if image.repo_tags.is_empty() { &image.repo_digests } else { &image.repo_tags }
}

fn read<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("read {}", file.display()))
}

fn print(value: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// One status by itself, several as a list.
fn print_statuses(statuses: &[Value]) -> Result<()> {
    match statuses {
        [one] => print(one),
        all => print(&all),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn config<T: DeserializeOwned>(text: &str) -> Result<T> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("config.json");
        fs::write(&file, text)?;
        read(&file)
    }

    #[test]
    fn a_pod_file_is_read_by_cri_s_own_names() -> Result<()> {
        let pod: PodSandboxConfig = config(
            r#"{"metadata": {"name": "web", "namespace": "default", "uid": "1"}, "log_directory": "/logs", "labels": {"a": "b"},
                "linux": {"cgroup_parent": "/lab", "security_context": {"namespace_options": {"network": 2}}}}"#,
        )?;
        let linux = pod.linux.unwrap_or_default();
        let options = linux.security_context.unwrap_or_default().namespace_options.unwrap_or_default();
        assert_eq!((pod.log_directory.as_str(), linux.cgroup_parent.as_str(), options.network), ("/logs", "/lab", 2));
        assert_eq!(pod.labels, BTreeMap::from([("a".to_owned(), "b".to_owned())]));
        Ok(())
    }

    #[test]
    fn a_container_file_can_mount_an_image() -> Result<()> {
        let container: ContainerConfig = config(
            r#"{"metadata": {"name": "main"}, "image": {"image": "app:1"}, "linux": {},
                "mounts": [{"container_path": "/data", "image": {"image": "data:1"}, "readonly": true}]}"#,
        )?;
        let mount = &container.mounts[0];
        assert_eq!((mount.container_path.as_str(), mount.readonly), ("/data", true));
        assert_eq!(mount.image.as_ref().map(|image| image.image.as_str()), Some("data:1"));
        Ok(())
    }

    #[test]
    fn a_setting_that_would_do_nothing_is_an_error() {
        let error = config::<ContainerConfig>(r#"{"metadata": {"name": "main"}, "tty": true}"#).expect_err("an unknown key");
        assert!(format!("{error:#}").contains("tty"), "{error:#}");
    }
}
