//! A name server and a broker, served on loopback.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// What every broker is given: small files, and a name.
const SETTINGS: &str = "brokerIP1=127.0.0.1\nbrokerName=broker-a\n\
                        mappedFileSizeCommitLog=1048576\nmaxHashSlotNum=1000\nmaxIndexNum=4000\n";

/// A served name server and broker.
pub struct Site {
    child: Child,
    pub namesrv: String,
    pub broker: String,
    folder: TempDir,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

pub fn admin(args: &[&str]) -> Done {
    let output = Command::new(env!("CARGO_BIN_EXE_hotfire"))
        .arg("admin")
        .args(args)
        .env_remove("NAMESRV_ADDR")
        .output()
        .unwrap();
    Done {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The arguments of a command line that quotes nothing.
pub fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// Columns two spaces apart: how wide they are depends on ports.
fn squeezed(text: &str) -> String {
    let mut squeezed = text.to_owned();
    while squeezed.contains("   ") {
        squeezed = squeezed.replace("   ", "  ");
    }
    squeezed
}

impl Site {
    pub fn start() -> Self {
        Self::start_with("", &[])
    }

    /// A site with more settings, and files in its folder.
    pub fn start_with(settings: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("broker.conf");
        let settings = format!("{SETTINGS}{settings}");
        std::fs::write(&config, settings).unwrap();
        for (path, content) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let (namesrv, broker) = (free_port().to_string(), free_port().to_string());
        let mut child = Command::new(env!("CARGO_BIN_EXE_hotfire"))
            .current_dir(folder.path())
            .args(["serve", "--log", "error", "--config", "broker.conf"])
            .args(["--namesrv-port", &namesrv, "--broker-port", &broker])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok);
        assert!(lines.any(|line| line.starts_with("broker ready on ")));
        Self {
            child,
            namesrv: format!("127.0.0.1:{namesrv}"),
            broker: format!("127.0.0.1:{broker}"),
            folder,
        }
    }

    /// The full path of a file in its folder.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Runs a command that is given this name server.
    pub fn run(&self, args: &[&str]) -> Done {
        admin(&[args, &["-n", &self.namesrv]].concat())
    }

    /// Runs a command that must be refused; what standard error says.
    pub fn refused(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert_eq!((done.code, done.stdout.as_str()), (1, ""), "{args:?}");
        let text = done.stderr.replace(&self.broker, "BROKER");
        text.replace(&self.namesrv, "NAMESRV")
    }

    /// Runs a command that must succeed; the port of the broker differs from run to run.
    pub fn text(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert_eq!(done.code, 0, "{args:?}: {}", done.stderr);
        squeezed(&done.stdout.replace(&self.broker, "BROKER"))
    }

    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.text(&[args, &["--json"]].concat())).unwrap()
    }

    /// A topic with two queues and three messages in the first.
    pub fn with_orders() -> Self {
        let site = Self::start();
        site.text(&[
            "updateTopic",
            "-t",
            "orders",
            "-c",
            "DefaultCluster",
            "-r",
            "2",
            "-w",
            "2",
        ]);
        for (key, tag) in [("k1", "TagA"), ("k2", "TagB"), ("k3", "TagA")] {
            let body = format!("body of {key}");
            site.text(&[
                "sendMessage",
                "-t",
                "orders",
                "-p",
                &body,
                "-k",
                key,
                "-c",
                tag,
                "-b",
                "broker-a",
                "-i",
                "0",
            ]);
        }
        site
    }
}
