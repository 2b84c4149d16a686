// SPDX-License-Identifier: Apache-2.0
//! The in-process registry as a program, for the demo and for benchmarks:
//!
//! ```text
//! demo-registry [--address IP] [--port N] [--basic|--bearer USER:PASSWORD] [--tls CA_FILE] [--demo BUSYBOX]
//!     [REPOSITORY=LAYOUT]...
//! ```
//!
//! Prints `IP:PORT`, by default of 127.0.0.1, and serves until its input ends. `--demo` serves `demo:latest`, an
//! image written as text; BUSYBOX is a static busybox, or empty to do without. `--tls` writes the
//! certificate of its CA to a file.

use std::io::{Read as _, Write as _};
use std::path::Path;

use fixture::{Entry, Image, Layer, Registry};

type Failure = Box<dyn std::error::Error>;

const BASE: &str = r#"
    d /bin       0755
    d /dev       0755
    d /etc       0755
    d /proc      0555
    d /root      0700
    d /sys       0555
    d /tmp       1777
    f /etc/passwd 0644 "root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000::/home/guest:/bin/sh\n"
    f /etc/group  0644 "root:x:0:\nguest:x:1000:\n"
    f /etc/motd   0644 "This line is replaced by the layer above.\n"
    f /etc/secret 0600 "This file is removed by the layer above.\n"
"#;

const CHANGE: &str = r#"
    f /etc/motd 0644 "Hello from a bundle.\n"
    w /etc/secret
    d /home/guest 0755 1000:1000
    f /home/guest/note 0640 1000:1000 "owned by guest\n" x.user.origin="demo"
    h /home/guest/same-note -> /home/guest/note
"#;

fn main() -> Result<(), Failure> {
    let mut builder = Registry::builder();
    let (mut port, mut ca, mut images) = (0, None, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--address" => builder = builder.address(value()?.parse()?),
            "--port" => port = value()?.parse()?,
            "--basic" | "--bearer" => {
                let value = value()?;
                let (user, password) = value.split_once(':').ok_or("expected USER:PASSWORD")?;
                builder = if argument == "--basic" {
                    builder.basic()
                } else {
                    builder.bearer()
                };
                builder = builder.credential(user, password);
            }
            "--tls" => {
                ca = Some(value()?);
                builder = builder.tls();
            }
            "--demo" => images.push(("demo".to_string(), value()?, true)),
            other => {
                let (name, folder) = other
                    .split_once('=')
                    .ok_or(format!("unknown argument: {other}"))?;
                images.push((name.to_string(), folder.to_string(), false));
            }
        }
    }

    let registry = builder.start_on(port);
    for (name, path, demo) in images {
        match demo {
            true => registry.push(&name, "latest", &demo_image(&path)?),
            false => registry
                .serve_layout(&name, Path::new(&path))
                .map_err(|e| format!("{path}: {e}"))?,
        }
    }
    if let (Some(path), Some(pem)) = (ca, registry.ca_pem()) {
        std::fs::write(path, pem)?;
    }
    writeln!(std::io::stdout(), "{}", registry.host())?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn demo_image(busybox: &str) -> Result<Image, Failure> {
    let mut base = Layer::parse(BASE);
    if !busybox.is_empty() {
        let content = std::fs::read(busybox).map_err(|e| format!("{busybox}: {e}"))?;
        let mut entry = Entry::file("bin/busybox", content);
        entry.mode = 0o755;
        base = base.entry(entry);
        for name in ["sh", "cat", "id", "ls", "uname"] {
            base = base.entry(Entry::new(
                fixture::Kind::Symlink(b"busybox".to_vec()),
                format!("bin/{name}"),
            ));
        }
    }
    let command = "cat /etc/motd; id; ls -l /etc /home/guest; echo written >/root/file && cat /root/file";
    let image = Image::of([base, Layer::parse(CHANGE)])
        .edit_config(move |config| config["config"]["Cmd"] = serde_json::json!(["/bin/sh", "-c", command]));
    Ok(image.build())
}
