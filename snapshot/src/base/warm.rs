//! What of an image is in memory, by what a request needs.

use super::place::{Place, Run};
use super::reader::{Base, Extent};

impl Base {
    /// The segments where the children of this path lie: what must be in memory for all of [`Base::children`].
    pub fn children_extents(&self, parent: &str) -> impl Iterator<Item = Extent> + '_ {
        let place = Place::of_children(parent, "");
        let (key, run) = (place.key, self.run(Run::Nodes));
        let first = run.containing(&place).unwrap_or(0);
        let segments = run.segments().get(first..).unwrap_or_default().iter();
        let with_key = segments.take_while(move |segment| segment.shape.first_key <= key);
        let with_key = with_key.filter(move |segment| segment.shape.last_key >= key);
        with_key.map(|segment| Extent {
            file: segment.file,
            offset: segment.shape.offset,
            bytes: segment.shape.frame_bytes(),
        })
    }
}
