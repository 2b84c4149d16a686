// SPDX-License-Identifier: Apache-2.0
//! Configs as builders write them.

use image_spec::{Digest, ImageConfig, Platform, RootFs};

const D: &str = "sha256:5b0bcabd1ed22e9fb1310cf6c2dec7cdef19f0ad69efa1f392e94a4333501270";

fn parse(text: &str) -> ImageConfig {
    ImageConfig::parse(text.replace('#', D).as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn null_and_absence_are_the_same() {
    let bare =
        parse(r##"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["#"]}}"##);
    let rows = [
        r##"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["#"]},"config":{},"history":[]}"##,
        r##"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["#"]},"config":null,"history":null,
            "created":null,"author":null,"variant":null,"os.version":null,"os.features":null}"##,
        r##"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["#"]},"config":{"User":null,
            "Entrypoint":null,"Cmd":null,"Env":null,"Labels":null,"Volumes":null,"ExposedPorts":null,"WorkingDir":null,
            "StopSignal":null,"ArgsEscaped":null}}"##,
        r##"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["#"]},"config":{"User":"",
            "Entrypoint":[],"Cmd":[],"Env":[],"Labels":{},"Volumes":{},"ExposedPorts":{},"WorkingDir":"","StopSignal":""}}"##,
    ];
    for text in rows {
        assert_eq!(parse(text), bare, "{text}");
    }
    let empty = [
        r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers"}}"#,
        r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":null}}"#,
        r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#,
    ];
    for text in empty {
        assert!(parse(text).rootfs.diff_ids.is_empty());
    }
}

#[test]
fn what_docker_adds_is_kept() {
    let text = r##"{
        "architecture":"arm64","variant":"v8","os":"linux","created":"2024-01-02T03:04:05.6Z","author":"",
        "container":"0123","container_config":{"Hostname":"h","Cmd":["/bin/sh","-c","#(nop) "],"Labels":{}},
        "docker_version":"20.10.23","moby.buildkit.buildinfo.v1":"e30=",
        "config":{"Hostname":"","Domainname":"","User":"app","AttachStdin":false,"Tty":false,
            "ExposedPorts":{"80/tcp":{},"53/udp":{}},"Env":["PATH=/bin","EMPTY=","NOEQUALS"],"Cmd":["/run"],
            "Healthcheck":{"Test":["CMD","true"],"Interval":30000000000},"ArgsEscaped":true,"Image":"sha256:1",
            "Volumes":{"/data":{}},"WorkingDir":"/app","Entrypoint":["/entry","-x"],"OnBuild":["RUN x"],
            "Labels":{"a":"b"},"StopSignal":"SIGQUIT","Shell":["/bin/bash","-c"],"Memory":0,"CpuShares":8},
        "history":[{"created":"2024-01-02T03:04:05Z","created_by":"ADD","comment":"c","author":"a"},
            {"created_by":"CMD","empty_layer":true},{"created_by":"COPY","empty_layer":false,"x":1}],
        "rootfs":{"type":"layers","diff_ids":["#","#"],"base_layer":"b"}}"##;
    let text = text.replace("#(nop)", "nop");
    let config = parse(&text);
    assert_eq!(config.platform().to_string(), "linux/arm64/v8");
    assert_eq!(config.config.user, "app");
    assert_eq!(config.config.entrypoint, ["/entry", "-x"]);
    assert_eq!(config.config.cmd, ["/run"]);
    assert_eq!(config.config.env, ["PATH=/bin", "EMPTY=", "NOEQUALS"]);
    assert_eq!(config.config.working_dir, "/app");
    assert_eq!(config.config.stop_signal.as_deref(), Some("SIGQUIT"));
    assert_eq!(config.config.labels["a"], "b");
    assert!(config.config.volumes.contains("/data") && config.config.args_escaped);
    assert_eq!(config.config.exposed_ports.len(), 2);
    assert_eq!(config.rootfs.diff_ids, vec![D.parse::<Digest>().unwrap(); 2]);
    assert!(config.history[1].empty_layer);

    let mut wanted: serde_json::Value = serde_json::from_str(&text.replace('#', D)).unwrap();
    wanted["history"][2]
        .as_object_mut()
        .unwrap()
        .remove("empty_layer");
    let written: serde_json::Value = serde_json::from_slice(&config.to_vec()).unwrap();
    assert_eq!(written, wanted);
    assert_eq!(ImageConfig::parse(&config.to_vec()).unwrap(), config);
}

#[test]
fn a_new_config_can_be_read_back() {
    let platform: Platform = "linux/arm/v6".parse().unwrap();
    let config = ImageConfig::new(&platform, vec![Digest::sha256(b"a")]);
    assert_eq!(config.platform(), platform);
    assert_eq!(ImageConfig::parse(&config.to_vec()).unwrap(), config);
}

#[test]
fn chain_id_is_that_of_the_specification() {
    let layer = |text: &str| Digest::sha256(text.as_bytes());
    let [a, b, c] = ["a", "b", "c"].map(layer);
    let chain = |ids: &[Digest]| RootFs::new(ids.to_vec()).chain_id();
    assert_eq!(chain(&[]), None);
    assert_eq!(chain(&[a]), Some(a));
    let two = layer(&format!("{a} {b}"));
    assert_eq!(chain(&[a, b]), Some(two));
    assert_eq!(chain(&[a, b, c]), Some(layer(&format!("{two} {c}"))));
    assert_ne!(chain(&[b, a]), chain(&[a, b]));
    // As `sha256sum` gives it.
    let want = "sha256:51c0c8ace48498d6f5fee6b0592cc06f2da0f3cbe09c5a34a97dce85c3889676";
    assert_eq!(chain(&[a, b]).unwrap().to_string(), want);
}
