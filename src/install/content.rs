//! What is put onto a node, text by text, and where it goes.
//!
//! Everything is inside the program: the image of the installer holds nothing else.

use std::path::Path;

/// The services and timers; timers last, so that what they start is there before them.
pub const UNITS: [(&str, &str); 4] = [
    ("nuke-images.service", include_str!("../../systemd/nuke-images.service")),
    ("nuke-images-observe.service", include_str!("../../systemd/nuke-images-observe.service")),
    ("nuke-images.timer", include_str!("../../systemd/nuke-images.timer")),
    ("nuke-images-observe.timer", include_str!("../../systemd/nuke-images-observe.timer")),
];
/// What is enabled.
pub const TIMERS: [&str; 2] = ["nuke-images.timer", "nuke-images-observe.timer"];
/// What the timers start.
pub const SERVICES: [&str; 2] = ["nuke-images.service", "nuke-images-observe.service"];

/// Of a node's own; what is here was put here by somebody and stays.
pub const CONFIG: &str = "/etc/nuke-images/config.toml";
/// What the configuration says before anybody has edited it.
pub const DEFAULT_CONFIG: &str = include_str!("../../packaging/config.toml");
/// A new default beside an edited file; nothing reads it.
pub const NEW_CONFIG: &str = "/etc/nuke-images/config.toml.new";
/// Drop-ins of the configuration.
pub const CONFIG_DROP_INS: &str = "/etc/nuke-images/config.d";
/// The endpoint that was found, so that timer and people see the same runtime.
pub const PINNED: &str = "/etc/nuke-images/config.d/10-installed.toml";

/// What `journalctl --catalog` shows.
pub const CATALOG: (&str, &str) = ("/usr/local/lib/systemd/catalog/nuke-images.catalog", include_str!("../../systemd/nuke-images.catalog"));
/// Man page and completions, as path and text.
pub const EXTRAS: [(&str, &str); 4] = [
    ("/usr/local/share/man/man1/nuke-images.1", include_str!("../../packaging/man/nuke-images.1")),
    ("/usr/local/share/bash-completion/completions/nuke-images", include_str!("../../packaging/completions/nuke-images.bash")),
    ("/usr/local/share/zsh/site-functions/_nuke-images", include_str!("../../packaging/completions/_nuke-images")),
    ("/usr/local/share/fish/vendor_completions.d/nuke-images.fish", include_str!("../../packaging/completions/nuke-images.fish")),
];

/// Gives the service what dropping caches takes.
pub const DROP_CACHES: (&str, &str) = ("50-drop-caches.conf", include_str!("../../systemd/50-drop-caches.conf"));
/// Gives the service what reclaiming from the cgroups of pods takes.
pub const RECLAIM: (&str, &str) = ("50-reclaim.conf", include_str!("../../systemd/50-reclaim.conf"));
/// Gives the service one folder for metrics.
pub const METRICS: (&str, &str) = ("50-metrics.conf", include_str!("../../systemd/50-metrics.conf"));
/// Lets it write there though the folder is somebody else's.
pub const METRICS_OWNER: (&str, &str) = ("50-metrics-owner.conf", include_str!("../../systemd/50-metrics-owner.conf"));
/// The name of the timer's drop-in with the schedule.
pub const SCHEDULE: &str = "10-schedule.conf";

/// Folders for the program, in order; the next to last is that of GKE's COS.
pub const PROGRAM_FOLDERS: [&str; 5] =
    ["/usr/local/bin", "/opt/nuke-images/bin", "/opt/bin", "/home/kubernetes/bin", "/var/lib/nuke-images/bin"];
/// What it is called there.
pub const PROGRAM: &str = "nuke-images";
/// Folders that systemd reads units from (systemd.unit(5)), first those that people write to.
pub const UNIT_FOLDERS: [&str; 3] = ["/etc/systemd/system", "/usr/local/lib/systemd/system", "/run/systemd/system"];
/// Folders that packages put units into; the second where it is no link to the first.
pub const PACKAGED_UNIT_FOLDERS: [&str; 2] = ["/usr/lib/systemd/system", "/lib/systemd/system"];

const SHIPPED_PROGRAM: &str = "/usr/local/bin/nuke-images";
const SHIPPED_CGROUPS: &str = "-/sys/fs/cgroup/kubepods.slice -/sys/fs/cgroup/kubepods";
const SHIPPED_METRICS: &str = "/var/lib/node_exporter/textfile_collector";

/// A unit that starts the program where it is.
pub fn unit(text: &str, program: &Path) -> String {
    text.replace(SHIPPED_PROGRAM, &program.display().to_string())
}

/// The timer's drop-in; what the shipped timer says is put aside.
pub fn schedule(calendar: &str) -> String {
    format!("# Put here by nuke-images install --schedule.\n[Timer]\nOnCalendar=\nOnCalendar={calendar}\n")
}

/// The drop-in for a folder of metrics.
pub fn metrics(folder: &Path) -> String {
    METRICS.1.replace(&format!("-{SHIPPED_METRICS}"), &quoted(folder))
}

/// The drop-in for a cgroup. The pods' one has two names, of which a node has one.
pub fn reclaim(cgroup: &str) -> String {
    let is_shipped = SHIPPED_CGROUPS.starts_with(&format!("-/sys/fs/cgroup/{cgroup} "));
    if is_shipped { RECLAIM.1.to_owned() } else { RECLAIM.1.replace(SHIPPED_CGROUPS, &quoted(&Path::new("/sys/fs/cgroup").join(cgroup))) }
}

/// systemd takes a text apart at spaces and expands `%` (systemd.syntax(7)); a path that isn't there is no error.
fn quoted(path: &Path) -> String {
    // A line break would begin another setting; values.rs refuses it before.
    let text = path.display().to_string().replace(char::is_control, "?");
    format!("\"-{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%"))
}

/// The drop-in of the configuration.
pub fn pinned(endpoint: &str) -> String {
    let written = toml::Value::String(endpoint.to_owned());
    format!(
        "# Put here by nuke-images install: what it found or was told. Change it with nuke-images install --runtime-endpoint.\n[runtime]\nendpoint = {written}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_starts_the_program_where_it_is() {
        for (name, text) in UNITS.into_iter().filter(|(name, _)| SERVICES.contains(name)) {
            assert_eq!(text.matches(SHIPPED_PROGRAM).count(), 1, "{name}");
            assert!(unit(text, Path::new("/opt/bin/nuke-images")).contains("\nExecStart=/opt/bin/nuke-images "), "{name}");
        }
    }

    #[test]
    fn the_two_services_have_the_same_sandbox() {
        let rights = |text: &'static str| {
            let lines = text.lines().skip_while(|line| *line != "[Service]").filter(|line| line.contains('='));
            let own = ["ExecStart=", "SuccessExitStatus=", "Timeout", "ReadWritePaths="];
            lines.filter(|line| !own.iter().any(|own| line.starts_with(own))).collect::<Vec<_>>()
        };
        assert_eq!(rights(UNITS[0].1), rights(UNITS[1].1));
        assert!(rights(UNITS[0].1).contains(&"CapabilityBoundingSet="));
    }

    #[test]
    fn the_folder_for_metrics_is_written_as_systemd_reads_it() {
        let text = metrics(Path::new("/srv/a b/100%"));
        assert!(text.ends_with("\nReadWritePaths=\"-/srv/a b/100%%\"\n"), "{text}");
    }

    #[test]
    fn a_cgroup_of_another_name_takes_the_place_of_the_pods() {
        assert_eq!(reclaim("kubepods.slice"), RECLAIM.1);
        let text = reclaim("kubelet.slice/kubelet-kubepods.slice");
        assert!(text.ends_with("\nReadWritePaths=\"-/sys/fs/cgroup/kubelet.slice/kubelet-kubepods.slice\"\n"), "{text}");
    }

    #[test]
    fn an_endpoint_is_pinned_as_toml() {
        let table: toml::Table = pinned("unix:///run/a\"b.sock").parse().expect("TOML");
        assert_eq!(table["runtime"]["endpoint"].as_str(), Some("unix:///run/a\"b.sock"));
    }
}
