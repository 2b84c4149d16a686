// SPDX-License-Identifier: Apache-2.0
//! What a bundle has whatever its image says.
use image_spec::runtime::{
    Capabilities, DeviceRule, Linux, Mount, Namespace, NamespaceKind, Resources, Root, Spec,
};

pub(super) const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const HOSTNAME: &str = "container";

const NAMESPACES: [NamespaceKind; 6] = [
    NamespaceKind::Pid,
    NamespaceKind::Network,
    NamespaceKind::Ipc,
    NamespaceKind::Uts,
    NamespaceKind::Mount,
    NamespaceKind::Cgroup,
];

/// What Docker, containerd and Podman all grant. Docker's three more make device nodes, raw packets
/// and audit records, which a container in a guest has no need of.
const CAPABILITIES: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Hidden, since they tell about the host or the other containers.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Readable, since programs need them, but not to be changed from inside.
const READONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// A spec without process and annotations, for the root filesystem at `root`.
pub(super) fn spec(root: String) -> Spec {
    let mut spec = Spec::new();
    spec.root = Some(Root::new(root));
    spec.hostname = Some(HOSTNAME.to_owned());
    spec.mounts = mounts();
    spec.linux = Some(Linux {
        namespaces: NAMESPACES.into_iter().map(Namespace::new).collect(),
        masked_paths: owned(&MASKED),
        readonly_paths: owned(&READONLY),
        // Runtimes add the devices that every container has, such as /dev/null.
        resources: Some(Resources {
            devices: vec![DeviceRule {
                allow: false,
                access: Some("rwm".to_owned()),
                ..DeviceRule::default()
            }],
            ..Resources::default()
        }),
        ..Linux::default()
    });
    spec
}

/// None is inheritable or ambient: a program gets no more than its file grants (CVE-2022-24769).
pub(super) fn capabilities() -> Capabilities {
    let granted = owned(&CAPABILITIES);
    Capabilities {
        bounding: granted.clone(),
        effective: granted.clone(),
        permitted: granted,
        ..Capabilities::default()
    }
}

fn mounts() -> Vec<Mount> {
    let safe = ["nosuid", "noexec", "nodev"];
    let with = |more: &[&'static str]| [&safe[..], more].concat();
    vec![
        Mount::new("/proc", "proc", "proc", &safe),
        Mount::new(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        Mount::new(
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        Mount::new("/dev/shm", "tmpfs", "shm", &with(&["mode=1777", "size=65536k"])),
        Mount::new("/dev/mqueue", "mqueue", "mqueue", &safe),
        Mount::new("/sys", "sysfs", "sysfs", &with(&["ro"])),
        Mount::new("/sys/fs/cgroup", "cgroup", "cgroup", &with(&["relatime", "ro"])),
    ]
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
