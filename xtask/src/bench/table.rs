// SPDX-License-Identifier: Apache-2.0
//! Medians side by side.

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) seconds: f64,
    pub(super) cpu: f64,
    /// Peak resident set in MiB.
    pub(super) memory: f64,
    /// Bytes that reached the disk.
    pub(super) written: u64,
}

/// Prints an image's rows; the first is ours, to which the others are compared.
pub(super) fn print(image: &str, rows: &[(&str, &[Sample])], ratios: bool) {
    println!("\n{image}");
    println!(
        "  {:<16}{:>9}{:>9}{:>9}{:>11}{:>10}{:>8}{:>8}{:>9}",
        "median of runs", "wall s", "cpu s", "rss MiB", "written MB", "wall", "cpu", "rss", "written"
    );
    let ours = rows.first().and_then(|(_, samples)| medians(samples));
    for (name, samples) in rows {
        let Some(values) = medians(samples) else {
            println!("  {name:<16}{:>9}", "n/a");
            continue;
        };
        let [wall, cpu, memory, written] = values;
        print!("  {name:<16}{wall:>9.2}{cpu:>9.2}{memory:>9.0}{written:>11.1}");
        match ours {
            Some(ours) if ratios => {
                let ratio = |i: usize| {
                    if ours[i] > 0.0 {
                        format!("{:.2}x", values[i] / ours[i])
                    } else {
                        "-".into()
                    }
                };
                println!("{:>10}{:>8}{:>8}{:>9}", ratio(0), ratio(1), ratio(2), ratio(3));
            }
            _ => println!(),
        }
    }
}

fn medians(samples: &[Sample]) -> Option<[f64; 4]> {
    if samples.is_empty() {
        return None;
    }
    let of = |value: fn(&Sample) -> f64| {
        let mut values: Vec<f64> = samples.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        if values.len() % 2 == 1 {
            values[middle]
        } else {
            (values[middle - 1] + values[middle]) / 2.0
        }
    };
    Some([
        of(|s| s.seconds),
        of(|s| s.cpu),
        of(|s| s.memory),
        of(|s| s.written as f64 / 1e6),
    ])
}
