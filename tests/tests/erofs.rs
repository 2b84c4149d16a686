// SPDX-License-Identifier: Apache-2.0
//! Kept layers before other judges: the newest erofs-utils, the kernel, and the snapshotter that stacks
//! what merging puts together.
#![allow(missing_docs)]

use std::fs::{self, File};
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::Command;

use fixture::{Dialect, Layer as Fixture};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use snapshot::{Form, Snapshotter};
use tempfile::TempDir;
use unpack::erofs::{Blocks, Device, INDEX, Merged, SPARSE, Source, TAR, merge};
use unpack::{Codec, Layer, Notes, Root, Whiteouts};

/// A folder on the disk that tests are built on: the kernel mounts no image from a file on tmpfs, which
/// the folder for temporary files may be.
fn scratch() -> std::io::Result<TempDir> {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
}

/// Layers kept in a folder, the bottom one first.
struct Kept {
    dir: TempDir,
    layers: Vec<(PathBuf, Notes)>,
}

impl Kept {
    fn new() -> Self {
        Kept {
            dir: scratch().expect("a folder"),
            layers: Vec::new(),
        }
    }

    fn keep(&mut self, codec: Codec, reader: impl Read + Send) -> Result<PathBuf, unpack::Error> {
        let dir = self.dir.path().join(self.layers.len().to_string());
        let root = Root::create(&dir)?;
        let done = Layer::new(&root)
            .codec(codec)
            .keep(BufReader::with_capacity(64 << 10, reader))?;
        self.layers.push((dir.clone(), done.notes));
        Ok(dir)
    }

    /// The layers of an image of the lab.
    fn of(layout: &Path) -> Self {
        let mut kept = Kept::new();
        for blob in blobs(layout) {
            let mut file = File::open(blob).expect("a blob");
            let codec = codec(&mut file);
            kept.keep(codec, file).expect("a valid layer");
        }
        kept
    }

    fn merge(&self) -> (PathBuf, Merged) {
        let sources: Vec<Source<'_>> = self
            .layers
            .iter()
            .map(|(dir, notes)| Source { dir, notes })
            .collect();
        let image = self.dir.path().join("image");
        let merged = merge(&sources, Blocks::Small, &image).expect("a valid image");
        (image, merged)
    }
}

fn blobs(layout: &Path) -> Vec<PathBuf> {
    let json = |path: PathBuf| -> serde_json::Value {
        serde_json::from_slice(&fs::read(path).expect("a document")).expect("JSON")
    };
    let blob = |descriptor: &serde_json::Value| {
        let digest = descriptor["digest"].as_str().expect("a digest");
        layout.join("blobs").join(digest.replace(':', "/"))
    };
    let index = json(layout.join("index.json"));
    let manifest = json(blob(&index["manifests"][0]));
    manifest["layers"]
        .as_array()
        .expect("layers")
        .iter()
        .map(blob)
        .collect()
}

fn codec(file: &mut File) -> Codec {
    let mut magic = [0; 2];
    let read = file.read(&mut magic).expect("a blob");
    file.rewind().expect("a file");
    match magic.get(..read) {
        Some([0x1f, 0x8b]) => Codec::Gzip,
        Some([0x28, 0xb5]) => Codec::Zstd,
        _ => Codec::Plain,
    }
}

fn own_devices(dir: &Path) -> Vec<Device> {
    let files = [TAR, SPARSE].map(|name| dir.join(name));
    let device = |file| Device { file, offset: 0 };
    files
        .into_iter()
        .filter(|file| file.exists())
        .map(device)
        .collect()
}

/// Shows an image while the kernel has it mounted from its files.
fn mounted<T>(image: &Path, devices: &[PathBuf], show: impl FnOnce(&Path) -> T) -> T {
    let target = scratch().expect("a place to mount at");
    let options: Vec<String> = devices
        .iter()
        .map(|file| format!("device={}", file.display()))
        .collect();
    let options = options.join(",");
    let done = mount(
        Some(image),
        target.path(),
        Some("erofs"),
        MsFlags::MS_RDONLY,
        Some(options.as_str()),
    );
    done.expect("mount an image");
    let shown = show(target.path());
    umount2(target.path(), MntFlags::MNT_DETACH).expect("unmount it");
    shown
}

fn files(devices: &[Device]) -> Vec<PathBuf> {
    devices.iter().map(|device| device.file.clone()).collect()
}

/// What the checker of erofs-utils says of an image, contents extracted.
#[track_caller]
fn check(fsck: &Path, image: &Path, devices: &[Device]) {
    let mut command = Command::new(fsck);
    for device in devices {
        command.arg(format!("--device={}", device.file.display()));
    }
    let output = command.arg("--extract").arg(image).output().expect("fsck.erofs");
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && !said.contains("<E>"),
        "{}: {said}",
        image.display()
    );
}

/// Complaints of the kernel about EROFS so far.
fn complaints() -> usize {
    let log = Command::new("dmesg").output().expect("dmesg");
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    log.lines()
        .filter(|line| line.contains("erofs") && !line.contains("mounted with root inode"))
        .count()
}

const IMAGES: &[&str] = &[
    "tiny/gzip",
    "whiteouts/buildah",
    "whiteouts/links",
    "whiteouts/sparse-gnu",
    "whiteouts/sparse-pax",
    "whiteouts/tar",
    "whiteouts/umoci",
    "debian",
    "ml/zstd",
    "manyfiles",
];

#[test]
fn erofs_utils_find_no_error_in_images_of_real_layers() {
    let test = "erofs_utils_find_no_error_in_images_of_real_layers";
    let Some(fsck) = fixture::erofs_tool(test, "fsck.erofs") else {
        return;
    };
    for name in IMAGES {
        let Some(layout) = fixture::lab_image(test, name) else {
            continue;
        };
        let kept = Kept::of(&layout);
        for (dir, _) in &kept.layers {
            check(&fsck, &dir.join(INDEX), &own_devices(dir));
        }
        let (image, merged) = kept.merge();
        check(&fsck, &image, &merged.devices);
    }
}

#[test]
fn a_real_layer_looks_as_erofs_utils_would_have_it() {
    let test = "a_real_layer_looks_as_erofs_utils_would_have_it";
    let Some(mkfs) = fixture::erofs_tool(test, "mkfs.erofs").filter(|_| fixture::is_root(test)) else {
        return;
    };
    for name in ["manyfiles", "debian"] {
        let Some(layout) = fixture::lab_image(test, name) else {
            continue;
        };
        let kept = Kept::of(&layout);
        // The bottom layer: what mkfs makes of parents that no entry describes is another matter.
        let (dir, _) = &kept.layers[0];
        let theirs = kept.dir.path().join("theirs");
        let made = Command::new(&mkfs)
            .args(["--quiet", "--tar=i"])
            .arg(&theirs)
            .arg(dir.join(TAR))
            .output();
        let made = made.expect("mkfs.erofs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let listing = |image: &Path| mounted(image, &[dir.join(TAR)], |root| fixture::tree(root));
        let (ours, theirs) = (listing(&dir.join(INDEX)), listing(&theirs));
        let differ = ours
            .lines()
            .zip(theirs.lines())
            .find(|(ours, theirs)| ours != theirs);
        assert!(ours == theirs, "{name}: {differ:?}");
    }
}

#[test]
fn merged_images_show_what_unpacking_makes() {
    let test = "merged_images_show_what_unpacking_makes";
    if !fixture::is_root(test) {
        return;
    }
    let before = complaints();
    for name in IMAGES {
        let Some(layout) = fixture::lab_image(test, name) else {
            continue;
        };
        let kept = Kept::of(&layout);
        let tree = kept.dir.path().join("tree");
        let root = Root::create(&tree).expect("a root");
        for blob in blobs(&layout) {
            let mut file = File::open(blob).expect("a blob");
            let layer = Layer::new(&root)
                .whiteouts(Whiteouts::Remove)
                .codec(codec(&mut file));
            layer
                .unpack(BufReader::with_capacity(64 << 10, file))
                .expect("a valid layer");
        }
        let (image, merged) = kept.merge();
        let shown = mounted(&image, &files(&merged.devices), |root| fixture::tree(root));
        let want = fixture::tree(&tree);
        let differ = shown
            .lines()
            .zip(want.lines())
            .find(|(shown, want)| shown != want);
        assert!(shown == want, "{name}: {differ:?}");
    }
    assert_eq!(complaints(), before, "the kernel complained");
}

#[test]
fn stacked_and_merged_layers_show_the_same() {
    let test = "stacked_and_merged_layers_show_the_same";
    if !fixture::is_root(test) {
        return;
    }
    for name in [
        "whiteouts/links",
        "whiteouts/tar",
        "whiteouts/umoci",
        "debian",
        "ml/zstd",
    ] {
        let Some(layout) = fixture::lab_image(test, name) else {
            continue;
        };
        let kept = Kept::of(&layout);
        let erofs = snapshot::choose("erofs", kept.dir.path()).expect("the snapshotter");
        assert_eq!(erofs.form(), Form::Images { small_blocks: true });
        let devices = |devices: &[Device]| -> Vec<snapshot::Device> {
            let device = |device: &Device| snapshot::Device {
                file: device.file.clone(),
                offset: device.offset,
            };
            devices.iter().map(device).collect()
        };
        let stacked: Vec<snapshot::Layer> = kept
            .layers
            .iter()
            .map(|(dir, notes)| snapshot::Layer {
                image: Some(snapshot::Image {
                    index: dir.join(INDEX),
                    devices: devices(&own_devices(dir)),
                }),
                implied: notes.implied.clone(),
                whiteouts: notes.whiteouts.clone(),
                links: notes.links.clone(),
                opaque_root: notes.opaque_root,
                ..snapshot::Layer::default()
            })
            .collect();
        let (index, merged) = kept.merge();
        let one = snapshot::Layer {
            image: Some(snapshot::Image {
                index,
                devices: devices(&merged.devices),
            }),
            ..snapshot::Layer::default()
        };
        let stacked = through(&*erofs, &kept, &stacked);
        let merged = through(&*erofs, &kept, &[one]);
        let differ = stacked
            .lines()
            .zip(merged.lines())
            .find(|(stacked, merged)| stacked != merged);
        assert!(stacked == merged, "{name}: {differ:?}");
    }
}

fn through(snapshotter: &dyn Snapshotter, kept: &Kept, layers: &[snapshot::Layer]) -> String {
    let [state, target] = ["state", "target"].map(|name| kept.dir.path().join(name));
    for dir in [&state, &target] {
        fs::create_dir_all(dir).expect("a folder");
    }
    snapshotter.mount(layers, &state, &target).expect("a mount");
    // A name that an upper layer hides still counts in the index of the layer that has it.
    let line = |line: &str| {
        let words = line.split(' ').filter(|word| !word.starts_with("links="));
        words.collect::<Vec<_>>().join(" ") + "\n"
    };
    let shown = fixture::tree(&target).lines().map(line).collect();
    snapshotter.unmount(&state, &target).expect("unmount it");
    shown
}

#[test]
fn hostile_layers_are_refused_or_make_sound_images() {
    let test = "hostile_layers_are_refused_or_make_sound_images";
    let Some(fsck) = fixture::erofs_tool(test, "fsck.erofs").filter(|_| fixture::is_root(test)) else {
        return;
    };
    let flood: String = (0..900)
        .map(|i| format!(" x.user.a{i}=\"{}\"", "v".repeat(200)))
        .collect();
    let refused = [
        ("f /../x \"\"", "upwards"),
        ("f /a/../../x \"\"", "upwards"),
        ("h /a -> /b\nh /b -> /a", ""),
        ("f /a size=9999 \"short\"", "ends inside"),
        ("f / \"\"", "the root is no directory"),
        ("d /d\nh /h -> /d", "hard link to a directory"),
        ("f /a x.system.odd=\"1\" \"\"", "extended attribute"),
    ];
    for (text, words) in refused {
        let mut kept = Kept::new();
        let outcome = kept.keep(Codec::Plain, &Fixture::parse(text).tar(Dialect::Pax)[..]);
        match (words, outcome) {
            // Two links to each other are links to lower layers' files, which nobody has.
            ("", Ok(_)) => {
                let sources: Vec<Source<'_>> = kept
                    .layers
                    .iter()
                    .map(|(dir, notes)| Source { dir, notes })
                    .collect();
                merge(&sources, Blocks::Small, &kept.dir.path().join("image")).expect_err(text);
            }
            (words, outcome) => {
                let error = outcome.expect_err(text).to_string();
                assert!(error.contains(words), "{text}: {error}");
            }
        }
    }
    let before = complaints();
    let sound = [
        "f /a \"1\"\nf /a \"2\"\nd /a\nl /a -> x\nf /a \"3\"".to_owned(),
        "d /a\nf /a/b \"1\"\nf /a \"2\"\nd /a\nf /a/c \"3\"".to_owned(),
        format!("f /flood{flood} \"x\"\nd /flooded{flood}"),
        "l /a -> b\nl /b -> a\nl /c -> c".to_owned(),
        "f /a \"1\"\nh /b -> /a\nh /a -> /b\nf /a \"2\"\nh /c -> /b".to_owned(),
        "f /.wh.gone/.wh..wh.x \"\"\nw /d/x\nw /d\no /e/f".to_owned(),
        (0..3000).map(|i| format!("f /d/{i:0>250} \"x\"\n")).collect(),
    ];
    for text in &sound {
        let mut kept = Kept::new();
        let tar = Fixture::parse(text).tar(Dialect::Pax);
        let dir = match kept.keep(Codec::Plain, &tar[..]) {
            Ok(dir) => dir,
            Err(e) => {
                assert!(matches!(e.kind(), unpack::ErrorKind::Refused(_)), "{e}");
                continue;
            }
        };
        check(&fsck, &dir.join(INDEX), &own_devices(&dir));
        let (image, merged) = kept.merge();
        check(&fsck, &image, &merged.devices);
        let tree = kept.dir.path().join("tree");
        let root = Root::create(&tree).expect("a root");
        let shown = mounted(&image, &files(&merged.devices), |root| fixture::tree(root));
        match Layer::new(&root).whiteouts(Whiteouts::Remove).unpack(&tar[..]) {
            Ok(_) => assert_eq!(shown, fixture::tree(&tree)),
            // ext4 has room for few attributes, EROFS for many.
            Err(e) => assert!(text.contains("flood") && shown.contains("user.a899"), "{e}"),
        }
    }
    assert_eq!(complaints(), before, "the kernel complained");
}

#[test]
fn a_million_entries_make_a_sound_image() {
    let test = "a_million_entries_make_a_sound_image";
    let Some(fsck) = fixture::erofs_tool(test, "fsck.erofs") else {
        return;
    };
    const FILES: usize = 1_000_000;
    let mut next = 0;
    let headers = std::iter::from_fn(|| {
        next += 1;
        let name = format!("{}/{}/file-{next}", next % 10, next % 1000);
        (next <= FILES).then(|| fixture::Header::new(name, b'0', 0).bytes())
    });
    let mut kept = Kept::new();
    let dir = kept
        .keep(Codec::Plain, Chain(headers, Vec::new(), 0))
        .expect("a valid layer");
    let (image, merged) = kept.merge();
    assert!(merged.inodes > FILES as u64);
    check(&fsck, &dir.join(INDEX), &own_devices(&dir));
    check(&fsck, &image, &merged.devices);
}

/// Pieces one after the other.
struct Chain<I>(I, Vec<u8>, usize);

impl<I: Iterator<Item = Vec<u8>>> Read for Chain<I> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.2 == self.1.len() {
            (self.1, self.2) = (self.0.next().unwrap_or_default(), 0);
        }
        let length = (&self.1[self.2..]).read(buffer)?;
        self.2 += length;
        Ok(length)
    }
}
