// SPDX-License-Identifier: Apache-2.0
//! Ways to a registry: nginx in front of it, tinyproxy on the way, another registry as its mirror.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fixture::{is_root, lab_image};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;

use crate::place::{Place, Run, has_tool};
use crate::server::{Options, Server};

/// A daemon with its folder, on a port of its own.
struct Daemon {
    dir: TempDir,
    child: Child,
    port: u16,
}

impl Daemon {
    /// Starts what `command` makes of a folder and a port.
    fn start(name: &str, command: impl Fn(&Path, u16) -> Command) -> Daemon {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let log = fs::File::create(dir.path().join("stderr")).expect("log");
        let mut command = command(dir.path(), port);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("start a daemon");
        let daemon = Daemon { dir, child, port };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                Instant::now() < deadline,
                "{name} does not listen: {}",
                daemon.text("stderr")
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        daemon
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// nginx with TLS before a registry; it lets nobody in without a certificate of its own authority.
fn nginx(registry: u16) -> Daemon {
    Daemon::start("nginx", |dir, port| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        // OpenSSL takes a certificate with its issuer's name for one that signed itself.
        params
            .distinguished_name
            .push(DnType::CommonName, "the lab's authority");
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA");
        let certs = dir.join("certs");
        fs::create_dir(&certs).expect("certs");
        fs::write(certs.join("ca.crt"), ca.pem()).expect("ca.crt");
        for (name, cert, key) in [
            ("server", "server.pem", "server.pem.key"),
            ("client", "client.cert", "client.key"),
        ] {
            let pair = KeyPair::generate().expect("a key");
            let names = [name, "localhost", "127.0.0.1", "0.0.0.0"].map(str::to_owned);
            let mut leaf = CertificateParams::new(names).expect("names");
            leaf.distinguished_name.push(DnType::CommonName, name);
            let leaf = leaf.signed_by(&pair, &ca).expect("a certificate");
            let folder = if name == "client" { &certs } else { dir };
            fs::write(folder.join(cert), leaf.pem()).expect("a certificate's file");
            fs::write(folder.join(key), pair.serialize_pem()).expect("a key's file");
        }
        let shown = dir.display();
        let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("{kind}_temp_path {shown}/{kind};\n"))
            .collect();
        let config = format!(
            "daemon off; master_process off; pid {shown}/pid; error_log {shown}/error;\n\
             events {{}}\n\
             http {{ access_log {shown}/access;\n{temp}\
             server {{ listen 0.0.0.0:{port} ssl http2;\n\
             ssl_certificate {shown}/server.pem; ssl_certificate_key {shown}/server.pem.key;\n\
             ssl_client_certificate {shown}/certs/ca.crt; ssl_verify_client on;\n\
             location / {{ proxy_pass http://127.0.0.1:{registry}; proxy_set_header Host $http_host;\n\
             proxy_set_header X-Forwarded-Proto https; }} }} }}\n"
        );
        fs::write(dir.join("nginx.conf"), config).expect("nginx.conf");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(dir).arg("-c").arg(dir.join("nginx.conf"));
        command
    })
}

/// tinyproxy, for who knows the password.
fn tinyproxy(tunnels: u16) -> Daemon {
    Daemon::start("tinyproxy", |dir, port| {
        let config = format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\nAllow 127.0.0.1\n\
             LogFile \"{}/log\"\nLogLevel Connect\nBasicAuth lab swordfish\nConnectPort {tunnels}\n",
            dir.display()
        );
        fs::write(dir.join("tinyproxy.conf"), config).expect("tinyproxy.conf");
        let mut command = Command::new("tinyproxy");
        command.arg("-d").arg("-c").arg(dir.join("tinyproxy.conf"));
        command
    })
}

/// A registry with an image, and that image's name in it.
fn served(test: &str) -> Option<(Server, &'static str)> {
    if !is_root(test) {
        return None;
    }
    let server = Server::start(test, Options::default())?;
    server.push_layout(&lab_image(test, "tiny/gzip")?, "team/tiny");
    Some((server, "team/tiny:latest"))
}

fn unpack(place: &Place, options: &[&str], environment: &[(&str, &str)], image: &str) -> Run {
    let mut command = place.command("unpack");
    for variable in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(variable).env_remove(variable.to_lowercase());
    }
    command.envs(environment.iter().copied());
    let flat = place.path("flat");
    let run = Run::of(command.args(options).arg(image).arg(&flat));
    let _ = fs::remove_dir_all(flat);
    run
}

#[test]
fn nginx_lets_in_who_shows_a_certificate() {
    let test = "nginx_lets_in_who_shows_a_certificate";
    let Some((server, name)) = has_tool(test, "nginx").then(|| served(test)).flatten() else {
        return;
    };
    let nginx = nginx(server.port());
    let host = format!("127.0.0.1:{}", nginx.port);
    let image = format!("{host}/{name}");
    let place = Place::new();
    let certs = nginx.path("certs");
    let certs = certs.to_str().expect("a path");
    unpack(&place, &["--cert-dir", certs], &[], &image).ok();
    // As containerd and docker keep them.
    let hosts = place.path("hosts");
    fs::create_dir(&hosts).expect("hosts");
    std::os::unix::fs::symlink(certs, hosts.join(&host)).expect("a link");
    let hosts = hosts.to_str().expect("a path");
    unpack(&place, &["--hosts-dir", hosts], &[], &image).ok();
    assert!(
        nginx.text("access").contains("HTTP/2.0"),
        "{}",
        nginx.text("access")
    );
    // Its authority alone is not enough.
    let authority = nginx.path("certs/ca.crt");
    let alone = ["--ca-cert", authority.to_str().expect("a path")];
    unpack(&place, &alone, &[], &image).fails(&["400"]);
    unpack(&place, &[], &[], &image).fails(&["no TLS session"]);
}

#[test]
fn a_name_is_mirrored_behind_nginx() {
    let test = "a_name_is_mirrored_behind_nginx";
    let Some((server, name)) = has_tool(test, "nginx").then(|| served(test)).flatten() else {
        return;
    };
    let nginx = nginx(server.port());
    let place = Place::new();
    let hosts = place.path("hosts/registry.invalid");
    fs::create_dir_all(&hosts).expect("hosts");
    let certs = nginx.path("certs");
    let config = format!(
        "[host.\"http://127.0.0.1:{}\"]\n[host.\"https://127.0.0.1:{}\"]\nca = \"{2}/ca.crt\"\n\
         client = [[\"{2}/client.cert\", \"{2}/client.key\"]]\n",
        free_port(),
        nginx.port,
        certs.display()
    );
    fs::write(hosts.join("hosts.toml"), config).expect("hosts.toml");
    let folder = place.path("hosts");
    let options = ["--hosts-dir", folder.to_str().expect("a path")];
    unpack(&place, &options, &[], &format!("registry.invalid/{name}")).ok();
    assert!(
        nginx.text("access").contains("?ns=registry.invalid"),
        "{}",
        nginx.text("access")
    );
}

#[test]
fn tinyproxy_forwards_and_tunnels_for_who_knows_the_password() {
    let test = "tinyproxy_forwards_and_tunnels_for_who_knows_the_password";
    if !has_tool(test, "tinyproxy") || !has_tool(test, "nginx") {
        return;
    }
    let Some((server, name)) = served(test) else {
        return;
    };
    let nginx = nginx(server.port());
    let proxy = tinyproxy(nginx.port);
    let place = Place::new();
    let good = format!("http://lab:swordfish@127.0.0.1:{}", proxy.port);
    let bad = format!("http://lab:wrong@127.0.0.1:{}", proxy.port);
    // The same machine, but no loopback address, which no proxy would be asked for.
    let plain = format!("0.0.0.0:{}/{name}", server.port());
    let tls = format!("0.0.0.0:{}/{name}", nginx.port);
    let certs = nginx.path("certs");
    let certs = certs.to_str().expect("a path");

    unpack(&place, &["--plain-http", "--proxy", &good], &[], &plain).ok();
    assert!(
        proxy
            .text("log")
            .contains(&format!("GET http://0.0.0.0:{}", server.port())),
        "{}",
        proxy.text("log")
    );
    unpack(&place, &["--cert-dir", certs], &[("HTTPS_PROXY", &good)], &tls).ok();
    let tunnel = format!("CONNECT 0.0.0.0:{}", nginx.port);
    assert!(proxy.text("log").contains(&tunnel), "{}", proxy.text("log"));
    let nobody = format!("http://127.0.0.1:{}", proxy.port);
    let words = ["the proxy `http://127.0.0.1:", "407", "hint: the proxy wants"];
    unpack(&place, &["--plain-http", "--proxy", &nobody], &[], &plain).fails(&words);
    unpack(&place, &["--cert-dir", certs, "--proxy", &nobody], &[], &tls).fails(&words);
    // To a wrong password it answers 401.
    let run = unpack(&place, &["--cert-dir", certs, "--proxy", &bad], &[], &tls);
    let run = run.fails(&["the proxy `http://127.0.0.1:", "hint: the proxy refuses"]);
    assert!(!run.stderr.contains("wrong"), "{}", run.stderr);
    // It tunnels to one port only.
    let other = format!("0.0.0.0:{}/{name}", free_port());
    unpack(&place, &["--proxy", &good], &[], &other).fails(&["answered 403"]);
    let before = proxy.text("log").len();
    let direct = [
        ("HTTPS_PROXY", good.as_str()),
        ("NO_PROXY", "10.0.0.0/8,0.0.0.0/8"),
    ];
    unpack(&place, &["--cert-dir", certs], &direct, &tls).ok();
    assert_eq!(proxy.text("log").len(), before);
}

#[test]
fn a_pull_through_registry_is_a_mirror_until_it_dies() {
    let test = "a_pull_through_registry_is_a_mirror_until_it_dies";
    let Some((server, name)) = served(test) else {
        return;
    };
    let cache = Daemon::start("docker-registry", |dir, port| {
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}/storage}}}}\n\
             http: {{addr: 127.0.0.1:{port}}}\nproxy: {{remoteurl: http://127.0.0.1:{}}}\n",
            dir.display(),
            server.port()
        );
        fs::write(dir.join("config.yml"), config).expect("config.yml");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(dir.join("config.yml"));
        command
    });
    let place = Place::new();
    let conf = place.path("registries.conf");
    let text = format!(
        "[[registry]]\nprefix = \"registry.example\"\nlocation = \"127.0.0.1:{}\"\ninsecure = true\n\
         [[registry.mirror]]\nlocation = \"127.0.0.1:{}\"\ninsecure = true\n",
        server.port(),
        cache.port
    );
    fs::write(&conf, text).expect("registries.conf");
    let options = [
        "--obey-insecure",
        "--registries-conf",
        conf.to_str().expect("a path"),
    ];
    let image = format!("registry.example/{name}");
    unpack(&place, &options, &[], &image).ok();
    assert!(
        cache.path("storage/docker/registry/v2/blobs").exists(),
        "nothing came through the cache"
    );
    drop(cache);
    unpack(&place, &options, &[], &image).ok();
    // podman's family reads the file in the same way.
    if has_tool(test, "skopeo") {
        let mut skopeo = Command::new("skopeo");
        skopeo.args([
            "--registries-conf",
            conf.to_str().expect("a path"),
            "inspect",
            "--raw",
        ]);
        let seen = crate::place::tool(skopeo.arg(format!("docker://{image}")));
        assert!(seen.contains("sha256:"), "{seen}");
    }
}
