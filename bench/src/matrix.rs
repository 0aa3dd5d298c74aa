//! What a comparison runs: targets and rows, and how they are written on the command line.

use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;

use crate::spec::{Workload, parse_server};

/// A server under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) server: SocketAddr,
    pub(crate) pid: Option<u32>,
}

/// A workload in one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    pub(crate) workload: Workload,
    pub(crate) data_bytes: usize,
    pub(crate) connections: usize,
    pub(crate) depth: usize,
}

impl Row {
    /// The rows of the figures that RingKeeper is judged by.
    pub(crate) const DEFAULT: [Row; 7] = [
        Row::new(Workload::Set, 1024, 1, 1),
        Row::new(Workload::Set, 1024, 16, 1),
        Row::new(Workload::Set, 1024, 64, 16),
        Row::new(Workload::Get, 1024, 1, 1),
        Row::new(Workload::Get, 1024, 16, 1),
        Row::new(Workload::Get, 1024, 64, 16),
        Row::new(Workload::Create, 100, 64, 16),
    ];

    const fn new(workload: Workload, data_bytes: usize, connections: usize, depth: usize) -> Row {
        Row { workload, data_bytes, connections, depth }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} B, {}×{}", self.workload, self.data_bytes, self.connections, self.depth)
    }
}

/// Parses `name=host:port` or `name=host:port,pid`.
pub(crate) fn parse_target(text: &str) -> Result<Target, String> {
    let (name, rest) = text.split_once('=').ok_or("must be NAME=HOST:PORT[,PID], as in java=127.0.0.1:2182,4711")?;
    let (server, pid) = match rest.split_once(',') {
        Some((server, pid)) => (server, Some(pid.parse().map_err(|_| format!("`{pid}` is no pid"))?)),
        None => (rest, None),
    };
    Ok(Target { name: name.to_owned(), server: parse_server(server)?, pid })
}

/// Parses `set:1024:64x16`.
pub(crate) fn parse_row(text: &str) -> Result<Row, String> {
    use clap::ValueEnum;
    let wrong = || format!("`{text}` is no WORKLOAD:BYTES:CONNECTIONSxDEPTH, as in set:1024:64x16");
    let [workload, bytes, shape] = text.split(':').collect::<Vec<_>>().try_into().map_err(|_| wrong())?;
    let (connections, depth) = shape.split_once('x').ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<usize>().map_err(|_| wrong());
    let row = Row {
        workload: Workload::from_str(workload, false).map_err(|_| wrong())?,
        data_bytes: number(bytes)?,
        connections: number(connections)?,
        depth: number(depth)?,
    };
    if row.connections == 0 || row.depth == 0 { Err(wrong()) } else { Ok(row) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_targets_are_read_or_the_mistake_is_shown_with_an_example() {
        assert_eq!(parse_row("set:1024:64x16"), Ok(Row::DEFAULT[2]));
        for wrong in ["set", "set:1:1", "put:1:1x1", "set:1:0x1", "set:1:1x1:1"] {
            assert!(parse_row(wrong).unwrap_err().contains("set:1024:64x16"), "{wrong}");
        }
        let target = parse_target("a=127.0.0.1:2181,42").unwrap();
        assert_eq!((target.name.as_str(), target.server.port(), target.pid), ("a", 2181, Some(42)));
        assert!(parse_target("a=127.0.0.1:2181,x").is_err());
        assert!(parse_target("127.0.0.1:2181").is_err());
    }
}
