//! May this server vote with what lies in its directories (law 10)? The decision is [`snapshot::standing`]'s; here is who tells of a damaged identity.
#![forbid(unsafe_code)]

pub use snapshot::standing::{AloneLoss, Evidence, INITIALIZE, Loss, Place, Refusal, Standing};
use std::path::Path;

/// The identity of a directory that may be that of another one as well. A damaged one is told, and counts as absent.
///
/// # Errors
/// That it cannot be read, or is a newer version's.
pub fn place(path: &Path) -> snapshot::Result<Place> {
    let (place, damage) = Place::look(path)?;
    if let Some(error) = damage {
        tracing::warn!("{error}; it counts as absent, and is written anew");
    }
    Ok(place)
}
