// SPDX-License-Identifier: Apache-2.0
//! The fixture itself, judged by GNU tar and by a client of a few lines.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use fixture::{Compression, Dialect, Effect, Fault, Image, Index, Layer, Lie, Registry, sha256};

const KINDS: &str = r#"
    d /etc 0755 0:0
    f /etc/motd 0644 1000:100 "hello\n\x00\xff" mtime=1600000000
    f /etc/numbers fill=5000
    l /bin/sh -> busybox
    h /etc/motd2 -> /etc/motd
    c /dev/null 0666 0:0 1:3
    b /dev/loop7 0660 7:7
    p /run/pipe 0600
    w /etc/shadow
    o /var/cache
"#;

fn tar_lists(tar: &[u8]) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("layer.tar");
    std::fs::write(&path, tar).expect("write the archive");
    let output = Command::new("tar")
        .args([
            "--list",
            "--verbose",
            "--numeric-owner",
            "--full-time",
            "--utc",
            "--quoting-style=c",
            "--file",
        ])
        .arg(&path)
        .output()
        .expect("run tar");
    assert!(
        output.status.success(),
        "tar: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .map(words)
        .collect()
}

#[test]
fn every_kind_of_entry_is_what_gnu_tar_reads_in_every_dialect() {
    for dialect in [Dialect::Ustar, Dialect::Pax, Dialect::Gnu] {
        let listed = tar_lists(&Layer::parse(KINDS).tar(dialect));
        let expected = [
            r#"drwxr-xr-x 0/0 0 2023-11-14 22:13:20 "etc/""#,
            r#"-rw-r--r-- 1000/100 8 2020-09-13 12:26:40 "etc/motd""#,
            r#"-rw-r--r-- 0/0 5000 2023-11-14 22:13:20 "etc/numbers""#,
            r#"lrwxrwxrwx 0/0 0 2023-11-14 22:13:20 "bin/sh" -> "busybox""#,
            r#"hrw-r--r-- 0/0 0 2023-11-14 22:13:20 "etc/motd2" link to "etc/motd""#,
            r#"crw-rw-rw- 0/0 1,3 2023-11-14 22:13:20 "dev/null""#,
            r#"brw-rw---- 0/0 7,7 2023-11-14 22:13:20 "dev/loop7""#,
            r#"prw------- 0/0 0 2023-11-14 22:13:20 "run/pipe""#,
            r#"-rw-r--r-- 0/0 0 2023-11-14 22:13:20 "etc/.wh.shadow""#,
            r#"-rw-r--r-- 0/0 0 2023-11-14 22:13:20 "var/cache/.wh..wh..opq""#,
        ];
        assert_eq!(listed, expected, "{dialect:?}");
    }
}

#[test]
fn long_names_and_large_numbers_survive_pax_and_gnu() {
    let (name, target) = ("n".repeat(300), "t".repeat(200));
    let text = format!(
        "f /{name} 4000000000:3000000 \"x\"\nl /long -> {target}\nf /names\\x20here\\n \"\" mtime=8589934602"
    );
    for dialect in [Dialect::Pax, Dialect::Gnu] {
        let expected = [
            format!("-rw-r--r-- 4000000000/3000000 1 2023-11-14 22:13:20 \"{name}\""),
            format!("lrwxrwxrwx 0/0 0 2023-11-14 22:13:20 \"long\" -> \"{target}\""),
            "-rw-r--r-- 0/0 0 2242-03-16 12:56:42 \"names here\\n\"".to_string(),
        ];
        assert_eq!(
            tar_lists(&Layer::parse(&text).tar(dialect)),
            expected,
            "{dialect:?}"
        );
    }
}

#[test]
fn ustar_splits_a_long_path_into_prefix_and_name() {
    let path = format!("{}/{}", "p".repeat(120), "n".repeat(90));
    let listed = tar_lists(&Layer::parse(&format!("f /{path} \"x\"")).tar(Dialect::Ustar));
    assert_eq!(
        listed,
        [format!("-rw-r--r-- 0/0 1 2023-11-14 22:13:20 \"{path}\"")]
    );
}

#[test]
fn times_before_1970_and_parts_of_a_second_are_pax_decimals() {
    let tar = Layer::parse("f /a \"\" mtime=-1.5\nf /b \"\" mtime=7.000000001").tar(Dialect::Pax);
    let text = String::from_utf8_lossy(&tar).into_owned();
    assert!(text.contains(" mtime=-1.5\n") && text.contains(" mtime=7.000000001\n"));
}

#[test]
fn an_open_end_leaves_out_padding_and_end_blocks() {
    assert_eq!(Layer::parse("f /a \"12345\"").tar(Dialect::Pax).len(), 2048);
    assert_eq!(
        Layer::parse("f /a \"12345\"\nopen-end").tar(Dialect::Pax).len(),
        517
    );
}

#[test]
fn a_broken_fixture_names_its_line() {
    let panic = std::panic::catch_unwind(|| Layer::parse("d /etc\nq /etc")).expect_err("a panic");
    let message = panic.downcast::<String>().expect("a formatted message");
    assert_eq!(*message, "fixture line 2: unknown kind: q");
}

#[test]
fn separators_choose_compression_and_dialect_of_one_layer() {
    let image = Image::parse("f /a \"a\"\n--- zstd members=2\nf /b zero=4096\n--- none\nf /c \"c\"").build();
    let types: Vec<_> = image
        .layers
        .iter()
        .map(|l| l.media_type.rsplit('.').next().unwrap_or(""))
        .collect();
    assert_eq!(types, ["tar+gzip", "tar+zstd", "tar"]);
    let frames = image.layers[1]
        .bytes
        .windows(4)
        .filter(|w| *w == [0x28, 0xb5, 0x2f, 0xfd])
        .count();
    assert_eq!(frames, 2);
    assert_eq!(
        zstd::decode_all(&image.layers[1].bytes[..]).expect("zstd"),
        image.tars[1]
    );
}

#[test]
fn an_image_names_its_parts_truly_unless_told_to_lie() {
    let honest = Image::parse("f /a \"a\"").build();
    assert_eq!(
        honest.manifest_json()["layers"][0]["digest"],
        sha256(&honest.layers[0].bytes)
    );
    let liar = Image::parse("f /a \"a\"")
        .lie(Lie::LayerBytes(0))
        .lie(Lie::LayerSize(0, 5))
        .build();
    assert_eq!(liar.layers[0].digest, honest.layers[0].digest);
    assert_ne!(sha256(&liar.layers[0].bytes), liar.layers[0].digest);
    assert_eq!(
        liar.manifest_json()["layers"][0]["size"],
        honest.layers[0].bytes.len() + 5
    );
}

#[test]
fn a_layout_on_disk_serves_what_memory_serves() {
    let (one, other) = (
        Image::parse("f /a \"a\"").build(),
        Image::parse("f /b \"b\"").platform("linux/s390x"),
    );
    let index = Index::new().image(&one).image(&other.build()).attestation(&one);
    let folder = tempfile::tempdir().expect("a folder");
    fixture::write_layout(folder.path(), &[("v1", &index)]).expect("write the layout");

    let registry = Registry::start();
    registry.push("memory", "v1", &index);
    registry
        .serve_layout("disk", folder.path())
        .expect("serve the layout");
    for path in [
        "manifests/v1".to_string(),
        format!("manifests/{}", one.manifest.digest),
        format!("blobs/{}", one.layers[0].digest),
    ] {
        let memory = get(&registry, &format!("/v2/memory/{path}"), &[]);
        assert_eq!(memory.status, 200, "{path}");
        assert_eq!(memory, get(&registry, &format!("/v2/disk/{path}"), &[]), "{path}");
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    headers: Vec<String>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find_map(|h| h.strip_prefix(name)?.strip_prefix(": "))
    }
}

fn get(registry: &Registry, path: &str, headers: &[&str]) -> Answer {
    let mut socket = TcpStream::connect(registry.host()).expect("connect");
    let more: String = headers.iter().map(|h| format!("{h}\r\n")).collect();
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n"
    )
    .expect("ask");
    let mut all = Vec::new();
    // A cut connection may end in an error; what came before it counts.
    let _ = socket.read_to_end(&mut all);
    let end = all.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|l| l.split(' ').nth(1))
        .and_then(|s| s.parse().ok())
        .expect("a status");
    let headers = lines
        .filter(|l| !l.starts_with("date: "))
        .map(str::to_string)
        .collect();
    Answer {
        status,
        headers,
        body: all[end + 4..].to_vec(),
    }
}

#[test]
fn faults_do_what_they_say_and_end_when_they_say() {
    let image = Image::parse("f /a fill=100000")
        .compression(Compression::None)
        .build();
    let registry = Registry::start();
    registry.push("demo", "latest", &image);
    let blob = image.layers[0].bytes.to_vec();
    let path = format!("/v2/demo/blobs/{}", image.layers[0].digest);
    let full = blob.len().to_string();

    let faulty = |effect: Effect, headers: &[&str]| {
        registry.fault(Fault::on(&image.layers[0].digest, effect).times(1));
        let answer = get(&registry, &path, headers);
        let healed = get(&registry, &path, &[]);
        assert_eq!((healed.status, &healed.body), (200, &blob));
        answer
    };
    assert_eq!(faulty(Effect::Status(503), &[]).status, 503);
    let cut = faulty(Effect::Cut(1000), &[]);
    assert_eq!(
        (cut.header("content-length"), &cut.body[..]),
        (Some(&full[..]), &blob[..1000])
    );
    let extra = faulty(Effect::Extra(b"!!".to_vec()), &[]);
    assert_eq!(extra.body, [&blob[..], b"!!"].concat());
    assert_eq!(faulty(Effect::Replace(b"other".to_vec()), &[]).body, b"other");
    assert_eq!(
        faulty(Effect::Redirect("http://x/".into()), &[]).header("location"),
        Some("http://x/")
    );
    assert_eq!(
        faulty(Effect::Chunked, &[]).header("transfer-encoding"),
        Some("chunked")
    );
    let ignored = faulty(Effect::IgnoreRange, &["range: bytes=10-"]);
    assert_eq!((ignored.status, ignored.body.len()), (200, blob.len()));
    let shifted = faulty(Effect::ShiftRange(5), &["range: bytes=10-19"]);
    assert_eq!((shifted.status, &shifted.body[..]), (206, &blob[15..25]));
}

#[test]
fn ranges_are_answered_with_the_part_asked_for() {
    let image = Image::parse("f /a fill=2000")
        .compression(Compression::None)
        .build();
    let registry = Registry::start();
    registry.push("demo", "latest", &image);
    let path = format!("/v2/demo/blobs/{}", image.layers[0].digest);
    let (blob, size) = (&image.layers[0].bytes, image.layers[0].bytes.len());
    let part = get(&registry, &path, &["range: bytes=100-"]);
    assert_eq!((part.status, &part.body[..]), (206, &blob[100..]));
    assert_eq!(
        part.header("content-range"),
        Some(&format!("bytes 100-{}/{size}", size - 1)[..])
    );
    assert_eq!(
        get(&registry, &path, &[&format!("range: bytes={size}-")]).status,
        416
    );
}

#[test]
fn a_bearer_token_is_for_one_repository_and_can_be_revoked() {
    let image = Image::parse("f /a \"a\"").build();
    let registry = Registry::builder().bearer().credential("user", "secret").start();
    registry.push("one", "latest", &image);
    registry.push("two", "latest", &image);
    let refused = get(&registry, "/v2/one/manifests/latest", &[]);
    let realm = format!(
        "Bearer realm=\"{}/token\",service=\"fixture\",scope=\"repository:one:pull\"",
        registry.base()
    );
    assert_eq!(
        (refused.status, refused.header("www-authenticate")),
        (401, Some(&realm[..]))
    );

    let ask = "/token?service=fixture&scope=repository%3Aone%3Apull";
    assert_eq!(get(&registry, ask, &[]).status, 401);
    let answer = get(&registry, ask, &["authorization: Basic dXNlcjpzZWNyZXQ="]);
    let token: serde_json::Value = serde_json::from_slice(&answer.body).expect("a token document");
    let header = format!(
        "authorization: Bearer {}",
        token["token"].as_str().expect("a token")
    );
    assert_eq!(get(&registry, "/v2/one/manifests/latest", &[&header]).status, 200);
    assert_eq!(get(&registry, "/v2/two/manifests/latest", &[&header]).status, 401);
    registry.revoke_tokens();
    assert_eq!(get(&registry, "/v2/one/manifests/latest", &[&header]).status, 401);
    assert_eq!(registry.asked_for("/token").len(), 2);
}

#[test]
fn a_listing_shows_what_differs_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    std::fs::create_dir(&root).expect("a folder");
    std::fs::write(root.join("a b"), "text").expect("a file");
    std::fs::hard_link(root.join("a b"), root.join("b")).expect("a link");
    std::os::unix::fs::symlink("a b", root.join("c")).expect("a link");
    let (uid, gid) = root.metadata().map(|m| (m.uid(), m.gid())).expect("the owner");
    let listing = fixture::Listing::new().without_times().without_xattrs().of(&root);
    let text = "982d9e3eb996f559";
    let expected = [
        ". dir 0755 U".to_string(),
        format!("./a\\x20b file 0644 U 4 links=2 sha256:{text}"),
        format!("./b file 0644 U 4 links=2 same=./a\\x20b sha256:{text}"),
        "./c link 0777 U links=1 -> a b".to_string(),
    ];
    assert_eq!(
        listing,
        expected
            .map(|l| l.replace('U', &format!("{uid}:{gid}")) + "\n")
            .concat()
    );
}
