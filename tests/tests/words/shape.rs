//! What is left of an answer when everything that differs from run to run is taken away.

/// The shapes of all lines, sorted: ZooKeeper does not order connections, sessions and paths.
pub(crate) fn shapes(text: &str) -> Vec<String> {
    let mut shapes: Vec<String> = text.lines().map(of).collect();
    shapes.sort();
    assert!(text.is_empty() || text.ends_with('\n'), "the last line ends");
    shapes
}

/// A line with each number, date and version replaced by what it is.
pub(crate) fn of(line: &str) -> String {
    if let Some((before, date)) = line.split_once(" expire at ") {
        return format!("{} expire at {}", numbers(before), date_shape(date));
    }
    if let Some((version, built)) = line.split_once(", built on ") {
        let (label, version) = version.rsplit_once(' ').unwrap_or(("", version));
        assert!(version.starts_with("3.9.5-"), "{line}");
        return format!("{label} VERSION, built on {}", numbers(built));
    }
    numbers(line)
}

/// `Sat Nov 21 08:01:17 UTC 2026:`, each word by what it is.
fn date_shape(date: &str) -> String {
    let day = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<String> = date
        .split(' ')
        .map(|word| match word {
            word if day.contains(&word) => "DAY".to_owned(),
            word if month.contains(&word) => "MONTH".to_owned(),
            word => format!("{}{}", numbers(word), word.len()),
        })
        .collect();
    words.join(" ")
}

fn numbers(text: &str) -> String {
    let mut shape = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (end, mark) = if let Some(hex) = rest.strip_prefix("0x") {
            (2 + run(hex, |c| c.is_ascii_hexdigit()), "HEX")
        } else if first.is_ascii_digit() && !shape.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '/') {
            (run(rest, |c| c.is_ascii_digit()), "N")
        } else if first.is_ascii_digit() && shape.ends_with('/') && !rest.starts_with(|c: char| c.is_alphabetic()) {
            (run(rest, |c| c.is_ascii_digit()), "N")
        } else {
            (first.len_utf8(), "")
        };
        let (piece, after) = rest.split_at(end);
        shape.push_str(if mark.is_empty() { piece } else { mark });
        rest = after;
    }
    shape
}

fn run(text: &str, is_in: impl Fn(char) -> bool) -> usize {
    text.find(|c| !is_in(c)).unwrap_or(text.len())
}

/// Lines of `cons`, sorted, without what no two servers share: ports, sessions, moments.
pub(crate) fn masked(cons: &str) -> Vec<String> {
    let mut lines: Vec<String> = cons
        .lines()
        .map(|line| {
            let Some((_, rest)) = line.split_once('[') else { return line.to_owned() };
            let parts = rest.split(',').map(|part| match part.split_once('=') {
                Some((key @ ("sid" | "est"), _)) => format!("{key}=#"),
                _ => part.to_owned(),
            });
            parts.collect::<Vec<_>>().join(",")
        })
        .collect();
    lines.sort();
    lines
}
