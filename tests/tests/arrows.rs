//! The house: which crate may depend on which (`design.md` section 1), where glommio may be named, where unsafe code may be.

use ringkeeper_tests::top;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Crate, and what of the workspace it may depend on. `tests` and `xtask` are development only and stand outside the table.
const ARROWS: &[(&str, &[&str])] = &[
    ("ringkeeper-proto", &[]),
    ("ringkeeper-zab", &["ringkeeper-proto"]),
    ("ringkeeper-engine", &["ringkeeper-proto", "ringkeeper-zab", "ringkeeper-snapshot"]),
    ("ringkeeper-wal", &[]),
    ("ringkeeper-snapshot", &["ringkeeper-proto", "ringkeeper-wal"]),
    (
        "ringkeeper",
        &["ringkeeper-proto", "ringkeeper-zab", "ringkeeper-engine", "ringkeeper-wal", "ringkeeper-snapshot"],
    ),
    ("ringkeeper-client", &["ringkeeper-proto"]),
    ("rkbench", &["ringkeeper-proto", "ringkeeper-client"]),
    (
        "rkctl",
        &[
            "ringkeeper-proto",
            "ringkeeper-zab",
            "ringkeeper-engine",
            "ringkeeper-wal",
            "ringkeeper-snapshot",
            "ringkeeper-client",
        ],
    ),
    (
        "ringkeeper-sim",
        &[
            "ringkeeper-proto",
            "ringkeeper-zab",
            "ringkeeper-engine",
            "ringkeeper-wal",
            "ringkeeper-snapshot",
            "ringkeeper-client",
        ],
    ),
    ("ringkeeper-differential", &["ringkeeper-proto", "ringkeeper-client"]),
];

/// Crates whose every file is without unsafe code.
const SAFE: &[&str] =
    &["proto", "zab", "engine", "client", "bench", "tools", "sim", "tests", "tests/differential", "tools/xtask"];

/// A crate of the workspace and what its manifest names, as cargo reads it.
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

struct Dependency {
    name: String,
    is_for_tests: bool,
}

fn packages() -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline", "--manifest-path"])
        .arg(top().join("Cargo.toml"))
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages: Vec<Package> = metadata["packages"].as_array().unwrap().iter().map(package).collect();
    assert!(packages.len() > ARROWS.len(), "cargo names {} crates only", packages.len());
    packages
}

fn package(package: &Value) -> Package {
    let dependency = |dependency: &Value| Dependency {
        name: dependency["name"].as_str().unwrap().to_owned(),
        is_for_tests: dependency["kind"] == "dev",
    };
    let dependencies = package["dependencies"].as_array().unwrap().iter().map(dependency).collect();
    Package { name: package["name"].as_str().unwrap().to_owned(), dependencies }
}

#[test]
fn crates_depend_only_along_the_arrows() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let packages = packages();
    let own: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    for Package { name, dependencies } in &packages {
        let Some(allowed) = arrows.get(name.as_str()) else {
            assert!(["xtask", "ringkeeper-tests"].contains(&name.as_str()), "{name} is not in the table");
            continue;
        };
        for dependency in dependencies.iter().filter(|dependency| !dependency.is_for_tests) {
            let inside = own.contains(dependency.name.as_str());
            assert!(
                !inside || allowed.contains(&dependency.name.as_str()),
                "{name} → {}: no such arrow in design.md; a new one needs a page in docs/decisions",
                dependency.name
            );
        }
    }
}

#[test]
fn glommio_is_named_only_behind_its_seam() {
    for package in packages() {
        let uses = package.dependencies.iter().any(|dependency| dependency.name == "glommio");
        assert!(!uses || package.name == "ringkeeper", "{} depends on glommio", package.name);
    }
    let seam = top().join("server/src/rt").canonicalize().unwrap();
    for file in rust_files(&top().join("server/src")) {
        if file.canonicalize().unwrap().starts_with(&seam) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let named = text.contains("glommio::") || text.contains("use glommio");
        assert!(!named, "{} names glommio outside server/src/rt/", file.display());
    }
}

#[test]
fn unsafe_code_stays_where_it_may_be() {
    for name in SAFE {
        let dir = top().join(name).join("src");
        let root = ["lib.rs", "main.rs"].map(|file| dir.join(file)).into_iter().find(|file| file.exists()).unwrap();
        let text = std::fs::read_to_string(&root).unwrap();
        assert!(text.contains("#![forbid(unsafe_code)]"), "{} does not forbid unsafe code", root.display());
    }
    let seam = top().join("server/src/rt").canonicalize().unwrap();
    for file in rust_files(&top().join("server/src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let inside = file.canonicalize().unwrap().starts_with(&seam);
        assert!(inside || !text.contains("unsafe {"), "{} has unsafe code outside server/src/rt/", file.display());
    }
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files
}
