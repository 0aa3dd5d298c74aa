//! What a comparison runs: targets and rows, and how they are written on the command line.

use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;

use crate::spec::{Workload, parse_server};

/// A server under a name, or the servers of an ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) name: String,
    /// Connections go to these in turn.
    pub(crate) servers: Vec<SocketAddr>,
    /// Their processes, where their CPU time is to be measured.
    pub(crate) pids: Vec<u32>,
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

/// Parses `name=host:port` or `name=host:port,pid`; an ensemble has several of both, with `+` between.
pub(crate) fn parse_target(text: &str) -> Result<Target, String> {
    let (name, rest) = text.split_once('=').ok_or("must be NAME=HOST:PORT[,PID], as in java=127.0.0.1:2182,4711")?;
    let (servers, pids) = rest.split_once(',').map_or((rest, None), |(servers, pids)| (servers, Some(pids)));
    let pid = |pid: &str| pid.parse::<u32>().map_err(|_| format!("`{pid}` is no pid"));
    let servers = servers.split('+').map(parse_server).collect::<Result<_, _>>()?;
    let pids = pids.into_iter().flat_map(|pids| pids.split('+')).map(pid).collect::<Result<_, _>>()?;
    Ok(Target { name: name.to_owned(), servers, pids })
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
        assert_eq!((target.name.as_str(), target.servers[0].port(), target.pids), ("a", 2181, vec![42]));
        let ensemble = parse_target("a=127.0.0.1:2181+127.0.0.1:2182,42+43").unwrap();
        assert_eq!((ensemble.servers.len(), ensemble.servers[1].port(), ensemble.pids), (2, 2182, vec![42, 43]));
        assert!(parse_target("a=127.0.0.1:2181,42+x").is_err());
        assert!(parse_target("a=127.0.0.1:2181,x").is_err());
        assert!(parse_target("127.0.0.1:2181").is_err());
    }
}
