// SPDX-License-Identifier: Apache-2.0
//! A real registry: Debian's docker-registry, on loopback, with all its state in a temporary folder.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;

use crate::place::{has_tool, tool};

pub const USER: &str = "lab";
pub const PASSWORD: &str = "lab-secret";

#[derive(Clone, Copy, Default)]
pub struct Options {
    pub auth: bool,
    pub tls: bool,
}

pub struct Server {
    dir: TempDir,
    child: Child,
    port: u16,
    options: Options,
}

impl Server {
    pub fn start(test: &str, options: Options) -> Option<Server> {
        if !has_tool(test, "docker-registry") || !has_tool(test, "skopeo") {
            return None;
        }
        if options.auth && !has_tool(test, "htpasswd") {
            return None;
        }
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path();
        // Nobody else takes the port between: tests ask the kernel for another each time.
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .expect("a free port")
            .port();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            path.join("storage").display()
        );
        if options.tls {
            certificates(path);
            config += &format!(
                "  tls: {{certificate: {0}/tls.crt, key: {0}/tls.key}}\n",
                path.display()
            );
        }
        if options.auth {
            let users = tool(Command::new("htpasswd").args(["-Bbn", USER, PASSWORD]));
            std::fs::write(path.join("users"), users).expect("users");
            config += &format!(
                "auth: {{htpasswd: {{realm: lab, path: {}/users}}}}\n",
                path.display()
            );
        }
        std::fs::write(path.join("config.yml"), config).expect("config");
        let log = std::fs::File::create(path.join("log")).expect("log");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(path.join("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("start docker-registry");
        let server = Server {
            dir,
            child,
            port,
            options,
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "docker-registry does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }

    pub fn image(&self, name: &str) -> String {
        format!("localhost:{}/{name}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca/ca.crt")
    }

    /// Pushes with skopeo, digests as they are: `source` is a skopeo source.
    pub fn push(&self, source: &str, name: &str) {
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "copy", "-q", "--all", "--preserve-digests"]);
        match self.options.tls {
            true => command.arg("--dest-cert-dir").arg(self.dir.path().join("ca")),
            false => command.arg("--dest-tls-verify=false"),
        };
        if self.options.auth {
            command.args(["--dest-creds", &format!("{USER}:{PASSWORD}")]);
        }
        tool(command.arg(source).arg(format!("docker://{}", self.image(name))));
    }

    pub fn push_layout(&self, folder: &Path, name: &str) {
        self.push(&format!("oci:{}:latest", folder.display()), name);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn certificates(path: &Path) {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().expect("a key")).expect("a CA");
    let key = KeyPair::generate().expect("a key");
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let leaf = CertificateParams::new(names)
        .expect("names")
        .signed_by(&key, &ca)
        .expect("a certificate");
    std::fs::create_dir(path.join("ca")).expect("ca");
    std::fs::write(path.join("ca/ca.crt"), ca.pem()).expect("ca.crt");
    std::fs::write(path.join("tls.crt"), leaf.pem()).expect("tls.crt");
    std::fs::write(path.join("tls.key"), key.serialize_pem()).expect("tls.key");
}
