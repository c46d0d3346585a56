//! The messages of CRI v1 that this client sends and receives, with the fields that crictl prints.
//!
//! Written as structures, not generated: nothing has to be compiled by protoc, and the published bindings lack
//! fields that crictl prints (`image_ref` of an image, `stop_signal`, `image_sub_path`). The field numbers are CRI's.
//! As JSON they are what crictl prints; read, they take crictl's configuration files, where an unknown key is an error
//! so that no test relies on a setting that does nothing. A key whose value is a 64-bit number is a text, and a message
//! that isn't there has no key, except right in the status of a container or a pod, where it is null.

use std::collections::BTreeMap;

use prost::{Enumeration, Message};
use serde::{Deserialize, Serialize};

use crate::json::{name_of, text, texts};

/// Labels and annotations.
type Texts = BTreeMap<String, String>;

/// What takes nothing or says nothing.
#[derive(Clone, PartialEq, Message)]
pub struct Nothing {}

/// Asks for the version.
#[derive(Clone, PartialEq, Message)]
pub struct VersionRequest {
    #[prost(string, tag = "1")]
    pub version: String,
}

/// Who answers.
#[derive(Clone, PartialEq, Message)]
pub struct VersionResponse {
    #[prost(string, tag = "1")]
    pub version: String,
    #[prost(string, tag = "2")]
    pub runtime_name: String,
    #[prost(string, tag = "3")]
    pub runtime_version: String,
    #[prost(string, tag = "4")]
    pub runtime_api_version: String,
}

/// Asks for the state of the runtime.
#[derive(Clone, PartialEq, Message)]
pub struct StatusRequest {
    #[prost(bool, tag = "1")]
    pub verbose: bool,
}

/// The state of the runtime.
#[derive(Clone, PartialEq, Message)]
pub struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<RuntimeStatus>,
    #[prost(btree_map = "string, string", tag = "2")]
    pub info: Texts,
    #[prost(message, repeated, tag = "3")]
    pub runtime_handlers: Vec<RuntimeHandler>,
    #[prost(message, optional, tag = "4")]
    pub features: Option<RuntimeFeatures>,
}

/// What works.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct RuntimeStatus {
    #[prost(message, repeated, tag = "1")]
    pub conditions: Vec<RuntimeCondition>,
}

/// One thing that works or doesn't.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct RuntimeCondition {
    #[prost(string, tag = "1")]
    #[serde(rename = "type")]
    pub kind: String,
    #[prost(bool, tag = "2")]
    pub status: bool,
    #[prost(string, tag = "3")]
    pub reason: String,
    #[prost(string, tag = "4")]
    pub message: String,
}

/// Printed in another way than all else: CRI's own names, without what is empty or false.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct RuntimeHandler {
    #[prost(string, tag = "1")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<RuntimeHandlerFeatures>,
}

/// Printed as [`RuntimeHandler`] is.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct RuntimeHandlerFeatures {
    #[prost(bool, tag = "1")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub recursive_read_only_mounts: bool,
    #[prost(bool, tag = "2")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub user_namespaces: bool,
}

/// Printed as [`RuntimeHandler`] is.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct RuntimeFeatures {
    #[prost(bool, tag = "1")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub supplemental_groups_policy: bool,
}

/// A reference to an image, and how it was asked for.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all(serialize = "camelCase"))]
pub struct ImageSpec {
    #[prost(string, tag = "1")]
    pub image: String,
    #[prost(btree_map = "string, string", tag = "2")]
    pub annotations: Texts,
    #[prost(string, tag = "18")]
    pub user_specified_image: String,
    #[prost(string, tag = "19")]
    pub runtime_handler: String,
    #[prost(string, tag = "20")]
    pub image_ref: String,
}

/// All images.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct ListImagesResponse {
    #[prost(message, repeated, tag = "1")]
    pub images: Vec<Image>,
}

/// One image.
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, repeated, tag = "2")]
    pub repo_tags: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub repo_digests: Vec<String>,
    #[prost(uint64, tag = "4")]
    #[serde(serialize_with = "text")]
    pub size: u64,
    #[prost(message, optional, tag = "5")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<Int64Value>,
    #[prost(string, tag = "6")]
    pub username: String,
    #[prost(message, optional, tag = "7")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<ImageSpec>,
    #[prost(bool, tag = "8")]
    pub pinned: bool,
}

/// A number that may be absent. It is CRI's own message, so its JSON is one, too.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct Int64Value {
    #[prost(int64, tag = "1")]
    #[serde(serialize_with = "text")]
    pub value: i64,
}

/// Asks for one image.
#[derive(Clone, PartialEq, Message)]
pub struct ImageStatusRequest {
    #[prost(message, optional, tag = "1")]
    pub image: Option<ImageSpec>,
    #[prost(bool, tag = "2")]
    pub verbose: bool,
}

/// One image, if it is there.
#[derive(Clone, PartialEq, Message)]
pub struct ImageStatusResponse {
    #[prost(message, optional, tag = "1")]
    pub image: Option<Image>,
    #[prost(btree_map = "string, string", tag = "2")]
    pub info: Texts,
}

/// Asks to pull or to remove an image: both have it as their first field, and nothing else that is needed here.
#[derive(Clone, PartialEq, Message)]
pub struct ImageRequest {
    #[prost(message, optional, tag = "1")]
    pub image: Option<ImageSpec>,
}

/// What was pulled.
#[derive(Clone, PartialEq, Message)]
pub struct PullImageResponse {
    #[prost(string, tag = "1")]
    pub image_ref: String,
}

/// All containers.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct ListContainersResponse {
    #[prost(message, repeated, tag = "1")]
    pub containers: Vec<Container>,
}

/// What a container is called in its pod, and which try it is.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContainerMetadata {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
}

/// One container of a listing.
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub pod_sandbox_id: String,
    #[prost(message, optional, tag = "3")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "4")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageSpec>,
    #[prost(string, tag = "5")]
    pub image_ref: String,
    #[prost(enumeration = "ContainerState", tag = "6")]
    #[serde(serialize_with = "name_of::<ContainerState, _>")]
    pub state: i32,
    #[prost(int64, tag = "7")]
    #[serde(serialize_with = "text")]
    pub created_at: i64,
    #[prost(btree_map = "string, string", tag = "8")]
    pub labels: Texts,
    #[prost(btree_map = "string, string", tag = "9")]
    pub annotations: Texts,
    #[prost(string, tag = "10")]
    pub image_id: String,
}

/// How far a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration, Serialize)]
#[repr(i32)]
pub enum ContainerState {
    #[serde(rename = "CONTAINER_CREATED")]
    Created = 0,
    #[serde(rename = "CONTAINER_RUNNING")]
    Running = 1,
    #[serde(rename = "CONTAINER_EXITED")]
    Exited = 2,
    #[serde(rename = "CONTAINER_UNKNOWN")]
    Unknown = 3,
}

/// Names one container: in a request to start or to remove it, and in the answer that it was made.
#[derive(Clone, PartialEq, Message)]
pub struct ContainerId {
    #[prost(string, tag = "1")]
    pub container_id: String,
}

/// Asks to stop a container.
#[derive(Clone, PartialEq, Message)]
pub struct StopContainerRequest {
    #[prost(string, tag = "1")]
    pub container_id: String,
    #[prost(int64, tag = "2")]
    pub timeout: i64,
}

/// Asks for one container, or one pod: the fields are the same.
#[derive(Clone, PartialEq, Message)]
pub struct StatusOfRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(bool, tag = "2")]
    pub verbose: bool,
}

/// One container.
#[derive(Clone, PartialEq, Message)]
pub struct ContainerStatusResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<ContainerStatus>,
    #[prost(btree_map = "string, string", tag = "2")]
    pub info: Texts,
}

/// Everything about a container.
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<ContainerMetadata>,
    #[prost(enumeration = "ContainerState", tag = "3")]
    #[serde(serialize_with = "name_of::<ContainerState, _>")]
    pub state: i32,
    #[prost(int64, tag = "4")]
    pub created_at: i64,
    #[prost(int64, tag = "5")]
    pub started_at: i64,
    #[prost(int64, tag = "6")]
    pub finished_at: i64,
    #[prost(int32, tag = "7")]
    pub exit_code: i32,
    #[prost(message, optional, tag = "8")]
    pub image: Option<ImageSpec>,
    #[prost(string, tag = "9")]
    pub image_ref: String,
    #[prost(string, tag = "10")]
    pub reason: String,
    #[prost(string, tag = "11")]
    pub message: String,
    #[prost(btree_map = "string, string", tag = "12")]
    pub labels: Texts,
    #[prost(btree_map = "string, string", tag = "13")]
    pub annotations: Texts,
    #[prost(message, repeated, tag = "14")]
    pub mounts: Vec<Mount>,
    #[prost(string, tag = "15")]
    pub log_path: String,
    #[prost(message, optional, tag = "16")]
    pub resources: Option<ContainerResources>,
    #[prost(string, tag = "17")]
    pub image_id: String,
    #[prost(message, optional, tag = "18")]
    pub user: Option<ContainerUser>,
    #[prost(enumeration = "Signal", tag = "19")]
    #[serde(serialize_with = "name_of::<Signal, _>")]
    pub stop_signal: i32,
}

/// The signal that ends a container: any but the first is printed as a number, no test sets one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(i32)]
pub enum Signal {
    RuntimeDefault = 0,
}

/// Who a container runs as.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct ContainerUser {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linux: Option<LinuxContainerUser>,
}

/// Who a container runs as on Linux.
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinuxContainerUser {
    #[prost(int64, tag = "1")]
    #[serde(serialize_with = "text")]
    pub uid: i64,
    #[prost(int64, tag = "2")]
    #[serde(serialize_with = "text")]
    pub gid: i64,
    #[prost(int64, repeated, tag = "3")]
    #[serde(serialize_with = "texts")]
    pub supplemental_groups: Vec<i64>,
}

/// What a container may use.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct ContainerResources {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linux: Option<LinuxContainerResources>,
}

/// What a container may use on Linux.
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinuxContainerResources {
    #[prost(int64, tag = "1")]
    #[serde(serialize_with = "text")]
    pub cpu_period: i64,
    #[prost(int64, tag = "2")]
    #[serde(serialize_with = "text")]
    pub cpu_quota: i64,
    #[prost(int64, tag = "3")]
    #[serde(serialize_with = "text")]
    pub cpu_shares: i64,
    #[prost(int64, tag = "4")]
    #[serde(serialize_with = "text")]
    pub memory_limit_in_bytes: i64,
    #[prost(int64, tag = "5")]
    #[serde(serialize_with = "text")]
    pub oom_score_adj: i64,
    #[prost(string, tag = "6")]
    pub cpuset_cpus: String,
    #[prost(string, tag = "7")]
    pub cpuset_mems: String,
    #[prost(message, repeated, tag = "8")]
    pub hugepage_limits: Vec<HugepageLimit>,
    #[prost(btree_map = "string, string", tag = "9")]
    pub unified: Texts,
    #[prost(int64, tag = "10")]
    #[serde(serialize_with = "text")]
    pub memory_swap_limit_in_bytes: i64,
}

/// How many huge pages.
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HugepageLimit {
    #[prost(string, tag = "1")]
    pub page_size: String,
    #[prost(uint64, tag = "2")]
    #[serde(serialize_with = "text")]
    pub limit: u64,
}

/// A folder of the machine, or an image, in a container.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all(serialize = "camelCase"))]
pub struct Mount {
    #[prost(string, tag = "1")]
    pub container_path: String,
    #[prost(string, tag = "2")]
    pub host_path: String,
    #[prost(bool, tag = "3")]
    pub readonly: bool,
    #[prost(bool, tag = "4")]
    pub selinux_relabel: bool,
    #[prost(enumeration = "MountPropagation", tag = "5")]
    #[serde(serialize_with = "name_of::<MountPropagation, _>")]
    pub propagation: i32,
    #[prost(message, repeated, tag = "6")]
    pub uid_mappings: Vec<IdMapping>,
    #[prost(message, repeated, tag = "7")]
    pub gid_mappings: Vec<IdMapping>,
    #[prost(bool, tag = "8")]
    pub recursive_read_only: bool,
    #[prost(message, optional, tag = "9")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageSpec>,
    #[prost(string, tag = "10")]
    pub image_sub_path: String,
}

/// How a mount spreads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration, Serialize)]
#[repr(i32)]
pub enum MountPropagation {
    #[serde(rename = "PROPAGATION_PRIVATE")]
    Private = 0,
    #[serde(rename = "PROPAGATION_HOST_TO_CONTAINER")]
    HostToContainer = 1,
    #[serde(rename = "PROPAGATION_BIDIRECTIONAL")]
    Bidirectional = 2,
}

/// Whom a user outside is inside.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all(serialize = "camelCase"))]
pub struct IdMapping {
    #[prost(uint32, tag = "1")]
    pub host_id: u32,
    #[prost(uint32, tag = "2")]
    pub container_id: u32,
    #[prost(uint32, tag = "3")]
    pub length: u32,
}

/// Asks for a container.
#[derive(Clone, PartialEq, Message)]
pub struct CreateContainerRequest {
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
    #[prost(message, optional, tag = "2")]
    pub config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    pub sandbox_config: Option<PodSandboxConfig>,
}

/// What a container shall be like.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "2")]
    pub image: Option<ImageSpec>,
    #[prost(string, repeated, tag = "3")]
    pub command: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub args: Vec<String>,
    #[prost(message, repeated, tag = "7")]
    pub mounts: Vec<Mount>,
    #[prost(btree_map = "string, string", tag = "9")]
    pub labels: Texts,
    #[prost(btree_map = "string, string", tag = "10")]
    pub annotations: Texts,
    #[prost(string, tag = "11")]
    pub log_path: String,
    #[prost(message, optional, tag = "15")]
    pub linux: Option<LinuxContainerConfig>,
}

/// Has to be there, even empty.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinuxContainerConfig {
    #[prost(message, optional, tag = "2")]
    pub security_context: Option<LinuxContainerSecurityContext>,
}

/// What a container is kept apart by.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinuxContainerSecurityContext {
    #[prost(bool, tag = "2")]
    pub privileged: bool,
    #[prost(message, optional, tag = "3")]
    pub namespace_options: Option<NamespaceOption>,
    #[prost(bool, tag = "7")]
    pub readonly_rootfs: bool,
}

/// Asks for a pod.
#[derive(Clone, PartialEq, Message)]
pub struct RunPodSandboxRequest {
    #[prost(message, optional, tag = "1")]
    pub config: Option<PodSandboxConfig>,
}

/// What a pod shall be like.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PodSandboxConfig {
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<PodSandboxMetadata>,
    #[prost(string, tag = "3")]
    pub log_directory: String,
    #[prost(btree_map = "string, string", tag = "6")]
    pub labels: Texts,
    #[prost(btree_map = "string, string", tag = "7")]
    pub annotations: Texts,
    #[prost(message, optional, tag = "8")]
    pub linux: Option<LinuxPodSandboxConfig>,
}

/// What a pod is called in the cluster, and which try it is.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PodSandboxMetadata {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub uid: String,
    #[prost(string, tag = "3")]
    pub namespace: String,
    #[prost(uint32, tag = "4")]
    pub attempt: u32,
}

/// Where a pod belongs on Linux.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinuxPodSandboxConfig {
    #[prost(string, tag = "1")]
    pub cgroup_parent: String,
    #[prost(message, optional, tag = "2")]
    pub security_context: Option<LinuxSandboxSecurityContext>,
}

/// What a pod is kept apart by.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinuxSandboxSecurityContext {
    #[prost(message, optional, tag = "1")]
    pub namespace_options: Option<NamespaceOption>,
    #[prost(bool, tag = "6")]
    pub privileged: bool,
}

/// Whose namespaces a pod has.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all(serialize = "camelCase"))]
pub struct NamespaceOption {
    #[prost(enumeration = "NamespaceMode", tag = "1")]
    #[serde(serialize_with = "name_of::<NamespaceMode, _>")]
    pub network: i32,
    #[prost(enumeration = "NamespaceMode", tag = "2")]
    #[serde(serialize_with = "name_of::<NamespaceMode, _>")]
    pub pid: i32,
    #[prost(enumeration = "NamespaceMode", tag = "3")]
    #[serde(serialize_with = "name_of::<NamespaceMode, _>")]
    pub ipc: i32,
    #[prost(string, tag = "4")]
    pub target_id: String,
    #[prost(message, optional, tag = "5")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub userns_options: Option<UserNamespace>,
}

/// Whose namespace it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(i32)]
pub enum NamespaceMode {
    Pod = 0,
    Container = 1,
    Node = 2,
    Target = 3,
}

/// Whose users a pod has.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UserNamespace {
    #[prost(enumeration = "NamespaceMode", tag = "1")]
    #[serde(serialize_with = "name_of::<NamespaceMode, _>")]
    pub mode: i32,
    #[prost(message, repeated, tag = "2")]
    pub uids: Vec<IdMapping>,
    #[prost(message, repeated, tag = "3")]
    pub gids: Vec<IdMapping>,
}

/// Names one pod: in a request to stop or to remove it, and in the answer that it was made.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandboxId {
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
}

/// All pods.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct ListPodSandboxResponse {
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<PodSandbox>,
}

/// One pod of a listing.
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSandbox {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<PodSandboxMetadata>,
    #[prost(enumeration = "PodSandboxState", tag = "3")]
    #[serde(serialize_with = "name_of::<PodSandboxState, _>")]
    pub state: i32,
    #[prost(int64, tag = "4")]
    #[serde(serialize_with = "text")]
    pub created_at: i64,
    #[prost(btree_map = "string, string", tag = "5")]
    pub labels: Texts,
    #[prost(btree_map = "string, string", tag = "6")]
    pub annotations: Texts,
    #[prost(string, tag = "7")]
    pub runtime_handler: String,
}

/// Whether a pod can run containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration, Serialize)]
#[repr(i32)]
pub enum PodSandboxState {
    #[serde(rename = "SANDBOX_READY")]
    Ready = 0,
    #[serde(rename = "SANDBOX_NOTREADY")]
    NotReady = 1,
}

/// One pod.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandboxStatusResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<PodSandboxStatus>,
    #[prost(btree_map = "string, string", tag = "2")]
    pub info: Texts,
}

/// Everything about a pod.
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSandboxStatus {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<PodSandboxMetadata>,
    #[prost(enumeration = "PodSandboxState", tag = "3")]
    #[serde(serialize_with = "name_of::<PodSandboxState, _>")]
    pub state: i32,
    #[prost(int64, tag = "4")]
    pub created_at: i64,
    #[prost(message, optional, tag = "5")]
    pub network: Option<PodSandboxNetworkStatus>,
    #[prost(message, optional, tag = "6")]
    pub linux: Option<LinuxPodSandboxStatus>,
    #[prost(btree_map = "string, string", tag = "7")]
    pub labels: Texts,
    #[prost(btree_map = "string, string", tag = "8")]
    pub annotations: Texts,
    #[prost(string, tag = "9")]
    pub runtime_handler: String,
}

/// The addresses of a pod.
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSandboxNetworkStatus {
    #[prost(string, tag = "1")]
    pub ip: String,
    #[prost(message, repeated, tag = "2")]
    pub additional_ips: Vec<PodIp>,
}

/// One more address.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct PodIp {
    #[prost(string, tag = "1")]
    pub ip: String,
}

/// How a pod is kept apart on Linux.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct LinuxPodSandboxStatus {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Namespaces>,
}

/// The namespaces of a pod.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct Namespaces {
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<NamespaceOption>,
}
