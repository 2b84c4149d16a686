// SPDX-License-Identifier: Apache-2.0
//! What the command line takes. Names and meanings here are a contract: add, never change.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use image_spec::Platform;

use super::names::Names;
use super::network::Network;
use super::tend::Tend;
use super::ways::Ways;

/// Pulls, verifies, unpacks and mounts container images.
#[derive(Debug, Parser)]
#[command(
    name = "image-client",
    version,
    after_help = "IMAGE is one of\n  \
        [docker://]REF                   an image in a registry\n  \
        oci-layout:PATH[:NAME|@DIGEST]   an image in an OCI layout folder\n  \
        oci-archive:FILE[:NAME|@DIGEST]  an image in a tar file of an OCI layout\n  \
        docker-archive:FILE[:REF]        an image that `docker save` or `podman save` wrote\n  \
        dir:PATH                         the image that `skopeo copy` wrote into a folder\n\
        NAME follows the last `:` after the last `/`; `:@N` is the N-th image of a layout or archive, from 0.\n\n\
        Exit status: 0 done, 1 failed (causes and a hint on stderr), 2 wrong usage.\n\
        With --json one JSON object is printed on stdout, also for a failure (`{\"error\": ...}`);\n\
        usage errors print none."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pull IMAGE, mount it at BUNDLE/rootfs and write BUNDLE/config.json; prints the manifest digest.
    Pull {
        #[command(flatten)]
        options: Options,
        /// What to pull.
        image: String,
        /// The bundle's folder; made when absent. Its `rootfs` may exist if empty.
        bundle: PathBuf,
    },
    /// Unpack IMAGE into DIR as a flat root filesystem; no mount, no store.
    Unpack {
        #[command(flatten)]
        options: Options,
        /// What to unpack.
        image: String,
        /// The folder to make; it may exist if empty.
        dir: PathBuf,
    },
    /// Show what a pull of IMAGE would take: platforms, layers, sizes, config, and the policy's verdict.
    Inspect {
        #[command(flatten)]
        options: Options,
        /// What to look at.
        image: String,
    },
    /// Print the manifest or index that IMAGE stands for, byte for byte; with --platform that platform's manifest.
    Manifest {
        #[command(flatten)]
        options: Lookup,
        /// What to look at.
        image: String,
        /// Print only its digest.
        #[arg(long)]
        digest: bool,
    },
    /// Print a blob of IMAGE's repository, layout or archive.
    Blob {
        #[command(flatten)]
        options: Lookup,
        /// Where it is.
        image: String,
        /// The blob's digest.
        digest: String,
        /// Write it here instead of to stdout; the file appears when the digest was verified.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// List the tags of a repository, or the names in a layout or archive.
    Tags {
        #[command(flatten)]
        options: Lookup,
        /// The repository: REF without tag, or another form of IMAGE.
        #[arg(value_name = "REPO")]
        image: String,
        /// List so many at the most.
        #[arg(short = 'n', long, value_name = "N")]
        limit: Option<usize>,
        /// List only what follows this tag.
        #[arg(long, value_name = "TAG")]
        last: Option<String>,
    },
    /// List what refers to IMAGE: signatures, attestations, bills of material.
    Referrers {
        #[command(flatten)]
        options: Lookup,
        /// To what they refer.
        image: String,
        /// List only those of this type.
        #[arg(long, value_name = "TYPE")]
        artifact_type: Option<String>,
    },
    /// List the images of the store.
    Images {
        #[command(flatten)]
        common: Common,
    },
    /// Remove IMAGE from the store, and the layers no other image needs.
    Rm {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        names: Names,
        /// The image, named as in `images`.
        image: String,
    },
    /// Unmount a bundle which `pull` made, and remove what it put there.
    Umount {
        #[command(flatten)]
        common: Common,
        /// The bundle's folder.
        bundle: PathBuf,
    },
    #[command(flatten)]
    Tend(Tend),
}

impl Command {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Pull { options, .. } | Self::Unpack { options, .. } | Self::Inspect { options, .. } => {
                &options.common
            }
            Self::Manifest { options, .. }
            | Self::Blob { options, .. }
            | Self::Tags { options, .. }
            | Self::Referrers { options, .. } => &options.common,
            Self::Tend(tend) => tend.common(),
            Self::Images { common } | Self::Rm { common, .. } | Self::Umount { common, .. } => common,
        }
    }
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Where layers, the catalogue and mounted bundles' upper layers are kept.
    #[arg(long, value_name = "DIR", default_value = image_client::DEFAULT_WORK_DIR)]
    pub(crate) work_dir: PathBuf,
    /// Print one machine-readable result on stdout.
    #[arg(long)]
    pub(crate) json: bool,
    /// How progress is shown on stderr; auto is bars on a terminal, lines elsewhere.
    #[arg(long, value_name = "KIND", default_value = "auto")]
    pub(crate) progress: ProgressKind,
    /// Log to stderr; twice for details.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// What the commands take that read an image: where it comes from, and who may say so.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The policy.json which says what images are accepted; without it the system's own is used.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure_accept_any_image")]
    pub(crate) policy: Option<PathBuf>,
    /// Accept every image from everywhere. Never use it outside a laboratory.
    #[arg(long)]
    pub(crate) insecure_accept_any_image: bool,
    /// How `pull` makes one root filesystem of the layers: erofs keeps their archives and mounts them, overlay
    /// stacks them unpacked, copy copies them; auto takes the first of these that works in the work directory.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub(crate) snapshotter: Snapshotter,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// What the commands take that only show something: no policy judges what they print.
#[derive(Debug, Args)]
pub(crate) struct Lookup {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// How an image is reached.
#[derive(Debug, Args)]
pub(crate) struct Reach {
    /// Speak HTTP without TLS to the image's own registry.
    #[arg(long)]
    pub(crate) plain_http: bool,
    /// A PEM file of authorities trusted besides the system's.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_cert: Option<PathBuf>,
    /// Credential for the image's own registry. Other users of this machine can see it; prefer --creds-stdin.
    #[arg(long, value_name = "USER:PASS", conflicts_with_all = ["creds_stdin", "auth_file"])]
    pub(crate) creds: Option<Secret>,
    /// Read the credential, one line USER:PASS, from stdin.
    #[arg(long, conflicts_with = "auth_file")]
    pub(crate) creds_stdin: bool,
    /// The file of credentials by registry, as written by `docker login` or `podman login`; without it and without
    /// --creds those are used which podman and docker would use.
    #[arg(long, value_name = "FILE")]
    pub(crate) auth_file: Option<PathBuf>,
    /// Run the programs `docker-credential-NAME` in PATH which such a file names as keepers of credentials.
    #[arg(long, conflicts_with_all = ["creds", "creds_stdin"])]
    pub(crate) credential_helpers: bool,
    /// Let this token server see the registry's credential although it is neither on the registry's host nor below
    /// or above it.
    #[arg(long, value_name = "HOST")]
    pub(crate) token_server: Vec<String>,
    /// The platform wanted, when the image is for several; by default this machine's.
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_parser = platform)]
    pub(crate) platform: Option<Platform>,
    #[command(flatten)]
    pub(crate) names: Names,
    #[command(flatten)]
    pub(crate) ways: Ways,
    #[command(flatten)]
    pub(crate) network: Network,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Snapshotter {
    Auto,
    Erofs,
    Overlay,
    Copy,
}

impl Snapshotter {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Erofs => "erofs",
            Self::Overlay => "overlay",
            Self::Copy => "copy",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressKind {
    Auto,
    Plain,
    None,
}

/// The text of a credential; never printed, so also not checked by the parser, whose errors repeat the value.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

fn platform(text: &str) -> Result<Platform, image_spec::Error> {
    text.parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("image-client").chain(line.split_whitespace()))
    }

    #[test]
    fn the_contract_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn every_documented_form_is_taken() {
        for line in [
            "pull busybox /b",
            "pull --work-dir /w --policy /p --snapshotter overlay docker://busybox /b",
            "pull --insecure-accept-any-image --plain-http --json --progress none localhost:5000/a:b /b",
            "pull --creds a:b:c --ca-cert /ca -v busybox /b",
            "pull --snapshotter erofs busybox /b",
            "pull --creds-stdin --platform linux/arm64/v8 busybox /b",
            "unpack --auth-file /a oci-layout:/x:y /d",
            "inspect --auth-file /a --credential-helpers --token-server a.b --token-server c.d busybox",
            "inspect oci-archive:/x.tar --json",
            "pull --retry 0 --parallel 1 --connect-timeout 3 --idle-timeout 9 --allow-foreign a --allow-foreign b:1 x /b",
            "manifest --platform linux/arm64 --digest busybox",
            "blob -o f dir:/x sha256:00",
            "tags -n 5 --last a localhost:5000/x --plain-http --creds a:b",
            "referrers --artifact-type text/plain busybox --json",
            "images --work-dir /w --json",
            "rm --work-dir /w busybox",
            "pull --registries-conf /r --registries-conf-dir /d --hosts-dir /h --cert-dir /c busybox /b",
            "tags --proxy socks5h://u:p@h:1 --no-proxy 10.0.0.0/8,.local --obey-insecure busybox",
            "rm --registries-conf /r busybox",
            "umount --work-dir /w /b",
            "mounts --work-dir /w",
            "usage --json",
            "gc --max-size 2G --older-than 7d",
            "pin --work-dir /w busybox",
            "unpin busybox",
            "store rollback --work-dir /w",
        ] {
            parse(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        }
    }

    #[test]
    fn wrong_usage_is_refused() {
        for line in [
            "",
            "pull busybox",
            "pull --policy p --insecure-accept-any-image busybox /b",
            "pull --creds a:b --creds-stdin busybox /b",
            "pull --creds a:b --credential-helpers busybox /b",
            "pull --snapshotter btrfs busybox /b",
            "pull --progress loud busybox /b",
            "images --creds a:b",
            "gc --max-size 2X",
            "store",
            "manifest --policy p busybox",
            "blob busybox",
            "tags -n -1 busybox",
            "pull --parallel 0 busybox /b",
            "pull --idle-timeout 0 busybox /b",
            "unpack --platform linux busybox /d",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn a_credential_is_taken_whole_and_never_printed() {
        let Command::Pull { options, .. } = parse("pull --creds me:a:b busybox /b").unwrap().command else {
            panic!("not a pull");
        };
        let secret = options.reach.creds.unwrap();
        assert_eq!(
            (secret.text(), format!("{secret:?}").as_str()),
            ("me:a:b", "Secret")
        );
    }
}
