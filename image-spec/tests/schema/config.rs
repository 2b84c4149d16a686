// SPDX-License-Identifier: Apache-2.0
//! Configs and the marker of layouts.

use image_spec::{Error, ErrorKind, ImageConfig, Layout};

use crate::{accepted, fill, refused};

fn config(text: &str) -> Result<(), Error> {
    ImageConfig::parse(fill(text).as_bytes()).map(drop)
}

fn layout(text: &str) -> Result<(), Error> {
    Layout::parse(text.as_bytes()).map(drop)
}

#[test]
fn configs_outside_the_schema_are_refused() {
    use ErrorKind::{Missing, Syntax, Type, Value};
    refused(
        config,
        &[
            (
                r##"{"architecture":"amd64","os":123,"rootfs":{"type":"layers","diff_ids":["#"]}}"##,
                Type,
                "os",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"config":{"User":1234}}"#,
                Type,
                "config.User",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"history":"text"}"#,
                Type,
                "history",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"history":["text"]}"#,
                Type,
                "history[0]",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"config":{"Env":[7353]}}"#,
                Type,
                "config.Env[0]",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"config":{"Volumes":["/a"]}}"#,
                Type,
                "config.Volumes",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"config":{"Volumes":{"/a":1}}}"#,
                Type,
                "config.Volumes./a",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"config":{"Cmd":"sh"}}"#,
                Type,
                "config.Cmd",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"config":{"Entrypoint":"sh"}}"#,
                Type,
                "config.Entrypoint",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"config":{"Labels":{"a":1}}}"#,
                Type,
                "config.Labels.a",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"config":{"ArgsEscaped":"yes"}}"#,
                Type,
                "config.ArgsEscaped",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"config":[]}"#,
                Type,
                "config",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"config":{"Env":["A=b\u0000c"]}}"#,
                Value,
                "config.Env[0]",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"created":"yesterday"}"#,
                Syntax,
                "created",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"history":[{},{"created":1}]}"#,
                Type,
                "history[1].created",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"history":[{"empty_layer":"no"}]}"#,
                Type,
                "history[0].empty_layer",
            ),
            (
                r##"{"os":"linux","architecture":"a","rootfs":{"diff_ids":["#"]}}"##,
                Missing,
                "rootfs.type",
            ),
            (
                r##"{"os":"linux","architecture":"a","rootfs":{"type":"layers+base","diff_ids":["#"]}}"##,
                Value,
                "rootfs.type",
            ),
            (
                r##"{"os":"linux","architecture":"a","rootfs":{"type":"layers","diff_ids":["#","sha256:1"]}}"##,
                Syntax,
                "rootfs.diff_ids[1]",
            ),
            (
                r##"{"os":"linux","architecture":"a","rootfs":{"type":"layers","diff_ids":"#"}}"##,
                Type,
                "rootfs.diff_ids",
            ),
            (r#"{"os":"linux","architecture":"a"}"#, Missing, "rootfs"),
            (
                r#"{"os":"linux","rootfs":{"type":"layers"}}"#,
                Missing,
                "architecture",
            ),
            (
                r#"{"architecture":"amd64","rootfs":{"type":"layers"}}"#,
                Missing,
                "os",
            ),
            (
                r#"{"os":"","architecture":"amd64","rootfs":{"type":"layers"}}"#,
                Value,
                "os",
            ),
            (
                r#"{"os":"linux","architecture":"","rootfs":{"type":"layers"}}"#,
                Value,
                "architecture",
            ),
            ("invalid JSON", Syntax, ""),
            ("[]", Type, ""),
        ],
    );
}

#[test]
fn configs_inside_the_schema_are_accepted() {
    accepted(
        config,
        &[
            r##"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["#"]}}"##,
            r##"{"created":"2015-10-31T22:22:56.015925234Z","author":"Someone <someone@example.com>","architecture":
                "amd64","os":"linux","config":{"User":"1:1","ExposedPorts":{"8080/tcp":{}},"Env":["PATH=/bin","A=b"],
                "Entrypoint":["/bin/sh"],"Cmd":["-c","true"],"Volumes":{"/var/data":{},"/var/log":{}},"WorkingDir":
                "/home/a","Labels":{"a":"b"},"StopSignal":"SIGINT"},"rootfs":{"diff_ids":["#","#"],"type":"layers"},
                "history":[{"created":"2015-10-31T22:22:54Z","created_by":"ADD"},{"created_by":"CMD","empty_layer":true}]}"##,
        ],
    );
}

#[test]
fn layouts_say_one_version() {
    accepted(
        layout,
        &[
            r#"{"imageLayoutVersion":"1.0.0"}"#,
            r#"{"imageLayoutVersion":"1.0.0","x":1}"#,
        ],
    );
    refused(
        layout,
        &[
            ("{}", ErrorKind::Missing, "imageLayoutVersion"),
            (
                r#"{"imageLayoutVersion":1}"#,
                ErrorKind::Type,
                "imageLayoutVersion",
            ),
            (
                r#"{"imagelayoutversion":"1.0.0"}"#,
                ErrorKind::Ambiguous,
                "imagelayoutversion",
            ),
            (
                r#"{"imageLayoutVersion":"2.0.0"}"#,
                ErrorKind::Unsupported("image layout version `2.0.0`".into()),
                "imageLayoutVersion",
            ),
        ],
    );
    assert_eq!(Layout::default().to_vec(), br#"{"imageLayoutVersion":"1.0.0"}"#);
    assert_eq!(
        Layout::parse(&Layout::default().to_vec()).unwrap().version(),
        "1.0.0"
    );
}
