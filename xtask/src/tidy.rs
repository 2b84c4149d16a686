// SPDX-License-Identifier: Apache-2.0
//! House rules that no compiler checks.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::sh;

/// Crates that may know image-spec and nothing else of ours, so that each can be read on its own.
const MIDDLE: &[&str] = &[
    "distribution",
    "signature",
    "crypt",
    "unpack",
    "snapshot",
    "meta-store",
];
/// All that image-spec may be built from.
const SPEC_MAY_USE: &[&str] = &["serde", "serde_json", "sha2"];
/// Crates for development, which no other may need to be built.
const DEVELOPMENT: &[&str] = &["fixture", "xtask"];

const SOURCE_LINES: usize = 400;
const TEST_LINES: usize = 800;

const LICENCE: &str = "SPDX-License-Identifier: Apache-2.0";
/// Written apart, so that this file does not hold them.
const FORBIDDEN: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
    concat!("d", "bg"),
    concat!("HA", "CK"),
];

pub(crate) fn run() -> Result<()> {
    let mut faults = Vec::new();
    imports(&mut faults)?;
    let mut files = Vec::new();
    walk(sh::root(), &mut files)?;
    for path in &files {
        file(path, &mut faults)?;
    }
    faults.iter().for_each(|fault| println!("{fault}"));
    if !faults.is_empty() {
        bail!("{} faults", faults.len());
    }
    println!("tidy: {} files", files.len());
    Ok(())
}

fn imports(faults: &mut Vec<String>) -> Result<()> {
    let text = sh::output(&mut sh::cargo(["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata")?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata without packages")?;
    let names: Vec<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let mut by_kind: BTreeMap<bool, Vec<&str>> = BTreeMap::new();
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let development = dependency["kind"] == "dev";
            by_kind
                .entry(development)
                .or_default()
                .push(dependency["name"].as_str().unwrap_or_default());
        }
        for (development, dependencies) in by_kind {
            for dependency in dependencies {
                if let Some(reason) = refusal(name, dependency, development, names.contains(&dependency)) {
                    faults.push(format!("{name} may not depend on {dependency}: {reason}"));
                }
            }
        }
    }
    Ok(())
}

fn refusal(name: &str, dependency: &str, development: bool, ours: bool) -> Option<&'static str> {
    if DEVELOPMENT.contains(&name) {
        return None;
    }
    if development {
        let known = dependency == "fixture" || dependency == "image-spec" || !ours;
        let free = known || name == "image-client";
        return (!free).then_some("tests of a crate may use the fixture and image-spec only");
    }
    if DEVELOPMENT.contains(&dependency) {
        return Some("it is for development");
    }
    if name == "image-spec" && !SPEC_MAY_USE.contains(&dependency) {
        return Some("image-spec is plain types");
    }
    (ours && MIDDLE.contains(&name) && dependency != "image-spec")
        .then_some("crates of the middle do not know each other")
}

/// The files of the repository that people write, in order.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let mut entries = fs::read_dir(folder)?
        .map(|e| Ok(e?.path()))
        .collect::<Result<Vec<_>>>()?;
    entries.sort();
    for path in entries {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let kind = fs::symlink_metadata(&path)?.file_type();
        if kind.is_dir() && !matches!(name.as_str(), "target" | ".git" | "corpus") {
            walk(&path, files)?;
        } else if kind.is_file() && name != "Cargo.lock" && name != "LICENSE" {
            files.push(path);
        }
    }
    Ok(())
}

fn file(path: &Path, faults: &mut Vec<String>) -> Result<()> {
    let relative = path.strip_prefix(sh::root()).unwrap_or(path).to_path_buf();
    let shown = relative.display();
    let Ok(text) = String::from_utf8(fs::read(path)?) else {
        return Ok(());
    };
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();

    let code = matches!(extension, "rs" | "sh" | "py") || text.starts_with("#!");
    if code && !text.lines().take(2).any(|line| line.contains(LICENCE)) {
        faults.push(format!("{shown}: no licence line: {LICENCE}"));
    }
    for (number, line) in text.lines().enumerate().map(|(n, line)| (n + 1, line)) {
        if let Some(word) = FORBIDDEN.iter().find(|word| has_word(line, word)) {
            faults.push(format!("{shown}:{number}: forbidden word: {word}"));
        }
        if extension == "rs" && name != "sys.rs" && has_word(line.split("//").next().unwrap_or(""), UNSAFE) {
            faults.push(format!("{shown}:{number}: {UNSAFE} code belongs into sys.rs"));
        }
        if code && line.ends_with([' ', '\t']) {
            faults.push(format!("{shown}:{number}: blanks at the end of the line"));
        }
    }
    if extension == "rs" {
        let in_tests = relative
            .components()
            .nth(1)
            .is_some_and(|part| part.as_os_str() == "tests");
        let limit = if in_tests { TEST_LINES } else { SOURCE_LINES };
        let lines = text.lines().count();
        if lines > limit {
            faults.push(format!("{shown}: {lines} lines, more than {limit}"));
        }
    }
    if name == "Cargo.toml" && relative.components().count() == 2 {
        manifest(&shown.to_string(), &text, faults);
    }
    Ok(())
}

const UNSAFE: &str = concat!("un", "safe");

/// Versions and lints are the workspace's.
fn manifest(shown: &str, text: &str, faults: &mut Vec<String>) {
    if !text.contains("[lints]\nworkspace = true") {
        faults.push(format!("{shown}: the lints of the workspace are not inherited"));
    }
    let mut section = "";
    for (number, line) in text.lines().enumerate().map(|(n, line)| (n + 1, line.trim())) {
        if line.starts_with('[') {
            section = line;
        }
        let names_one = section.ends_with("dependencies]") && line.contains('=') && !line.starts_with('#');
        if names_one && !line.contains("workspace = true") {
            faults.push(format!(
                "{shown}:{number}: versions are given in the workspace: {line}"
            ));
        }
        if section.contains("dependencies.") {
            faults.push(format!("{shown}:{number}: one line for each dependency: {line}"));
        }
    }
    for key in ["version", "edition", "rust-version", "license", "publish"] {
        if !text.lines().any(|line| line == format!("{key}.workspace = true")) {
            faults.push(format!("{shown}: not taken from the workspace: {key}"));
        }
    }
}

/// Whether a line holds a word, not as a part of another.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(part) && !line[at + word.len()..].starts_with(part))
}

#[cfg(test)]
mod tests {
    use super::{has_word, refusal};

    #[test]
    fn imports_follow_the_directions_of_the_house() {
        let allowed = [
            ("image-client", "unpack", false, true),
            ("unpack", "image-spec", false, true),
            ("unpack", "tar", false, false),
            ("unpack", "fixture", true, true),
            ("image-client", "fixture", true, true),
            ("image-spec", "sha2", false, false),
            ("fixture", "image-client", true, true),
        ];
        let refused = [
            ("unpack", "snapshot", false, true),
            ("unpack", "snapshot", true, true),
            ("unpack", "fixture", false, true),
            ("image-client", "fixture", false, true),
            ("image-client", "xtask", false, true),
            ("image-spec", "thiserror", false, false),
            ("image-spec", "unpack", false, true),
        ];
        for (name, dependency, development, ours) in allowed {
            assert_eq!(
                refusal(name, dependency, development, ours),
                None,
                "{name} -> {dependency}"
            );
        }
        for (name, dependency, development, ours) in refused {
            assert!(
                refusal(name, dependency, development, ours).is_some(),
                "{name} -> {dependency}"
            );
        }
    }

    #[test]
    fn words_are_found_whole_only() {
        assert!(has_word("// do it: later", "it"));
        assert!(has_word("it", "it"));
        assert!(!has_word("white with bits, it_s", "it"));
    }
}
