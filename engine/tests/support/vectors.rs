//! The files of `proto/vectors`: what real servers sent, received and wrote down.

use std::path::Path;

/// A vector of a file.
pub(crate) struct Vector {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// The vectors of a file, in order.
pub(crate) fn vectors(file: &str) -> Vec<Vector> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/vectors").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let [kind, name, _, hex] = words.as_slice() else { panic!("{file}: {line}") };
            let digits = if *hex == "-" { "" } else { hex };
            let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex");
            let bytes = (0..digits.len()).step_by(2).map(byte).collect();
            Vector { kind: (*kind).to_owned(), name: (*name).to_owned(), bytes }
        })
        .collect()
}
