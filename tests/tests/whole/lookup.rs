// SPDX-License-Identifier: Apache-2.0
//! What a real registry has, as it says it to us and to others.

use std::process::Command;

use fixture::lab_image;

use crate::place::{Place, Run, has_tool, tool};
use crate::server::{Options, Server};

#[test]
fn lists_documents_and_blobs_of_a_registry_are_what_it_has() {
    let test = "lists_documents_and_blobs_of_a_registry_are_what_it_has";
    if !has_tool(test, "skopeo") {
        return;
    }
    let Some(server) = Server::start(test, Options::default()) else {
        return;
    };
    let (Some(one), Some(multi)) = (lab_image(test, "tiny/gzip"), lab_image(test, "tiny/multi")) else {
        return;
    };
    for tag in ["a", "b", "c", "d", "e"] {
        server.push_layout(&one, &format!("demo:{tag}"));
    }
    server.push_layout(&multi, "multi:latest");
    let place = Place::new();
    let ask = |verb: &str, options: &[&str], image: &str, more: &[&str]| {
        let mut command = place.command(verb);
        command
            .arg("--plain-http")
            .args(options)
            .arg(server.image(image))
            .args(more);
        Run::of(&mut command)
    };
    assert_eq!(ask("tags", &[], "demo", &[]).ok().stdout, "a\nb\nc\nd\ne\n");
    // Two pages of two, of which the second is not needed whole.
    assert_eq!(ask("tags", &["-n", "3"], "demo", &[]).ok().stdout, "a\nb\nc\n");
    assert_eq!(
        ask("tags", &["-n", "2", "--last", "b"], "demo", &[]).ok().stdout,
        "c\nd\n"
    );
    assert_eq!(ask("tags", &["--last", "e"], "demo", &[]).ok().stdout, "");
    ask("tags", &[], "absent", &[]).fails(&["absent"]);

    for name in ["demo:a", "multi:latest"] {
        let image = format!("docker://{}", server.image(name));
        let raw = tool(Command::new("skopeo").args(["inspect", "--tls-verify=false", "--raw", &image]));
        assert_eq!(ask("manifest", &[], name, &[]).ok().stdout, raw, "{name}");
    }
    let own = ask("manifest", &["--platform", "linux/arm64"], "multi", &[])
        .ok()
        .stdout;
    assert!(own.contains("\"layers\""), "{own}");

    let manifest = ask("manifest", &[], "demo:a", &[]).ok().stdout;
    let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("JSON");
    let digest = manifest["layers"][0]["digest"].as_str().expect("a digest");
    let file = place.path("blob");
    ask("blob", &["-o", file.to_str().expect("a path")], "demo", &[digest]).ok();
    let kept = one.join("blobs").join(digest.replace(':', "/"));
    assert_eq!(
        std::fs::read(file).expect("the blob"),
        std::fs::read(kept).expect("the layer")
    );
    // It has no place of its own for what refers to an image, and no tag that stands in for it.
    assert_eq!(ask("referrers", &[], "demo:a", &[]).ok().stdout, "");
}
