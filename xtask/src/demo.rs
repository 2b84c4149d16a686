// SPDX-License-Identifier: Apache-2.0
//! A real image becomes a running container, start to end.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{setup, sh};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let release = match arguments {
        [] => false,
        [option] if option == "--release" => true,
        _ => bail!("the only option is --release"),
    };
    if !sh::is_root() {
        bail!("a bundle's root file system is mounted; run as root");
    }
    if let Err(error) = setup::packages("demo") {
        println!("doing without: {error:#}");
    }
    let mut build = sh::cargo(["build", "--quiet", "--package", "image-client"]);
    sh::run(if release {
        build.arg("--release")
    } else {
        &mut build
    })?;
    let client = sh::target(if release {
        "release/image-client"
    } else {
        "debug/image-client"
    });

    let demo = sh::target("demo");
    let (store, bundle) = (demo.join("store"), demo.join("bundle"));
    clean(&client, &demo)?;
    fs::create_dir_all(&demo)?;
    let result = show(&client, &store, &bundle);
    let cleaned = clean(&client, &demo);
    result?;
    cleaned?;
    println!("\ndemo: done; nothing is left mounted");
    Ok(())
}

fn show(client: &Path, store: &Path, bundle: &Path) -> Result<()> {
    let busybox = sh::which("busybox").filter(|path| is_static(path));
    let busybox = busybox.map(|path| path.display().to_string()).unwrap_or_default();
    let server = sh::Server::start(["--demo", &busybox])?;
    let reference = format!("{}/demo:latest", server.host);

    title("pull");
    let mut pull = sh::cmd(
        client,
        [
            "pull",
            "--plain-http",
            "--insecure-accept-any-image",
            "--work-dir",
        ],
    );
    say(pull.arg(store).arg(&reference).arg(bundle))?;

    title("the bundle");
    say(sh::cmd("ls", ["-l"]).arg(bundle))?;
    let config = fs::read(bundle.join("config.json")).context("the bundle has no config.json")?;
    let config: serde_json::Value = serde_json::from_slice(&config).context("config.json")?;
    println!("process.args: {}", config["process"]["args"]);
    println!("root: {}", config["root"]);

    title("its root file system");
    say(sh::cmd("find", [bundle.join("rootfs")]).args([
        "-mindepth",
        "1",
        "-printf",
        "%M %U:%G %7s %P %l\n",
    ]))?;
    if bundle.join("rootfs/etc/secret").exists() {
        bail!("a file that a layer removed is there: /etc/secret");
    }

    if busybox.is_empty() || sh::which("crun").is_none() {
        println!("\nnot run: crun or a static busybox is missing");
    } else {
        title("run it");
        let name = format!("image-client-demo-{}", std::process::id());
        say(crun()
            .args(["--cgroup-manager=disabled", "run", "--bundle"])
            .arg(bundle)
            .arg(&name))?;
    }

    title("unmount");
    say(sh::cmd(client, ["umount", "--work-dir"]).arg(store).arg(bundle))
}

/// crun refuses a machine with both versions of control groups; there it gets a view with the second only.
fn crun() -> Command {
    if !Path::new("/sys/fs/cgroup/unified").exists() {
        return sh::cmd("crun", [""; 0]);
    }
    let view =
        "mount --make-private /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$@\"";
    sh::cmd(
        "unshare",
        [
            "--mount",
            "--propagation",
            "unchanged",
            "sh",
            "-c",
            view,
            "sh",
            "crun",
        ],
    )
}

/// Unmounts and removes what a demo left, this one or one that was stopped.
fn clean(client: &Path, demo: &Path) -> Result<()> {
    if demo.join("bundle").exists() && !sh::mounts_below(demo)?.is_empty() {
        sh::succeeds(
            sh::cmd(client, ["umount", "--work-dir"])
                .arg(demo.join("store"))
                .arg(demo.join("bundle")),
        );
    }
    for mount in sh::mounts_below(demo)? {
        sh::run(&mut sh::cmd("umount", [mount]))?;
    }
    if demo.exists() {
        fs::remove_dir_all(demo).with_context(|| format!("cannot remove {}", demo.display()))?;
    }
    Ok(())
}

/// A static program has no interpreter, so that it runs where there is no library.
fn is_static(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| !bytes.windows(8).any(|w| w == b"/ld-linu"))
}

fn title(text: &str) {
    println!("\n== {text}");
}

fn say(command: &mut Command) -> Result<()> {
    println!("$ {}", sh::show(command));
    sh::run(command)
}
