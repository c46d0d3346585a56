//! What the product writes for `node_exporter`, as Prometheus' own tools see it; and `packaging/monitoring`: alerts that fire when
//! they should, and a dashboard that asks only for what is written.

#[expect(dead_code, reason = "the tests of the command line need more of it")]
#[path = "cli/node.rs"]
mod node;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::wait_for;
use node::{A, Node, program};
use serde_json::Value;

/// Debian's folder, below the machine's `/var/lib`.
const FOLDER: &str = "lib/prometheus/node-exporter";
const FILE: &str = "lib/prometheus/node-exporter/nuke-images.prom";
const CLEAN: [&str; 2] = ["--yes", "--all"];

fn monitoring(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/monitoring").join(file)
}

/// A machine with a folder for metrics.
fn node() -> Node {
    let node = Node::new();
    fs::create_dir_all(node.path(FOLDER)).expect("folder");
    node
}

/// A machine on which everything that has figures has happened.
fn full_node() -> Node {
    let node = node();
    node.configure("[disk]\nhigh_threshold = 2\nlow_threshold = 1\nfree_bytes = \"1PB\"\n[memory]\ndrop_caches = \"pagecache\"\n");
    node.run(&CLEAN).exits(0);
    node
}

/// The value of that sample, if there is one.
fn sample(node: &Node, name: &str) -> Option<f64> {
    let text = node.read(FILE);
    text.lines().find_map(|line| line.strip_prefix(&format!("nuke_images_{name} "))).map(|value| value.parse().expect("a number"))
}

/// Everything that begins with our prefix in a text.
fn names(text: &str) -> BTreeSet<String> {
    let word = |at: usize| text[at..].chars().take_while(|&c| c.is_ascii_alphanumeric() || c == '_').collect::<String>();
    text.match_indices("nuke_images_").map(|(at, _)| word(at)).collect()
}

fn written() -> BTreeSet<String> {
    names(&full_node().read(FILE))
}

/// What it prints on both streams, if it exits with 0.
fn promtool(arguments: &[&str], input: Option<&str>) -> Result<String> {
    let mut command = program(&lab::prometheus()?[0].join("promtool").display().to_string());
    command.args(arguments).stdin(Stdio::piped());
    let mut child = command.spawn()?;
    child.stdin.take().context("stdin")?.write_all(input.unwrap_or_default().as_bytes())?;
    let output = child.wait_with_output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "promtool {arguments:?}: {said}");
    Ok(said)
}

#[test]
fn each_way_that_a_run_ends_is_told_in_figures_that_promtool_finds_nothing_to_say_about() -> Result<()> {
    let observing = node();
    observing.run(&["--yes"]).exits(0);
    assert_eq!((sample(&observing, "last_run_only_observed"), sample(&observing, "last_run_reclaimed_bytes")), (Some(1.0), Some(0.0)));
    assert_eq!(sample(&observing, "images{verdict=\"remove\",reason=\"unused\"}"), Some(2.0));
    assert_eq!(sample(&observing, "images{verdict=\"keep\",reason=\"in_use\"}"), Some(1.0));

    let failing = node();
    failing.configure("[pace]\nbatch = 1\n");
    failing.behaves_at("images rm", &format!(r#"case "$*" in *{}*) exit 1 ;; esac"#, A.tag));
    failing.run(&CLEAN).exits(3);
    let outcome = |outcome: &str| sample(&failing, &format!("last_run_removals{{outcome=\"{outcome}\"}}"));
    assert_eq!((outcome("removed"), outcome("failed"), sample(&failing, "last_run_success")), (Some(1.0), Some(1.0), Some(0.0)));

    let broken = node();
    broken.behaves_at("containers ls", "exit 1");
    broken.run(&CLEAN).exits(1);
    assert_eq!((sample(&broken, "last_run_exit_code"), sample(&broken, "last_run_reclaimed_bytes")), (Some(1.0), None));

    let alone = node();
    alone.run(&["--no-images", "--drop-caches"]).exits(0);
    assert_eq!((sample(&alone, "last_memory_step_success"), sample(&alone, "last_run_exit_code")), (Some(1.0), None));
    for node in [observing, failing, broken, alone, full_node()] {
        let text = node.read(FILE);
        assert!(text.starts_with("# HELP "), "{text}");
        assert_eq!(promtool(&["check", "metrics"], Some(&text))?, "", "{text}");
    }
    Ok(())
}

#[test]
fn figures_are_written_for_everybody_to_read_and_by_no_dry_run_and_nowhere_that_nobody_asked_for() {
    let node = node();
    node.run(&["--dry-run", "--all"]).exits(0);
    node.configure("[metrics]\ntextfile = \"off\"\n");
    node.run(&CLEAN).exits(0);
    assert!(!node.path(FILE).exists());
    node.configure("[metrics]\ntextfile = \"/var/lib/elsewhere\"\n");
    let run = node.run(&CLEAN).exits(0).complains(&["metrics can't be written: ", "there is no folder /var/lib/elsewhere"]);
    assert!(run.stdout.contains("Nothing to remove"), "{run:?}");
    fs::create_dir(node.path("lib/elsewhere")).expect("folder");
    node.run(&CLEAN).exits(0);
    let written = node.path("lib/elsewhere/nuke-images.prom");
    assert_eq!(fs::metadata(&written).expect("the file").permissions().mode() & 0o7777, 0o644);
    assert!(!node.path(FILE).exists());
}

#[test]
fn alerts_are_valid_and_fire_when_they_should() -> Result<()> {
    let file = |name: &str| monitoring(name).display().to_string();
    promtool(&["check", "rules", &file("alerts.yml")], None)?;
    promtool(&["test", "rules", &file("alerts.test.yml")], None)?;
    let alerts = fs::read_to_string(monitoring("alerts.yml"))?;
    let tests = fs::read_to_string(monitoring("alerts.test.yml"))?;
    let alerts: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 5, "{alerts:?}");
    for alert in alerts {
        let fires = tests.split("- eval_time:").any(|case| case.contains(&format!("alertname: {alert}\n")) && case.contains("exp_alerts"));
        assert!(fires, "no test in which {alert} fires");
    }
    Ok(())
}

#[test]
fn alerts_and_dashboard_ask_for_what_is_written_and_the_table_explains_all_of_it() -> Result<()> {
    let written = written();
    assert!(written.len() >= 20, "{written:?}");
    for file in ["alerts.yml", "alerts.test.yml", "dashboard.json"] {
        let asked = names(&fs::read_to_string(monitoring(file))?);
        assert!(!asked.is_empty() && asked.is_subset(&written), "{file}: {:?}", asked.difference(&written));
    }
    let readme = fs::read_to_string(monitoring("README.md"))?;
    let explained = names(&readme.lines().filter(|line| line.starts_with("| `nuke_images_")).collect::<Vec<_>>().join("\n"));
    assert_eq!(explained, written);
    Ok(())
}

/// Each query of the dashboard with its panel's title, its variables filled in.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().expect("panels");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let of_panel = |panel: &Value| -> Vec<(String, String)> {
        let targets = panel["targets"].as_array().expect("targets").iter();
        targets.map(|target| (text(&panel["title"]), text(&target["expr"]).replace("$instance", ".*"))).collect()
    };
    panels.iter().flat_map(of_panel).collect()
}

#[test]
fn the_dashboard_is_one_that_grafana_can_lay_out() -> Result<()> {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(monitoring("dashboard.json"))?)?;
    let variables: BTreeSet<&str> =
        dashboard["templating"]["list"].as_array().context("variables")?.iter().filter_map(|variable| variable["name"].as_str()).collect();
    assert_eq!(variables, BTreeSet::from(["datasource", "instance"]));
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().context("panels")? {
        assert!(ids.insert(panel["id"].as_u64()), "{} has the ID of another one", panel["title"]);
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        let [x, y, width, height] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().expect("a number"));
        assert!(x + width <= 24, "{} is wider than the page", panel["title"]);
        for cell in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "{} lies over another one", panel["title"]);
        }
        let names: Vec<&str> =
            panel["targets"].as_array().context("targets")?.iter().filter_map(|target| target["refId"].as_str()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{}", panel["title"]);
    }
    for (title, query) in queries(&dashboard) {
        assert!(!query.contains('$'), "{title} has a variable that there is not: {query}");
    }
    Ok(())
}

/// A daemon of the test's own, which ends with it.
struct Daemon {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Daemon {
    fn start(path: &Path, folder: &Path, arguments: &[&str]) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let name = path.file_name().context("a name")?.display().to_string();
        let log = folder.join(format!("{name}.log"));
        let file = fs::File::create(&log)?;
        let mut command = program("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(path).args(arguments).arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let child = command.current_dir(folder).stdout(file.try_clone()?).stderr(file).spawn()?;
        Ok(Self { child, port, log })
    }

    /// What it answers, once it does and there is something in it.
    fn wait_for<T>(&mut self, what: &str, path: &str, find: impl Fn(&str) -> Option<T>) -> Result<T> {
        wait_for(what, || {
            ensure!(self.child.try_wait()?.is_none(), "it ended: {}", fs::read_to_string(&self.log)?);
            Ok(self.get(path).ok().and_then(|body| find(&body)))
        })
        .with_context(|| format!("{path}: {:?}", self.get(path)))
    }

    fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer")?;
        ensure!(head.contains(" 200 "), "{head}\n{body}");
        Ok(body.to_owned())
    }

    fn query(&self, expression: &str) -> Result<Value> {
        let encoded = expression.bytes().fold(String::new(), |text, byte| format!("{text}%{byte:02X}"));
        let answer: Value = serde_json::from_str(&self.get(&format!("/api/v1/query?query={encoded}"))?)?;
        ensure!(answer["status"] == "success", "{expression}: {answer}");
        Ok(answer["data"]["result"].clone())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A `node_exporter` that reads the machine's folder, and a Prometheus that scrapes it, with our alerts that wait for nothing.
fn monitored(node: &Node, folder: &Path) -> Result<(Daemon, Daemon)> {
    let [prometheus, exporter] = lab::prometheus()?;
    let textfiles = format!("--collector.textfile.directory={}", node.path(FOLDER).display());
    let arguments = ["--collector.disable-defaults", "--collector.textfile", &textfiles];
    let mut exporter = Daemon::start(&exporter.join("prometheus-node-exporter"), folder, &arguments)?;
    exporter.wait_for("node_exporter", "/metrics", |body| body.contains("node_textfile_scrape_error 0").then_some(()))?;
    let rules = fs::read_to_string(monitoring("alerts.yml"))?;
    let at_once: Vec<&str> = rules.lines().filter(|line| !line.trim().starts_with("for: ")).collect();
    fs::write(folder.join("alerts.yml"), at_once.join("\n"))?;
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [alerts.yml]\n\
         scrape_configs: [{{job_name: node, static_configs: [{{targets: ['127.0.0.1:{}']}}]}}]\n",
        exporter.port
    );
    fs::write(folder.join("prometheus.yml"), config)?;
    let storage = format!("--storage.tsdb.path={}", folder.join("data").display());
    let prometheus = Daemon::start(&prometheus.join("prometheus"), folder, &["--config.file=prometheus.yml", &storage])?;
    Ok((exporter, prometheus))
}

fn firing(alerts: &str) -> BTreeSet<String> {
    let answer: Value = serde_json::from_str(alerts).unwrap_or_default();
    let alerts = answer["data"]["alerts"].as_array().into_iter().flatten().filter(|alert| alert["state"] == "firing");
    alerts.filter_map(|alert| alert["labels"]["alertname"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_prometheus_that_scrapes_a_node_has_its_figures_raises_its_alerts_and_answers_the_dashboard() -> Result<()> {
    let (node, folder) = (full_node(), tempfile::tempdir()?);
    let (_exporter, mut prometheus) = monitored(&node, folder.path())?;
    let missed = |alerts: &str| firing(alerts).contains("NukeImagesTargetNotReached").then_some(());
    prometheus.wait_for("an alert about the target", "/api/v1/alerts", missed)?;
    for name in written() {
        assert_eq!(prometheus.query(&name)?[0]["metric"]["job"], "node", "{name} was not scraped");
    }
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(monitoring("dashboard.json"))?)?;
    let queries = queries(&dashboard);
    assert!(queries.len() >= 15);
    for (title, query) in queries {
        let answer = prometheus.query(&query).with_context(|| title.clone())?;
        // Nobody's memory step has failed.
        let is_empty = answer.as_array().is_some_and(Vec::is_empty);
        assert!(!is_empty || query.contains("== 0)"), "{title}: {query} gives nothing");
    }

    node.configure("");
    node.behaves_at("containers ls", "exit 1");
    node.run(&CLEAN).exits(1);
    let failed = |alerts: &str| Some(firing(alerts)).filter(|firing| firing.contains("NukeImagesRunFailed"));
    let firing = prometheus.wait_for("an alert about the run", "/api/v1/alerts", failed)?;
    assert!(!firing.contains("NukeImagesNoRun"), "{firing:?}");
    Ok(())
}
