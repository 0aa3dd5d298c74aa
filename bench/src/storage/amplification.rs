//! How many bytes an image writes for what was changed: uniform and skewed sets, few and many of them.
//!
//! Each row begins from a tree that is wholly in images, sets so many znodes, and has an image written; several times, since an image also moves
//! what older files hold too little of.

use std::collections::HashSet;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::error::Result;
use crate::random::{Random, Zipf};
use crate::report::write_json;
use crate::storage::ground::GroundArgs;
use crate::storage::page::Page;
use crate::storage::server::{ImageLine, Site, Stop};

/// `rkbench storage amplification`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  rkbench storage amplification --sets 1000,10000,100000 --out docs/reports/$(date +%F)-storage-amplification.md")]
pub(crate) struct AmplificationArgs {
    #[command(flatten)]
    ground: GroundArgs,
    /// Sets between two images, a row of the table each
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000, 1_000_000])]
    sets: Vec<u64>,
    /// Images of each row
    #[arg(long, value_name = "N", default_value_t = 4)]
    images: u64,
}

/// Which znodes are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Choice {
    /// All alike.
    Uniform,
    /// By Zipf's law, 0.99, scattered over the tree.
    Zipf,
    /// Those of one part of the tree, one after the other.
    Together,
}

/// An image.
#[derive(Clone, Copy, Debug, Serialize)]
struct Written {
    choice: Choice,
    sets: u64,
    /// Different znodes among them.
    changed: u64,
    image: ImageLine,
    /// Image files in the directory afterwards, and their bytes.
    files: u64,
    file_bytes: u64,
}

/// Measures and prints.
///
/// # Errors
/// [`crate::error::BenchError`]
pub(crate) fn run(args: &AmplificationArgs) -> Result<()> {
    let mut page = Page::begin("Storage figures: write amplification of images");
    let ground = args.ground.ground()?;
    let site = ground.ringkeeper("ringkeeper");
    ground.fill(&site)?;
    let znodes = ground.filled.znodes;
    let running = site.start(Some(ground.filled))?;
    // An earlier run may have left a log tail behind the image, which the first row would pay for.
    running.image()?;
    let zipf = Zipf::new(znodes);
    let mut random = Random::new();
    let mut written = Vec::new();
    for choice in [Choice::Uniform, Choice::Zipf, Choice::Together] {
        for sets in &args.sets {
            for turn in 0..args.images {
                let first = random.below(znodes);
                let number = |nth: u64| match choice {
                    Choice::Uniform => random.below(znodes),
                    Choice::Zipf => zipf.pick(&mut random),
                    Choice::Together => (first + nth) % znodes,
                };
                let numbers: Vec<u64> = (0..*sets).map(number).collect();
                ground.filled.set(running.server, &numbers)?;
                running.image()?;
                let changed = numbers.iter().collect::<HashSet<_>>().len() as u64;
                let one = look(&site, choice, *sets, changed)?;
                eprintln!("{choice:?}, {sets} sets, image {}: {one:?}", turn + 1);
                written.push(one);
            }
        }
    }
    running.stop(Stop::Clean)?;
    page.paragraph(&format!(
        "{znodes} znodes of {} bytes. Each row: so many sets, then an image, {} times; sums over them. Zipf: exponent 0.99, what is hot lies scattered; together: \
         znodes that lie side by side.",
        args.ground.data_bytes, args.images
    ));
    let titles = [
        "sets",
        "choice",
        "znodes changed",
        "written per image, MiB",
        "carried over",
        "written per changed znode, bytes",
        "per byte of changed data",
        "ms per image",
        "files",
        "on disk : in use",
    ];
    page.table(&titles, &rows(&args.sets, args.ground.data_bytes, &written));
    if let Some(path) = &args.ground.json {
        write_json(path, &written)?;
    }
    page.end(args.ground.out.as_deref())
}

fn look(site: &Site, choice: Choice, sets: u64, changed: u64) -> Result<Written> {
    let image = site.images()?.last().copied();
    let image = image.ok_or(crate::error::BenchError::NoOperations)?;
    let files = site.image_files()?;
    let file_bytes = files.iter().map(|(_, bytes)| bytes).sum();
    Ok(Written { choice, sets, changed, image, files: files.len() as u64, file_bytes })
}

fn rows(sets: &[u64], data_bytes: usize, written: &[Written]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for sets in sets {
        for choice in [Choice::Uniform, Choice::Zipf, Choice::Together] {
            let of: Vec<&Written> = written.iter().filter(|one| one.sets == *sets && one.choice == choice).collect();
            let (Some(last), count) = (of.last(), of.len() as f64) else { continue };
            let sum = |figure: fn(&Written) -> u64| of.iter().map(|one| figure(one)).sum::<u64>() as f64;
            let (bytes, carried) = (sum(|one| one.image.bytes), sum(|one| one.image.carried_over_bytes));
            let changed = sum(|one| one.changed).max(1.0);
            let in_use = (last.image.bytes + last.image.carried_over_bytes).max(1) as f64;
            rows.push(vec![
                sets.to_string(),
                format!("{choice:?}").to_lowercase(),
                format!("{:.0}", changed / count),
                format!("{:.1}", bytes / count / f64::from(1 << 20)),
                format!("{:.0} %", 100.0 * carried / (bytes + carried).max(1.0)),
                format!("{:.0}", bytes / changed),
                format!("{:.0}", bytes / changed / data_bytes.max(1) as f64),
                format!("{:.0}", sum(|one| one.image.took_ms) / count),
                last.files.to_string(),
                format!("{:.1}", last.file_bytes as f64 / in_use),
            ]);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::Zxid;

    #[test]
    fn a_row_is_the_mean_of_its_images_by_what_was_changed() {
        let one = |choice, bytes, carried_over_bytes, file_bytes| Written {
            choice,
            sets: 10,
            changed: 8,
            image: ImageLine { zxid: Zxid(1), bytes, carried_over_bytes, took_ms: 4 },
            files: 2,
            file_bytes,
        };
        let mib = 1 << 20;
        let written = [
            one(Choice::Uniform, mib, 3 * mib, 5 * mib),
            one(Choice::Together, 7, 7, 7),
            one(Choice::Uniform, 3 * mib, mib, 6 * mib),
        ];
        let rows = rows(&[10], 1_024, &written);
        assert_eq!(rows.len(), 2, "one for each choice that was measured");
        assert_eq!(rows[0], ["10", "uniform", "8", "2.0", "50 %", "262144", "256", "4", "2", "1.5"]);
    }
}
