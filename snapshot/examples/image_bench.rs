//! How fast an image is built and read: `cargo run --release -p ringkeeper-snapshot --example image_bench -- [znodes] [data bytes]
//! [directory]`.

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use proto::{SessionId, StatPersisted, Zxid};
use ringkeeper_snapshot::image::{
    AclRecord, Image, ImageOptions, ImageTotals, ImageWriter, NodeRecord, SessionRecord, verify,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let nodes: u64 = args.next().map_or(Ok(1_000_000), |arg| arg.parse())?;
    let data_bytes: usize = args.next().map_or(Ok(100), |arg| arg.parse())?;
    let dir = args.next().map_or_else(std::env::temp_dir, PathBuf::from);

    let started = Instant::now();
    let data = vec![7; data_bytes];
    let mut writer = ImageWriter::create(&dir, Zxid(1), ImageOptions::default())?;
    writer.add_acl(AclRecord { id: 1, acls: vec![proto::acl::Acl::open()] })?;
    for session in 0..1_000 {
        writer.add_session(SessionRecord { id: SessionId(session), timeout_ms: 10_000 })?;
    }
    for number in 0..nodes {
        let path = format!("/bench/directory-{}/node-{number:010}", number / 1_000);
        writer.add_node(NodeRecord { path: &path, data: Some(&data), acl_id: 1, stat: StatPersisted::default() })?;
    }
    let totals = ImageTotals { zxid: Zxid(1), node_count: nodes, ..ImageTotals::default() };
    let published = writer.finish(totals)?;
    let line = |what: &str, started: Instant| {
        let seconds = started.elapsed().as_secs_f64();
        let (rate, mib) = (nodes as f64 / seconds / 1e6, published.file_bytes as f64 / f64::from(1 << 20) / seconds);
        println!("{what:<8} {:>9.1} ms  {rate:>7.2} M znodes/s  {mib:>8.0} MiB/s", seconds * 1e3);
    };
    println!("{nodes} znodes of {data_bytes} bytes: {} bytes in {} segments", published.file_bytes, published.segments);
    line("build", started);

    let started = Instant::now();
    let image = Image::open(&published.path)?;
    println!("open     {:>9.3} ms", started.elapsed().as_secs_f64() * 1e3);
    let started = Instant::now();
    let (mut bytes, mut reader) = (0, image.nodes());
    while let Some(node) = reader.next_node()? {
        bytes += node.path.len() + node.data.map_or(0, <[u8]>::len);
    }
    line("read", started);
    let started = Instant::now();
    verify(&published.path)?;
    line("verify", started);
    println!("{bytes} bytes of paths and data");
    Ok(std::fs::remove_file(&published.path)?)
}
