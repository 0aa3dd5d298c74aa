//! What `log dump`, `ls` and `stats` tell of a log with every kind of txn.

use crate::{BINARY, path, rkctl_ok, server, write_a_bit_of_everything};
use serde_json::{Value, json};
use std::path::Path;

/// The txns that `log dump --json` prints with these filters.
fn dumped(dir: &Path, filters: &[&str]) -> Vec<Value> {
    let words = [&["log", "dump", "--json"], filters, &[path(dir)]].concat();
    rkctl_ok(&words).lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

fn types(txns: &[Value]) -> Vec<&str> {
    txns.iter().map(|txn| txn["type"].as_str().unwrap()).collect()
}

#[test]
fn everything_that_was_written_is_told_in_order_and_the_filters_hold() {
    let mut server = server();
    write_a_bit_of_everything(&server);
    server.sigterm();
    let dir = server.data_dir();
    let all = dumped(&dir, &[]);
    assert_eq!(
        types(&all),
        [
            "createSession",
            "create",
            "create",
            "create",
            "create",
            "setData",
            "setACL",
            "error",
            "multi",
            "multi",
            "create",
            "delete",
            "closeSession"
        ]
    );
    let zxids: Vec<String> = (1..=all.len()).map(|zxid| format!("{zxid:#x}")).collect();
    assert_eq!(all.iter().map(|txn| txn["zxid"].as_str().unwrap()).collect::<Vec<_>>(), zxids);
    assert_eq!(all[3]["data"]["base64"], "AJ+Slg==", "{BINARY:?}");
    assert_eq!(all[5]["data"], json!({ "text": "grün" }));
    assert_eq!((&all[5]["path"], &all[5]["version"]), (&json!("/app/config"), &json!(1)));
    assert_eq!(all[6]["acl"], json!([{ "perms": 1, "scheme": "world", "id": "anyone" }]));
    assert_eq!(all[7]["error"], -110);
    let operations = &all[8]["operations"];
    assert_eq!((&operations[0]["path"], &operations[1]["data"]), (&json!("/app/two"), &json!({ "text": "v3" })));
    assert_eq!((&all[10]["ephemeral"], &all[10]["path"]), (&json!(true), &json!("/app/mine-0000000003")));
    assert_eq!(all[12]["ephemerals"], json!(["/app/mine-0000000003"]));
    assert!(all.iter().all(|txn| txn["session"] == all[0]["session"] && txn["digest_version"] == 2));

    let count = |filters: &[&str]| dumped(&dir, filters).len();
    assert_eq!(types(&dumped(&dir, &["--from", "0x3", "--to", "5"])), ["create", "create", "create"]);
    assert_eq!(count(&["--path", "/app/config"]), 3, "a create, a set, a multi");
    assert_eq!(count(&["--path", "/app"]), 8, "the end of the session too");
    assert_eq!(count(&["--path", "/ap"]), 0);
    assert_eq!(types(&dumped(&dir, &["--type", "setdata"])), ["setData", "multi"]);
    assert_eq!(count(&["--session", all[0]["session"].as_str().unwrap(), "--type", "createSession"]), 1);
    assert_eq!(count(&["--session", "0x1"]), 0);
    let since = all[4]["time_ms"].as_i64().unwrap();
    let expected = all.iter().filter(|txn| txn["time_ms"].as_i64().unwrap() >= since).count();
    assert_eq!(count(&["--since", all[4]["time"].as_str().unwrap()]), expected);
    assert_eq!(count(&["--until", &(since - 1).to_string()]), all.len() - expected);
    assert_eq!(count(&["--since", "1h"]), all.len());

    // For people, one line a txn behind a head.
    let lines = rkctl_ok(&["log", "dump", path(&dir)]);
    assert_eq!(lines.lines().count(), all.len() + 1);
    assert!(lines.lines().nth(9).unwrap().contains("create /app/two, setData /app/config"), "{lines}");
}

#[test]
fn the_segments_and_the_figures_agree_with_the_txns() {
    let mut server = server();
    write_a_bit_of_everything(&server);
    server.sigterm();
    let dir = server.data_dir();
    let all = dumped(&dir, &[]);
    let bytes: u64 = all.iter().map(|txn| txn["bytes"].as_u64().unwrap()).sum();

    let listed: Value = serde_json::from_str(&rkctl_ok(&["log", "ls", "--json", path(&dir)])).unwrap();
    assert_eq!((&listed["records"], &listed["sealed"]), (&json!(all.len()), &json!(true)), "{listed}");
    assert_eq!((&listed["first_zxid"], &listed["last_zxid"]), (&json!("0x1"), &all.last().unwrap()["zxid"]));
    assert_eq!(
        (&listed["number"], &listed["generation"], &listed["standing"]),
        (&json!(1), &json!(1), &json!("history"))
    );

    let stats: Value =
        serde_json::from_str(&rkctl_ok(&["log", "stats", "--json", "--depth", "2", path(&dir)])).unwrap();
    assert_eq!((&stats["txns"], &stats["bytes"]), (&json!(all.len()), &json!(bytes)));
    let of = |rows: &Value, of: &str| {
        rows.as_array().unwrap().iter().find(|row| row["of"] == of).map(|row| row["txns"].clone())
    };
    assert_eq!(of(&stats["types"], "create"), Some(json!(5)));
    assert_eq!(of(&stats["sessions"], all[0]["session"].as_str().unwrap()), Some(json!(all.len())));
    assert_eq!(of(&stats["paths"], "/app/config"), Some(json!(3)));
    assert_eq!(stats["session_count"], 1);
    assert!(stats["group_records"]["max"].as_u64() >= Some(1), "{stats}");
    let few: Value =
        serde_json::from_str(&rkctl_ok(&["log", "stats", "--json", "--top", "1", "--type", "create", path(&dir)]))
            .unwrap();
    assert_eq!((&few["txns"], few["paths"].as_array().unwrap().len()), (&json!(6), 1), "the multi creates too");

    // A single segment file, and the log's directory, are logs as well.
    let log = dir.join("log");
    assert_eq!(dumped(&log, &[]), all);
    assert_eq!(dumped(&log.join("segment-0000000000000001.log"), &[]), all);
}
