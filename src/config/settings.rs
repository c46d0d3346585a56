//! Every key of the configuration with its type and default, and what the keys ask of the other modules.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::values::{
    AbsolutePath, Batch, Caches, Cgroup, Endpoint, Namespace, Pattern, Percent, ProgramChoice, Registry, RuntimeName, Size, Span, Textfile,
};
use crate::metrics::Metrics;
use crate::plan::Target;
use crate::policy::{Policy, Selectors};
use crate::runtime::Wanted;

/// Every key with its type and default, as TOML has it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What may go and what must stay.
    pub images: Images,
    /// When to act at all, and when to stop.
    pub disk: DiskKeys,
    /// How gently.
    pub pace: Pace,
    /// What cached memory to give back.
    pub memory: Memory,
    /// Which runtime.
    pub runtime: RuntimeKeys,
    /// When not to run at all.
    pub safety: Safety,
    /// Where figures go.
    pub metrics: MetricsKeys,
}

/// `[images]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the options in cli.rs describe them")]
pub struct Images {
    pub registries: Vec<Registry>,
    pub include: Vec<Pattern>,
    pub all: bool,
    pub exclude: Vec<Pattern>,
    pub min_age: Span,
    pub unused_for: Span,
    pub keep_newest: usize,
    pub keep_unpullable: bool,
}

/// `[disk]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the options in cli.rs describe them")]
pub struct DiskKeys {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high_threshold: Option<Percent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low_threshold: Option<Percent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<Size>,
}

/// `[pace]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pace {
    /// Images that are checked and removed together.
    ///
    /// The last image of a batch goes as long after its check as the batch takes: with three references an image and 1.2 to
    /// 2 ms a reference, 200 images are about a second. More would save little: the three listings before a batch take
    /// a tenth of that.
    pub batch: Batch,
    /// Images a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_images: Option<std::num::NonZeroUsize>,
    /// No batch begins after this long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<Span>,
    /// Rest between batches.
    pub delay: Span,
    /// Wait while `/proc/pressure/io` is above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_io_pressure: Option<Percent>,
}

/// `[memory]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// What the kernel is told to drop after the images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_caches: Option<Caches>,
    /// How much one cgroup is asked to give back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reclaim: Option<Size>,
    /// Which cgroup.
    pub cgroup: Cgroup,
    /// Only while less of the memory is available than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_available_below: Option<Percent>,
}

/// `[metrics]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsKeys {
    /// `node_exporter`'s textfile folder.
    pub textfile: Textfile,
}

/// `[runtime]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the options in cli.rs describe them")]
pub struct RuntimeKeys {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<RuntimeName>,
    pub namespace: Namespace,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ctr: Option<ProgramChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crictl: Option<ProgramChoice>,
    pub trusted_dirs: Vec<AbsolutePath>,
}

/// `[safety]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Safety {
    /// Refuse an unattended run when machine or runtime have been up for less.
    pub min_uptime: Span,
    /// Run even though nothing at all is in use.
    pub allow_idle: bool,
}

impl Default for Images {
    fn default() -> Self {
        Self {
            registries: Vec::new(),
            include: Vec::new(),
            all: false,
            exclude: Vec::new(),
            min_age: Span(Duration::from_hours(1)),
            unused_for: Span(Duration::ZERO),
            keep_newest: 0,
            keep_unpullable: true,
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self { batch: Batch(200), max_images: None, max_duration: None, delay: Span(Duration::ZERO), max_io_pressure: None }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self { drop_caches: None, reclaim: None, cgroup: Cgroup("kubepods.slice".into()), when_available_below: None }
    }
}

impl Default for MetricsKeys {
    fn default() -> Self {
        Self { textfile: Textfile(Metrics::Auto) }
    }
}

impl Default for RuntimeKeys {
    fn default() -> Self {
        Self { endpoint: None, name: None, namespace: Namespace("k8s.io".into()), ctr: None, crictl: None, trusted_dirs: Vec::new() }
    }
}

impl Default for Safety {
    fn default() -> Self {
        Self { min_uptime: Span(Duration::from_mins(30)), allow_idle: false }
    }
}

impl Settings {
    /// The policy these settings ask for.
    pub fn policy(&self) -> Policy {
        let patterns = |patterns: &[Pattern]| patterns.iter().map(|pattern| pattern.0.clone()).collect();
        Policy {
            selectors: Selectors {
                all: self.images.all,
                registries: self.images.registries.iter().map(|registry| registry.0.clone()).collect(),
                include: patterns(&self.images.include),
            },
            exclude: patterns(&self.images.exclude),
            min_age: self.images.min_age.0,
            unused_for: self.images.unused_for.0,
            keep_newest: self.images.keep_newest,
            target: self.target(),
            keep_unpullable: self.images.keep_unpullable,
            min_uptime: self.safety.min_uptime.0,
            allow_idle: self.safety.allow_idle,
        }
    }

    /// The pace these settings ask for.
    pub fn pace(&self) -> crate::pace::Pace {
        crate::pace::Pace {
            batch: self.pace.batch.0,
            max_images: self.pace.max_images.map(std::num::NonZeroUsize::get),
            max_duration: self.pace.max_duration.as_ref().map(|span| span.0),
            delay: self.pace.delay.0,
            max_io_pressure: self.pace.max_io_pressure.map(|percent| percent.0),
        }
    }

    /// The memory step these settings ask for.
    pub fn memory(&self) -> crate::memory::Wish {
        crate::memory::Wish {
            drop_caches: self.memory.drop_caches.as_ref().map(|caches| caches.0),
            reclaim: self.memory.reclaim.as_ref().map(|size| size.0),
            cgroup: self.memory.cgroup.to_string(),
            when_available_below: self.memory.when_available_below.map(|percent| percent.0),
        }
    }

    fn target(&self) -> Option<Target> {
        let DiskKeys { high_threshold, low_threshold, free_bytes } = &self.disk;
        let high = high_threshold.map(|percent| percent.0);
        let target =
            Target { high, low: low_threshold.map(|percent| percent.0).or(high), free_bytes: free_bytes.as_ref().map(|size| size.0) };
        (target.high.is_some() || target.free_bytes.is_some()).then_some(target)
    }

    /// What is wrong although each key by itself is right.
    pub fn contradiction(&self) -> Option<String> {
        let DiskKeys { high_threshold, low_threshold, .. } = &self.disk;
        match (high_threshold, low_threshold) {
            (Some(high), Some(low)) if low.0 > high.0 => {
                Some(format!("disk.low_threshold {low} is above disk.high_threshold {high}; it says where to stop, so write a lower one"))
            }
            (None, Some(low)) => Some(format!("disk.low_threshold {low} says where to stop; say with disk.high_threshold when to begin")),
            (Some(_) | None, Some(_) | None) => None,
        }
    }

    /// The runtime these settings ask for.
    pub fn wanted_runtime(&self) -> Wanted {
        Wanted {
            endpoint: self.runtime.endpoint.as_ref().map(|endpoint| endpoint.0.clone()),
            kind: self.runtime.name.as_ref().map(|name| name.0),
            ctr: self.runtime.ctr.as_ref().map(|choice| choice.0.clone()).unwrap_or_default(),
            crictl: self.runtime.crictl.as_ref().map(|choice| choice.0.clone()).unwrap_or_default(),
            trusted_dirs: self.runtime.trusted_dirs.iter().map(|path| path.0.clone()).collect(),
        }
    }
}
