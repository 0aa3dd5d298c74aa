//! Starts named threads, pinned to a CPU where asked. A CPU that cannot be had is logged and not fatal: the work runs all the same.

use std::thread::{Builder, JoinHandle};

use super::Error;

/// Runs `f` on a new thread called `name` (the kernel shows its first 15 bytes), pinned to `cpu` if given.
///
/// # Errors
/// [`Error::Thread`] if the kernel gives no thread.
pub fn spawn_pinned<T: Send + 'static>(
    name: &str,
    cpu: Option<usize>,
    f: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Error> {
    let label = name.to_owned();
    Builder::new()
        .name(label.clone())
        .spawn(move || {
            if let Some(id) = cpu
                && !core_affinity::set_for_current(core_affinity::CoreId { id })
            {
                tracing::warn!(thread = label, cpu = id, "cannot pin the thread to this CPU; it runs unpinned");
            }
            f()
        })
        .map_err(|source| Error::Thread { name: name.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_sees_only_its_cpu() {
        let first = core_affinity::get_core_ids().unwrap()[0].id;
        let seen =
            spawn_pinned("pinned", Some(first), || core_affinity::get_core_ids().unwrap()).unwrap().join().unwrap();
        assert_eq!(seen.iter().map(|core| core.id).collect::<Vec<_>>(), [first]);
    }

    #[test]
    fn a_cpu_that_does_not_exist_leaves_the_thread_running() {
        assert_eq!(spawn_pinned("unpinned", Some(1023), || 7).unwrap().join().unwrap(), 7);
    }
}
