// SPDX-License-Identifier: Apache-2.0
//! Several threads and processes on one work directory, some of them killed.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{chain_id, id, image, keep, layer, list, merge, publish};
use meta_store::{Form, Removed, Store};
use tempfile::tempdir;

const DIR: &str = "META_STORE_TEST_DIR";
const PART: &str = "META_STORE_TEST_PART";
/// Set apart from what the test harness prints.
const SAYS: &str = "child says: ";

/// This binary again, playing one part of [`child`].
struct Player {
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Player {
    fn start(work_dir: &Path, part: &str) -> Player {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "child", "--nocapture", "--test-threads=1"])
            .env(DIR, work_dir)
            .env(PART, part)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        Player { process, output }
    }

    fn hear(&mut self) -> String {
        for line in &mut self.output {
            if let Some((_, said)) = line.unwrap().split_once(SAYS) {
                return said.to_owned();
            }
        }
        panic!("the child ended without a word");
    }

    /// SIGKILL, and wait until it has ended.
    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Lets it go on and waits for its end.
    fn finish(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().success());
    }
}

fn say(word: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{SAYS}{word}").unwrap();
    out.flush().unwrap();
}

fn pause() {
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
#[ignore = "a part that the other tests start in a process of its own"]
fn child() {
    let store = Store::open(Path::new(&std::env::var_os(DIR).unwrap())).unwrap();
    match std::env::var(PART).unwrap().as_str() {
        "stage" => {
            let stage = store.stage().unwrap();
            fs::create_dir_all(stage.path().join("tree/usr/bin")).unwrap();
            fs::write(stage.path().join("tree/usr/bin/env"), "half of it").unwrap();
            say(stage.path().to_str().unwrap());
            pause();
        }
        "claim" => {
            let _claim = store.claim(&id("a")).unwrap();
            say("claimed");
            pause();
        }
        "lease" => {
            let _lease = store.lease().unwrap();
            say("leased");
            pause();
        }
        "publish" => {
            for number in 0u32.. {
                publish(&store, &format!("layer {number}"));
                say(&number.to_string());
            }
        }
        "merge" => {
            for number in 0u32.. {
                let text = format!("layer {number}");
                keep(&store, &text);
                merge(&store, &["base", &text]);
                say(&number.to_string());
            }
        }
        "fetch" => {
            let mut fetched = 0;
            for number in 0..10 {
                let text = format!("layer {number}");
                let _claim = store.claim(&id(&text)).unwrap();
                if store.layer(&id(&text), Form::Tree).unwrap().is_none() {
                    publish(&store, &text);
                    fetched += 1;
                }
            }
            say(&fetched.to_string());
        }
        part => panic!("no such part: {part}"),
    }
}

#[test]
fn stage_lives_with_its_process_and_is_swept_after_its_death() {
    let dir = tempdir().unwrap();
    let mut player = Player::start(dir.path(), "stage");
    let stage = player.hear();
    drop(Store::open(dir.path()).unwrap());
    assert!(
        Path::new(&stage).join("tree/usr/bin/env").exists(),
        "a living stage is left alone"
    );
    player.kill();
    assert!(Path::new(&stage).exists(), "nobody has swept yet");
    drop(Store::open(dir.path()).unwrap());
    assert_eq!(list(dir.path(), "staging"), [""; 0]);
}

#[test]
fn killed_publisher_leaves_whole_layers_only() {
    let dir = tempdir().unwrap();
    for last in [3u32, 17, 40] {
        let mut player = Player::start(dir.path(), "publish");
        while player.hear().parse::<u32>().unwrap() < last {}
        player.kill();
        let store = Store::open(dir.path()).unwrap();
        let mut found = 0;
        for number in 0..=last + 1000 {
            let text = format!("layer {number}");
            if let Some(layer) = store.layer(&id(&text), Form::Tree).unwrap() {
                assert_eq!(fs::read_to_string(layer.tree.join("word")).unwrap(), text);
                found += 1;
            }
        }
        assert!(found > last as usize, "what it said to have published is there");
        assert_eq!(
            list(dir.path(), "layers").len(),
            found,
            "no tree without a record"
        );
        assert_eq!(list(dir.path(), "staging"), [""; 0]);
    }
}

#[test]
fn killed_merger_leaves_whole_images_only() {
    let dir = tempdir().unwrap();
    keep(&Store::open(dir.path()).unwrap(), "base");
    for last in [2u32, 13, 30] {
        let mut player = Player::start(dir.path(), "merge");
        while player.hear().parse::<u32>().unwrap() < last {}
        player.kill();
        let store = Store::open(dir.path()).unwrap();
        let mut found = 0;
        for number in 0..=last + 1000 {
            let text = format!("layer {number}");
            if let Some(merged) = store.merged(&chain_id(&["base", &text]), 512).unwrap() {
                assert_eq!(fs::read_to_string(merged.image).unwrap(), format!("base+{text}"));
                found += 1;
            }
        }
        assert!(found > last as usize, "what it said to have published is there");
        assert_eq!(
            list(dir.path(), "merged").len(),
            found,
            "no image without a record"
        );
        assert_eq!(list(dir.path(), "staging"), [""; 0]);
    }
}

#[test]
fn claim_passes_on_when_its_process_is_killed() {
    let dir = tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut player = Player::start(dir.path(), "claim");
    assert_eq!(player.hear(), "claimed");
    assert!(store.try_claim(&id("a")).unwrap().is_none());
    assert!(
        store.try_claim(&id("b")).unwrap().is_some(),
        "another layer is free"
    );
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| store.claim(&id("a")).unwrap());
        player.kill();
        waiting.join().unwrap();
    });
    assert!(store.try_claim(&id("a")).unwrap().is_some());
    assert_eq!(list(dir.path(), "claims"), [""; 0]);
}

#[test]
fn lease_of_another_process_defers_removal_until_it_ends() {
    let dir = tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    publish(&store, "a");
    store.put_image(&image("x", &["a"])).unwrap();
    let mut player = Player::start(dir.path(), "lease");
    assert_eq!(player.hear(), "leased");
    assert_eq!(
        store.remove_image("x").unwrap(),
        Removed {
            found: true,
            deferred: true,
            ..Removed::default()
        }
    );
    assert!(store.layer(&id("a"), Form::Tree).unwrap().is_some());
    player.finish();
    drop(Store::open(dir.path()).unwrap());
    assert_eq!(store.layer(&id("a"), Form::Tree).unwrap(), None);
}

#[test]
fn processes_fetch_each_layer_once() {
    let dir = tempdir().unwrap();
    let mut players: Vec<Player> = (0..4).map(|_| Player::start(dir.path(), "fetch")).collect();
    let fetched: usize = players
        .iter_mut()
        .map(|player| player.hear().parse::<usize>().unwrap())
        .sum();
    players.into_iter().for_each(Player::finish);
    assert_eq!(fetched, 10);
    assert_eq!(list(dir.path(), "layers").len(), 10);
}

#[test]
fn threads_with_their_own_stores_fetch_each_layer_once() {
    let dir = tempdir().unwrap();
    let fetched = AtomicUsize::new(0);
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                // The first opening of all, at once: one makes the catalogue and the others wait.
                let store = Store::open(dir.path()).unwrap();
                for number in 0..8 {
                    let text = format!("layer {number}");
                    let _claim = store.claim(&id(&text)).unwrap();
                    if store.layer(&id(&text), Form::Tree).unwrap().is_none() {
                        fetched.fetch_add(1, Ordering::Relaxed);
                        publish(&store, &text);
                    }
                }
            });
        }
    });
    assert_eq!(fetched.into_inner(), 8);
    assert_eq!(list(dir.path(), "claims"), [""; 0]);
}

#[test]
fn twins_published_at_once_give_one_layer() {
    let dir = tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let start = Barrier::new(6);
    std::thread::scope(|scope| {
        for number in 0..6 {
            let (store, start) = (&store, &start);
            scope.spawn(move || {
                let stage = store.stage().unwrap();
                fs::create_dir(stage.path().join("tree")).unwrap();
                fs::write(stage.path().join("tree/word"), number.to_string()).unwrap();
                start.wait();
                let record = store.publish(stage, layer("a")).unwrap();
                assert_eq!(
                    record.tree,
                    store.layer(&id("a"), Form::Tree).unwrap().unwrap().tree
                );
            });
        }
    });
    assert_eq!(list(dir.path(), "layers").len(), 1);
    assert_eq!(list(dir.path(), "staging"), [""; 0]);
}

#[test]
fn openings_while_others_write_sweep_nothing_that_lives() {
    let dir = tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..60 {
                let text = format!("layer {number}");
                let record = publish(&store, &text);
                assert_eq!(fs::read_to_string(record.tree.join("word")).unwrap(), text);
            }
        });
        while !writer.is_finished() {
            drop(Store::open(dir.path()).unwrap());
        }
        writer.join().unwrap();
    });
    for number in 0..60 {
        assert!(
            store
                .layer(&id(&format!("layer {number}")), Form::Tree)
                .unwrap()
                .is_some(),
            "{number}"
        );
    }
}
