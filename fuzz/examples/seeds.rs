// SPDX-License-Identifier: Apache-2.0
//! Writes the first files of `corpus`: `cargo run --example seeds`, in this folder.

use std::io::Write as _;
use std::path::Path;

use fixture::{Dialect, Header, Image, Index, Layer};

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (target, seeds) in [
        ("tar_stream", archives()),
        ("changeset", programs()),
        ("codecs", compressed()),
        ("reference", lines(REFERENCES)),
        ("digest", digests()),
        ("document", documents()),
        ("config", configs()),
        ("policy", lines(POLICIES)),
        ("auth_file", lines(AUTH_FILES)),
        ("places", lines(PLACES.trim())),
    ] {
        let folder = corpus.join(target);
        std::fs::create_dir_all(&folder)?;
        for (i, bytes) in seeds.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{i:02}")), bytes)?;
        }
    }
    Ok(())
}

fn lines(text: &str) -> Vec<Vec<u8>> {
    text.lines().map(|line| line.as_bytes().to_vec()).collect()
}

fn archives() -> Vec<Vec<u8>> {
    let long = "n".repeat(101);
    let texts = [
        "d /a 0700 1:2\nf /a/f \"x\"\nl /a/l -> f\nh /a/h -> /a/f".to_owned(),
        "p /p\nc /null 0666 1:3\nb /loop 7:7\nc /zero 0:0".to_owned(),
        "w /a\nd /b\no /b\nf /b/x \"1\"\nw /b/x".to_owned(),
        "l /l -> ../outside\nf /l/canary \"evil\"\nh /m -> /l\nf /m/x \"\"".to_owned(),
        format!("f /{long} \"\"\nl /l -> {long}"),
        "open-end\nf /a \"not padded\"".to_owned(),
    ];
    let mut all = Vec::new();
    for text in &texts {
        all.extend([Dialect::Pax, Dialect::Gnu].map(|dialect| Layer::parse(text).tar(dialect)));
    }
    for text in [
        "f /a x.user.a=\"\\x00=\\n\" mtime=-1.5 pax.path=\"b\" \"x\"",
        "g uid=\"7\" comment=\"c\"\nf /a \"x\"",
        "f /a pax.size=\"3\" size=0 \"abc\"",
        "f /a pax.GNU.sparse.map=\"0,1,2,1\" pax.GNU.sparse.size=\"9\" \"xy\"",
        "f /a pax.GNU.sparse.major=\"1\" pax.GNU.sparse.minor=\"0\" pax.GNU.sparse.realsize=\"9\" fill=513",
        "f /a type=Q \"\"",
        "d /.wh..wh.plnk\nf /.wh. \"\"",
        "f //../x \"\"",
    ] {
        all.push(Layer::parse(text).tar(Dialect::Pax));
    }
    all.push(Layer::new().tar(Dialect::Ustar));
    all.push(Header::new("x", b'L', 1 << 32).bytes());
    all.push([Header::new("x", b'x', 12).bytes(), b"12 path=a/b\n".to_vec()].concat());
    all
}

/// Bytes that look random: each is a program.
fn programs() -> Vec<Vec<u8>> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (1..=32).map(|i| (0..4 * i).map(|_| next()).collect()).collect()
}

fn compressed() -> Vec<Vec<u8>> {
    let gzip = |bytes: &[u8], level| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
        encoder.write_all(bytes).expect("compress");
        encoder.finish().expect("compress")
    };
    let named = || {
        let builder = flate2::GzBuilder::new().filename("n").comment("c").extra([1, 2]);
        let mut encoder = builder.write(Vec::new(), flate2::Compression::best());
        encoder.write_all(b"named").expect("compress");
        encoder.finish().expect("compress")
    };
    let zstd = |bytes: &[u8], level| zstd::encode_all(bytes, level).expect("compress");
    let text: Vec<u8> = (0..2000u32)
        .flat_map(|i| (i * i).to_string().into_bytes())
        .collect();
    let mut damaged = gzip(&text[..90], 6);
    let end = damaged.len() - 5;
    damaged[end] ^= 1;
    let gzips = [
        vec![],
        gzip(b"", 6),
        gzip(&text, 1),
        gzip(&text, 9),
        gzip(&text[..300], 0),
        gzip(&[0; 40_000], 6),
        [gzip(b"one", 6), gzip(b"two", 6)].concat(),
        named(),
        damaged,
        [gzip(b"one", 6), vec![0; 8]].concat(),
        gzip(b"cut", 6)[..15].to_vec(),
    ];
    let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"any"].concat();
    let zstds = [
        zstd(b"", 3),
        zstd(&text, 3),
        zstd(&text, 19),
        zstd(&[0; 40_000], 3),
        [skippable.clone(), zstd(b"x", 3), skippable].concat(),
        zstd(b"cut", 3)[..9].to_vec(),
    ];
    let chosen = |choice: u8, all: &[Vec<u8>]| -> Vec<Vec<u8>> {
        all.iter().map(|bytes| [&[choice], &bytes[..]].concat()).collect()
    };
    [chosen(0, &gzips), chosen(1, &zstds)].concat()
}

fn digests() -> Vec<Vec<u8>> {
    let zeros = "0".repeat(64);
    [
        fixture::sha256(b""),
        format!("sha512:{zeros}{zeros}"),
        format!("sha384:{zeros}{}", &zeros[..32]),
        format!("sha256:{}", zeros.replace('0', "A")),
        format!("sha256:{}", &zeros[1..]),
        "sha256:".to_owned(),
        "sha256:../../etc/passwd".to_owned(),
        format!("multi+a.b:{zeros}"),
    ]
    .map(String::into_bytes)
    .to_vec()
}

fn images() -> [Image; 2] {
    [
        Image::parse("f /a \"1\"\n---\nw /a").build(),
        Image::parse("d /etc").docker().build(),
    ]
}

fn documents() -> Vec<Vec<u8>> {
    let [oci, docker] = images();
    let index = Index::new().image(&oci);
    let mut all = vec![
        oci.manifest.bytes.to_vec(),
        docker.manifest.bytes.to_vec(),
        index.index.bytes.to_vec(),
        Index::new().docker().image(&docker).index.bytes.to_vec(),
        Index::new().nested(&index).index.bytes.to_vec(),
    ];
    all.extend(lines(DOCUMENTS));
    all
}

fn configs() -> Vec<Vec<u8>> {
    let mut all: Vec<_> = images().iter().map(|image| image.config.bytes.to_vec()).collect();
    all.extend(lines(CONFIGS));
    all
}

const REFERENCES: &str = "\
busybox
busybox:1.36
docker.io/library/busybox
localhost:5000/a/b:tag
[::1]:5000/a
quay.io/a__b/c-d.e@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
r.example/a:t@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
UPPER/case
a/../b
https://docker.io/a
docker.io/a:
a@b
index.docker.io/x
";

const DOCUMENTS: &str = r#"{"schemaVersion":2,"manifests":[],"manifests":[]}
{"schemaVersion":2,"manifests":[],"layers":[]}
{"schemaVersion":1,"fsLayers":[]}
{"schemaVersion":2,"Manifests":[]}
{"schemaVersion":2,"manifests":[],"annotations":{"a":"\ud83d\ude00","b":"\ud800"}}
{"schemaVersion":2e0,"manifests":[{"size":-1}]}
[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[
application/vnd.oci.image.index.v1+json; charset=utf-8"#;

const CONFIGS: &str = r#"{}
{"architecture":"arm64","variant":"v8","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"config":{"Env":["A=b"],"Cmd":null,"User":"1:2","Volumes":{"/v":{}},"ExposedPorts":{"80/tcp":{}},"Labels":{"k":"v"},"StopSignal":"SIGTERM","WorkingDir":"/"},"history":[{"created":"2024-01-01T00:00:00Z","empty_layer":true}]}
{"os":"linux","os":"linux"}
{"architecture":1}"#;

const POLICIES: &str = r#"{"default":[{"type":"reject"}]}
{"default":[{"type":"insecureAcceptAnything"}]}
{"default":[{"type":"reject"}],"transports":{"docker":{"docker.io/library":[{"type":"insecureAcceptAnything"}],"*.example":[{"type":"reject"}],"":[{"type":"reject"}]}}}
{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k","signedIdentity":{"type":"matchRepoDigestOrExact"}}]}
{"default":[{"type":"sigstoreSigned","keyPath":"/k","signedIdentity":{"type":"remapIdentity","prefix":"a","signedPrefix":"b"}}]}
{"default":[]}
{"default":[{"type":"reject"}],"default":[{"type":"insecureAcceptAnything"}]}
{"default":[{"type":"reject","x":1}]}
{}"#;

const AUTH_FILES: &str = r#"{"auths":{"docker.io":{"auth":"dXNlcjpwYXNz"}}}
{"auths":{"https://index.docker.io/v1/":{"auth":"dTpwOnE="},"docker.io/library":{"auth":"dTpw"}}}
{"auths":{"localhost:5000":{"auth":"!"},"docker.io":{"identitytoken":"t"}}}
{"credHelpers":{"docker.io":"x"},"credsStore":"y"}
{"auths":{"docker.io":{}}}
{"auths":[]}
{}
{"auths":{"localhost:5000":{"registrytoken":"t"},"docker.io":{"username":"u","password":"p"}},"credsStore":"s"}"#;

const PLACES: &str = r#"
registry = [{location = "example.com", mirror = [{location = "a.b/c"}, {location = "d.e:5000", pull-from-mirror = "tag-only"}]}]
registry = [{prefix = "*.example.com", location = "localhost:5000/x", insecure = true, mirror-by-digest-only = true}]
registry = [{prefix = "example.com/a", blocked = true}, {prefix = "example.com/a/b"}]
unqualified-search-registries = ["docker.io", "localhost:5000"]
aliases = {busybox = "example.com/busybox", "team/app" = ""}
short-name-mode = "enforcing"
server = "https://example.com"
host = {"http://127.0.0.1:5000/b" = {capabilities = ["pull"], header = {x = ["y", "z"]}}, "https://a" = {override_path = true}}
10.0.0.0/8, .example.com, *.a:80, [::1]:443, 2001:db8::/32, *
socks5h://u:%40@example.com:1080
"#;
