// SPDX-License-Identifier: Apache-2.0
//! The runtime config of a bundle.

use image_spec::{
    ErrorKind,
    runtime::{
        Capabilities, DeviceRule, Linux, Mount, Namespace, NamespaceKind, Process, Resources, Rlimit, Root,
        Spec, User,
    },
};

fn spec() -> Spec {
    let mut process = Process::new(vec!["/bin/sh".into()], "/");
    process.user = User {
        uid: 1,
        gid: 2,
        umask: Some(0o22),
        additional_gids: vec![3],
        ..User::default()
    };
    process.env.push("A=b".into());
    process.capabilities = Some(Capabilities {
        bounding: vec!["CAP_KILL".into()],
        ..Capabilities::default()
    });
    process.rlimits.push(Rlimit {
        kind: "RLIMIT_NOFILE".into(),
        hard: u64::MAX,
        soft: 1024,
    });
    process.no_new_privileges = true;
    let mut spec = Spec::new();
    spec.process = Some(process);
    spec.root = Some(Root::new("rootfs"));
    spec.hostname = Some("box".into());
    spec.mounts
        .push(Mount::new("/proc", "proc", "proc", &["nosuid", "noexec"]));
    let rule = DeviceRule {
        allow: false,
        access: Some("rwm".into()),
        ..DeviceRule::default()
    };
    spec.linux = Some(Linux {
        namespaces: vec![
            Namespace::new(NamespaceKind::Pid),
            Namespace::new(NamespaceKind::Mount),
        ],
        resources: Some(Resources {
            devices: vec![rule],
            ..Resources::default()
        }),
        masked_paths: vec!["/proc/kcore".into()],
        readonly_paths: vec!["/proc/sys".into()],
        ..Linux::default()
    });
    spec.annotations.insert("a".into(), "b".into());
    spec
}

#[test]
fn it_is_written_in_the_names_of_the_specification() {
    let wanted = serde_json::json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3]},
            "args": ["/bin/sh"], "env": ["A=b"], "cwd": "/",
            "capabilities": {"bounding": ["CAP_KILL"]},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": u64::MAX, "soft": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs"},
        "hostname": "box",
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec"]}],
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "mount"}],
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"]
        },
        "annotations": {"a": "b"}
    });
    let written: serde_json::Value = serde_json::from_slice(&spec().to_vec()).unwrap();
    assert_eq!(written, wanted);
    assert_eq!(Spec::parse(&spec().to_vec()).unwrap(), spec());
}

#[test]
fn other_fields_come_back() {
    let text = r#"{"ociVersion":"1.2.0","hooks":{"prestart":[]},"domainname":"d","root":{"path":"r","x":1},
        "process":{"cwd":"/","user":{"uid":0,"gid":0,"username":"u"},"apparmorProfile":"p","oomScoreAdj":-5},
        "mounts":[{"destination":"/a","uidMappings":[]}],
        "linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW"},"uidMappings":[{"containerID":0,"hostID":1,"size":2}],
        "devices":[{"type":"c","path":"/dev/null","major":1,"minor":3,"fileMode":438,"uid":0,"gid":0}],
        "resources":{"memory":{"limit":-1}},"sysctl":{"a":"b"},"cgroupsPath":"/c"}}"#;
    let written: serde_json::Value =
        serde_json::from_slice(&Spec::parse(text.as_bytes()).unwrap().to_vec()).unwrap();
    assert_eq!(written, serde_json::from_str::<serde_json::Value>(text).unwrap());
}

#[test]
fn faults_are_refused() {
    let rows = [
        (r#"{}"#, ErrorKind::Type),
        (
            r#"{"ociVersion":"1.0.2","ociVersion":"1.0.2"}"#,
            ErrorKind::Ambiguous,
        ),
        (
            r#"{"ociVersion":"1.0.2","process":{"args":["a"]}}"#,
            ErrorKind::Type,
        ),
        (
            r#"{"ociVersion":"1.0.2","process":{"cwd":"/","user":{"uid":4294967296}}}"#,
            ErrorKind::Type,
        ),
        (
            r#"{"ociVersion":"1.0.2","process":{"cwd":"/","user":{"gid":-1}}}"#,
            ErrorKind::Type,
        ),
        (
            r#"{"ociVersion":"1.0.2","linux":{"namespaces":[{"type":"moon"}]}}"#,
            ErrorKind::Type,
        ),
        (r#"{"ociVersion":"1.0.2"} x"#, ErrorKind::Syntax),
    ];
    for (text, kind) in rows {
        assert_eq!(*Spec::parse(text.as_bytes()).unwrap_err().kind(), kind, "{text}");
    }
}
