// SPDX-License-Identifier: Apache-2.0
//! Fields that go from the image's config to the runtime's (image-spec, conversion.md).
use std::collections::BTreeMap;

use image_spec::ImageConfig;
use image_spec::runtime::Process;

use super::{Options, defaults};
use crate::{Error, ErrorKind};

/// The only system that this crate makes bundles for.
const SYSTEM: &str = "linux";

/// Annotations by which runtimes and engines take orders. A label of such a name would let an image
/// choose hooks, handlers, unit properties, machine settings or its place in a pod.
const ORDERS: [&str; 14] = [
    "cdi.k8s.io/",
    "com.github.containers.virtcontainers.",
    "dev.gvisor.",
    "io.containerd.",
    "io.container.manager",
    "io.cri-o.",
    "io.crun.",
    "io.katacontainers.",
    "io.kubernetes.",
    "io.podman.",
    "module.wasm.image/",
    "org.criu.",
    "org.systemd.property.",
    "run.oci.",
];

/// The process, still without its user.
pub(super) fn process(config: &ImageConfig, options: &Options) -> Result<Process, Error> {
    if config.os != SYSTEM {
        let what = format!(
            "bundles are for {SYSTEM}, this image is for: `{}`",
            config.os.escape_default()
        );
        return Err(Error::new(ErrorKind::Unsupported, what));
    }
    let run = &config.config;
    let args = match &options.command {
        Some(command) => command.clone(),
        None => [run.entrypoint.as_slice(), &run.cmd].concat(),
    };
    if args.is_empty() && options.command.is_none() {
        return Err(Error::new(
            ErrorKind::NoCommand,
            "image has no command: neither Entrypoint nor Cmd",
        ));
    }
    let mut env = run.env.clone();
    if !env.iter().any(|entry| entry.starts_with("PATH=")) {
        env.push(defaults::PATH.to_owned());
    }
    args.iter().try_for_each(|arg| no_zero("argument", arg))?;
    env.iter()
        .try_for_each(|entry| no_zero("environment entry", entry))?;
    let mut process = Process::new(args, directory(&run.working_dir)?);
    process.env = env;
    process.capabilities = Some(defaults::capabilities());
    process.no_new_privileges = true;
    Ok(process)
}

fn directory(text: &str) -> Result<&str, Error> {
    if text.is_empty() {
        return Ok("/");
    }
    no_zero("working directory", text)?;
    if !text.starts_with('/') || text.split('/').any(|part| part == "..") {
        let what = format!(
            "working directory is not absolute or has `..`: `{}`",
            text.escape_default()
        );
        return Err(Error::new(ErrorKind::Config, what));
    }
    Ok(text)
}

/// Annotations derived from the config, and the labels, which win.
pub(super) fn annotations(config: &ImageConfig) -> Result<BTreeMap<String, String>, Error> {
    let run = &config.config;
    let list = |items: Vec<&str>| (!items.is_empty()).then(|| items.join(","));
    let derived = [
        ("os", Some(config.os.clone())),
        ("architecture", Some(config.architecture.clone())),
        ("variant", config.variant.clone()),
        ("os.version", config.os_version.clone()),
        (
            "os.features",
            list(config.os_features.iter().map(String::as_str).collect()),
        ),
        ("author", config.author.clone()),
        ("created", config.created.clone()),
        ("stopSignal", run.stop_signal.clone()),
        (
            "exposedPorts",
            list(run.exposed_ports.iter().map(String::as_str).collect()),
        ),
    ];
    let mut annotations = derived
        .into_iter()
        .filter_map(|(name, value)| Some((format!("org.opencontainers.image.{name}"), value?)))
        .collect::<BTreeMap<_, _>>();
    for (name, value) in &run.labels {
        if ORDERS.iter().any(|prefix| name.starts_with(prefix)) {
            tracing::warn!(
                "label would instruct the runtime and is left out: `{}`",
                name.escape_default()
            );
            continue;
        }
        // The runtime-spec wants a key; Docker lets an image have an empty one.
        if !name.is_empty() {
            annotations.insert(name.clone(), value.clone());
        }
    }
    for (name, value) in &annotations {
        no_zero("annotation", name)?;
        no_zero("annotation", value)?;
    }
    Ok(annotations)
}

/// No system call takes a zero byte: what follows it would silently be lost.
fn no_zero(what: &str, text: &str) -> Result<(), Error> {
    if text.contains('\0') {
        let what = format!("{what} has a zero byte: `{}`", text.escape_default());
        return Err(Error::new(ErrorKind::Config, what));
    }
    Ok(())
}
