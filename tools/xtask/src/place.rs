//! Where things are: the workspace, its target directory, the logs.

use std::path::{Path, PathBuf};

/// The directories that all stages share.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The workspace's top.
    pub(crate) root: PathBuf,
    /// Cargo's target directory, by `CARGO_TARGET_DIR` or `target`.
    pub(crate) target: PathBuf,
    /// One file per stage.
    pub(crate) logs: PathBuf,
}

impl Place {
    /// The place of the workspace that this program was built in.
    pub(crate) fn find() -> Place {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = root.canonicalize().unwrap_or(root);
        // A relative CARGO_TARGET_DIR counts from where cargo was called.
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let target = std::path::absolute(&target).unwrap_or(target);
        Place { logs: target.join("ci-logs"), root, target }
    }

    /// Fills in `{bin}` (the directory of the built programs), `{target}`, and `{host}` (this machine's target triple).
    pub(crate) fn fill(&self, text: &str) -> String {
        let bin = self.target.join("ci");
        let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        text.replace("{bin}", &bin.to_string_lossy())
            .replace("{target}", &self.target.to_string_lossy())
            .replace("{host}", &host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_the_workspace() {
        let place = Place::find();
        assert!(place.root.join("Cargo.lock").is_file(), "{place:?}");
        assert_eq!(place.fill("{bin}/x"), place.target.join("ci/x").to_string_lossy());
    }
}
