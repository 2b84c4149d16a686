// SPDX-License-Identifier: Apache-2.0
//! The text form of layers.

use crate::archive::Dialect;
use crate::entry::{Entry, Item, Kind, Layer};
use crate::packing::Compression;

/// What a `---` line says about the layer below it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    pub(crate) compression: Option<Compression>,
    pub(crate) dialect: Option<Dialect>,
    pub(crate) members: Option<usize>,
}

/// Splits a text at its `---` lines.
#[track_caller]
pub(crate) fn image(text: &str) -> Vec<(Layer, Options)> {
    let mut layers = vec![(Layer::new(), Options::default())];
    let mut begun = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(options) = line.strip_prefix("---") {
            let options = separator(options, number + 1);
            if begun || layers.len() > 1 {
                layers.push((Layer::new(), options));
            } else {
                layers[0].1 = options;
                begun = true;
            }
        } else if line_of(&mut layers.last_mut().expect("one layer").0, line, number + 1) {
            begun = true;
        }
    }
    layers
}

#[track_caller]
pub(crate) fn layer(text: &str) -> Layer {
    let mut layer = Layer::new();
    for (number, line) in text.lines().enumerate() {
        line_of(&mut layer, line.trim(), number + 1);
    }
    layer
}

#[track_caller]
fn separator(text: &str, number: usize) -> Options {
    let mut options = Options::default();
    for word in text.split_whitespace() {
        match word {
            "none" | "tar" => options.compression = Some(Compression::None),
            "gzip" => options.compression = Some(Compression::Gzip),
            "zstd" => options.compression = Some(Compression::Zstd),
            "ustar" => options.dialect = Some(Dialect::Ustar),
            "pax" => options.dialect = Some(Dialect::Pax),
            "gnu" => options.dialect = Some(Dialect::Gnu),
            _ => match word.strip_prefix("members=").map(str::parse) {
                Some(Ok(members)) => options.members = Some(members),
                _ => panic!("fixture line {number}: unknown layer option: {word}"),
            },
        }
    }
    options
}

/// Adds what a line says; false for an empty one.
#[track_caller]
fn line_of(layer: &mut Layer, line: &str, number: usize) -> bool {
    if line.is_empty() || line.starts_with('#') {
        return false;
    }
    let words = words(line, number);
    let mut words = Words {
        words: words.into_iter().peekable(),
        number,
    };
    let kind = words.next("a kind").text();
    match kind.as_str() {
        "raw" => layer.items.push(Item::Raw(words.next("bytes").bytes)),
        "open-end" => layer.open_end = true,
        "g" => {
            let records = words
                .words
                .map(|w| (w.key.unwrap_or_default().into_bytes(), w.bytes))
                .collect();
            layer.items.push(Item::Global(records));
        }
        kind => layer.items.push(Item::Entry(entry(kind, words))),
    }
    true
}

#[track_caller]
fn entry(kind: &str, mut words: Words) -> Entry {
    let name = strip_root(words.next("a name").bytes);
    let mut entry = match kind {
        "d" => Entry::directory(name),
        "f" => Entry::file(name, ""),
        "l" => Entry::new(Kind::Symlink(words.target()), name),
        "h" => Entry::new(Kind::Hardlink(strip_root(words.target())), name),
        "c" => Entry::new(Kind::Character(0, 0), name),
        "b" => Entry::new(Kind::Block(0, 0), name),
        "p" => Entry::new(Kind::Fifo, name),
        "w" => {
            let split = name.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
            Entry::file([&name[..split], b".wh.", &name[split..]].concat(), "")
        }
        "o" => {
            let slash: &[u8] = if name.is_empty() || name.ends_with(b"/") {
                b""
            } else {
                b"/"
            };
            Entry::file([&name, slash, b".wh..wh..opq"].concat(), "")
        }
        other => panic!("fixture line {}: unknown kind: {other}", words.number),
    };
    let mut pairs = Vec::new();
    let number = words.number;
    for word in words.words {
        match word.key.as_deref() {
            Some(key) => option(&mut entry, key, word.bytes, number),
            None if word.quoted => entry.kind = Kind::File(word.bytes),
            None => match word.text().split_once(':') {
                Some((a, b)) => pairs.push((integer(a, number), integer(b, number))),
                None => {
                    entry.mode = u32::from_str_radix(&word.text(), 8)
                        .unwrap_or_else(|_| panic!("fixture line {number}: not a mode: {}", word.text()));
                }
            },
        }
    }
    if let Kind::Character(major, minor) | Kind::Block(major, minor) = &mut entry.kind {
        let device = pairs
            .pop()
            .unwrap_or_else(|| panic!("fixture line {number}: a device needs major:minor"));
        (*major, *minor) = (device.0 as u32, device.1 as u32);
    }
    if let Some((uid, gid)) = pairs.pop() {
        (entry.uid, entry.gid) = (uid, gid);
    }
    entry
}

#[track_caller]
fn option(entry: &mut Entry, key: &str, value: Vec<u8>, number: usize) {
    let text = String::from_utf8_lossy(&value).into_owned();
    match key {
        "mtime" => entry.mtime = time(&text, number),
        "size" => entry.size = Some(integer(&text, number)),
        "type" => entry.flag = value.first().copied(),
        "zero" => entry.kind = Kind::File(vec![0; integer(&text, number) as usize]),
        "fill" => entry.kind = Kind::File(varied(integer(&text, number) as usize)),
        _ => match key.split_once('.') {
            Some(("x", name)) => entry.xattrs.push((name.as_bytes().to_vec(), value)),
            Some(("pax", name)) => entry.pax.push((name.as_bytes().to_vec(), value)),
            _ => panic!("fixture line {number}: unknown option: {key}"),
        },
    }
}

/// Bytes that look random, differ at every offset and are the same at each run.
fn varied(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// `-1.5` is half a second more than two seconds before 1970, as PAX and file systems count.
#[track_caller]
fn time(text: &str, number: usize) -> (i64, u32) {
    let bad = || -> ! { panic!("fixture line {number}: not a time: {text}") };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().unwrap_or_else(|_| bad());
    let nanos: u32 = format!("{fraction:0<9.9}").parse().unwrap_or_else(|_| bad());
    if text.starts_with('-') && nanos > 0 {
        (seconds - 1, 1_000_000_000 - nanos)
    } else {
        (seconds, nanos)
    }
}

#[track_caller]
fn integer(text: &str, number: usize) -> u64 {
    text.parse()
        .unwrap_or_else(|_| panic!("fixture line {number}: not a number: {text}"))
}

fn strip_root(mut name: Vec<u8>) -> Vec<u8> {
    if name.first() == Some(&b'/') {
        name.remove(0);
    }
    name
}

#[derive(Debug, Default)]
struct Word {
    key: Option<String>,
    bytes: Vec<u8>,
    quoted: bool,
}

impl Word {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

struct Words {
    words: std::iter::Peekable<std::vec::IntoIter<Word>>,
    number: usize,
}

impl Words {
    #[track_caller]
    fn next(&mut self, what: &str) -> Word {
        self.words
            .next()
            .unwrap_or_else(|| panic!("fixture line {}: {what} is missing", self.number))
    }

    #[track_caller]
    fn target(&mut self) -> Vec<u8> {
        let arrow = self.next("`->`");
        assert!(
            arrow.bytes == b"->",
            "fixture line {}: expected `->`: {}",
            self.number,
            arrow.text()
        );
        self.next("a target").bytes
    }
}

/// Splits at blanks outside quotes; `key="value"` is one word with a key.
#[track_caller]
fn words(line: &str, number: usize) -> Vec<Word> {
    let mut all = Vec::new();
    let mut rest = line.as_bytes();
    loop {
        while let [b' ' | b'\t', tail @ ..] = rest {
            rest = tail;
        }
        if rest.is_empty() {
            return all;
        }
        let mut word = Word::default();
        let mut quoted = false;
        while let Some((&byte, tail)) = rest.split_first() {
            rest = tail;
            match byte {
                b'"' => {
                    quoted = !quoted;
                    word.quoted = true;
                }
                b' ' | b'\t' if !quoted => break,
                // A name may hold `=`; only what stands after the name can be an option.
                b'=' if !quoted
                    && !word.quoted
                    && word.key.is_none()
                    && (all.len() > 1 || is_global(&all)) =>
                {
                    word.key = Some(String::from_utf8_lossy(&std::mem::take(&mut word.bytes)).into_owned());
                }
                b'\\' => word.bytes.push(escape(&mut rest, number)),
                _ => word.bytes.push(byte),
            }
        }
        assert!(!quoted, "fixture line {number}: a quote is not closed");
        all.push(word);
    }
}

fn is_global(words: &[Word]) -> bool {
    matches!(words, [first] if first.bytes == b"g")
}

#[track_caller]
fn escape(rest: &mut &[u8], number: usize) -> u8 {
    let (byte, length) = match rest {
        [b'n', ..] => (b'\n', 1),
        [b't', ..] => (b'\t', 1),
        [b's', ..] => (b' ', 1),
        [b'0', ..] => (0, 1),
        [b'\\', ..] => (b'\\', 1),
        [b'"', ..] => (b'"', 1),
        [b'x', high, low, ..] => match std::str::from_utf8(&[*high, *low]).map(|h| u8::from_str_radix(h, 16))
        {
            Ok(Ok(byte)) => (byte, 3),
            _ => panic!("fixture line {number}: \\x needs two hexadecimal digits"),
        },
        _ => panic!("fixture line {number}: unknown escape"),
    };
    *rest = &rest[length..];
    byte
}
