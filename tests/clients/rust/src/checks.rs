//! The checks. This client asks for what few others do: the zxid of each event, multi reads, the lists of ephemerals and users.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use zookeeper_client::{
    Acls, AddWatchMode, AuthUser, CreateMode, Error, EventType, MultiReadResult, MultiWriteError, MultiWriteResult,
    SessionState, WatchedEvent,
};

use crate::{Context, Failure, Outcome, PLAIN, expect, within};

type Check = for<'a> fn(Context<'a>) -> Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// Names the checks.
macro_rules! checks {
    ($($name:ident),* $(,)?) => {
        /// Every check with its name.
        pub(crate) const ALL: &[(&str, Check)] = &[$((stringify!($name), |context| Box::pin($name(context)))),*];
    };
}

checks![
    rust_create_get_set_delete,
    rust_sequential_and_ephemeral,
    rust_container_and_ttl,
    rust_errors,
    rust_children_and_counts,
    rust_acls_and_users,
    rust_multi_writes,
    rust_multi_fails_as_a_whole,
    rust_multi_reads,
    rust_events_carry_their_zxid,
    rust_persistent_watches,
    rust_chroot,
    rust_reattach_with_the_password,
    rust_session_ends_with_its_client,
    rust_configuration,
];

/// What 3.8.0 does otherwise: a multi's create has no Stat (ZOOKEEPER-4667), a recursive watch takes the place of a
/// persistent one on the same node (ZOOKEEPER-4466), and events have no zxid (ZOOKEEPER-4655).
pub(crate) const ONLY_SINCE_3_9: &[&str] =
    &["rust_multi_writes", "rust_persistent_watches", "rust_events_carry_their_zxid"];

async fn rust_create_get_set_delete(context: Context<'_>) -> Outcome {
    let client = context.client().await?;
    let path = context.at("n");
    let (created, _) = client.create(&path, b"one", PLAIN).await?;
    expect(client.get_data(&path).await?, (b"one".to_vec(), created), "data and Stat")?;
    expect((created.czxid, created.pzxid), (created.mzxid, created.mzxid), "zxids of a new node")?;
    expect((created.version, created.data_length, created.num_children), (0, 3, 0), "a new node's Stat")?;
    let set = client.set_data(&path, b"three", Some(0)).await?;
    expect((set.version, set.data_length, set.czxid), (1, 5, created.czxid), "Stat after set")?;
    expect(client.get_data(&path).await?, (b"three".to_vec(), set), "data and Stat after set")?;
    expect(client.check_stat(&path).await?, Some(set), "exists")?;
    client.delete(&path, Some(1)).await?;
    expect(client.check_stat(&path).await?, None, "exists after delete")
}

async fn rust_sequential_and_ephemeral(context: Context<'_>) -> Outcome {
    let client = context.client().await?;
    let session = client.session_id().0;
    let sequential = CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
    let both = CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());
    let ephemeral = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
    expect(client.create(&context.at("s-"), b"", &sequential).await?.1.into_i64(), 0, "first number")?;
    let (stat, number) = client.create(&context.at("s-"), b"", &both).await?;
    expect((stat.ephemeral_owner, number.into_i64()), (session, 1), "owner and second number")?;
    client.create(&context.at("e"), b"", &ephemeral).await?;
    let refused = client.create(&context.at("e/c"), b"", PLAIN).await.err();
    expect(refused, Some(Error::NoChildrenForEphemerals), "child of an ephemeral")?;
    let mut mine = client.list_ephemerals(&context.root).await?;
    mine.sort();
    expect(mine, vec![context.at("e"), context.at("s-0000000001")], "getEphemerals")
}

async fn rust_container_and_ttl(context: Context<'_>) -> Outcome {
    let client = context.client().await?;
    let container = CreateMode::Container.with_acls(Acls::anyone_all());
    let (stat, _) = client.create(&context.at("c"), b"x", &container).await?;
    expect(stat.ephemeral_owner, 0, "owner of a container")?;
    let ttl = PLAIN.clone().with_ttl(Duration::from_secs(60));
    let made = client.create(&context.at("t"), b"", &ttl).await.map(|(stat, _)| stat.ephemeral_owner);
    let wanted = if context.options.extended_types { Ok(0) } else { Err(Error::Unimplemented) };
    expect(made, wanted, "a TTL node")
}

async fn rust_errors(context: Context<'_>) -> Outcome {
    let client = context.client().await?;
    let (path, none) = (context.at("n"), context.at("none"));
    client.create(&path, b"", PLAIN).await?;
    client.create(&context.at("n/c"), b"", PLAIN).await?;
    let refused = [
        (client.create(&path, b"", PLAIN).await.err(), Error::NodeExists),
        (client.create(&context.at("none/c"), b"", PLAIN).await.err(), Error::NoNode),
        (client.get_data(&none).await.err(), Error::NoNode),
        (client.set_data(&none, b"", None).await.err(), Error::NoNode),
        (client.list_children(&none).await.err(), Error::NoNode),
        (client.set_data(&path, b"", Some(7)).await.err(), Error::BadVersion),
        (client.delete(&path, Some(7)).await.err(), Error::BadVersion),
        (client.delete(&path, None).await.err(), Error::NotEmpty),
    ];
    refused.into_iter().try_for_each(|(error, wanted)| expect(error, Some(wanted), "error"))
}

async fn rust_children_and_counts(context: Context<'_>) -> Outcome {
    let client = context.client().await?;
    for name in ["b", "a", "a/x", "a/x/y"] {
        client.create(&context.at(name), b"", PLAIN).await?;
    }
    let (mut names, stat) = client.get_children(&context.root).await?;
    names.sort();
    expect(names, vec!["a".to_owned(), "b".to_owned()], "children")?;
    expect((stat.num_children, stat.cversion), (2, 2), "the parent's Stat")?;
    expect(client.count_descendants_number(&context.root).await?, 4, "getAllChildrenNumber")
}

async fn rust_acls_and_users(context: Context<'_>) -> Outcome {
    let owner = context.client_with(|connector| connector.with_auth("digest", b"owner:secret")).await?;
    let other = context.client().await?;
    let path = context.at("n");
    owner.create(&path, b"x", &CreateMode::Persistent.with_acls(Acls::creator_all())).await?;
    expect(owner.get_data(&path).await?.0, b"x".to_vec(), "the owner's read")?;
    other.sync(&path).await?;
    let refused = [
        other.get_data(&path).await.err(),
        other.set_data(&path, b"", None).await.err(),
        other.get_acl(&path).await.err(),
    ];
    expect(refused, [Some(Error::NoAuth), Some(Error::NoAuth), Some(Error::NoAuth)], "without the user")?;
    let (acls, stat) = owner.get_acl(&path).await?;
    let schemes: Vec<&str> = acls.iter().map(|acl| acl.scheme()).collect();
    expect((schemes, stat.aversion), (vec!["digest"], 0), "getACL")?;
    other.auth("digest", b"owner:secret").await?;
    expect(other.get_data(&path).await?.0, b"x".to_vec(), "with the user")?;
    let users = owner.list_auth_users().await?;
    expect(users.contains(&AuthUser::new("digest", "owner")), true, "whoAmI names the user")?;
    expect(users.iter().any(|user| user.scheme() == "ip"), true, "whoAmI names the address")?;
    expect(owner.set_acl(&path, &Acls::anyone_all(), Some(0)).await?.aversion, 1, "aversion")?;
    expect(owner.set_acl(&path, &Acls::anyone_all(), Some(0)).await.err(), Some(Error::BadVersion), "its version")
}

async fn rust_multi_writes(context: Context<'_>) -> Outcome {
    let client = context.client().await?;
    let (old, gone, new) = (context.at("old"), context.at("gone"), context.at("new"));
    client.create(&old, b"1", PLAIN).await?;
    client.create(&gone, b"", PLAIN).await?;
    let mut writer = client.new_multi_writer();
    writer.add_check_version(&old, 0)?;
    writer.add_create(&new, b"x", PLAIN)?;
    writer.add_set_data(&old, b"22", Some(0))?;
    writer.add_delete(&gone, Some(0))?;
    let results = writer.commit().await?;
    let (old, new) = (client.check_stat(&old).await?, client.check_stat(&new).await?);
    let (Some(old), Some(new)) = (old, new) else { return Err(Failure("a node is missing".to_owned())) };
    let wanted = vec![
        MultiWriteResult::Check,
        MultiWriteResult::Create { path: context.at("new"), stat: new },
        MultiWriteResult::SetData { stat: old },
        MultiWriteResult::Delete,
    ];
    expect(results, wanted, "results")?;
    expect(new.czxid, old.mzxid, "one zxid")?;
    expect(client.check_stat(&gone).await?, None, "what was deleted")
}

async fn rust_multi_fails_as_a_whole(context: Context<'_>) -> Outcome {
    let client = context.client().await?;
    let before = client.check_stat(&context.root).await?;
    let mut writer = client.new_multi_writer();
    writer.add_create(&context.at("a"), b"", PLAIN)?;
    writer.add_delete(&context.at("none"), None)?;
    writer.add_create(&context.at("b"), b"", PLAIN)?;
    let failed = MultiWriteError::OperationFailed { index: 1, source: Error::NoNode };
    expect(writer.commit().await.err(), Some(failed), "the error and its place")?;
    expect(client.check_stat(&context.root).await?, before, "the parent's Stat")
}

async fn rust_multi_reads(context: Context<'_>) -> Outcome {
    let client = context.client().await?;
    let path = context.at("n");
    let (stat, _) = client.create(&path, b"x", PLAIN).await?;
    let mut reader = client.new_multi_reader();
    reader.add_get_data(&path)?;
    reader.add_get_data(&context.at("none"))?;
    reader.add_get_children(&context.root)?;
    let results = reader.commit().await?;
    let [
        MultiReadResult::Data { data, stat: read },
        MultiReadResult::Error { err },
        MultiReadResult::Children { children },
    ] = &results[..]
    else {
        return Err(Failure(format!("results {results:?}")));
    };
    expect((data.as_slice(), *read), (b"x".as_slice(), stat), "data")?;
    expect(err, &Error::NoNode, "an error among the results")?;
    expect(children, &vec!["n".to_owned()], "children")
}

/// Since 3.9 the header of a watch event tells the zxid of the change.
async fn rust_events_carry_their_zxid(context: Context<'_>) -> Outcome {
    let (client, writer) = (context.client().await?, context.client().await?);
    let path = context.at("n");
    let event = |kind, zxid| WatchedEvent::new(kind, path.as_str()).with_zxid(zxid);
    let (absent, watcher) = client.check_and_watch_stat(&path).await?;
    expect(absent, None, "exists")?;
    let (created, _) = writer.create(&path, b"", PLAIN).await?;
    expect(within("created", watcher.changed()).await?, event(EventType::NodeCreated, created.czxid), "event")?;
    let (_, _, watcher) = client.get_and_watch_data(&path).await?;
    let set = writer.set_data(&path, b"x", None).await?;
    expect(within("changed", watcher.changed()).await?, event(EventType::NodeDataChanged, set.mzxid), "event")?;
    let (_, _, watcher) = client.get_and_watch_children(&path).await?;
    let (child, _) = writer.create(&context.at("n/c"), b"", PLAIN).await?;
    expect(within("child", watcher.changed()).await?, event(EventType::NodeChildrenChanged, child.czxid), "event")?;
    let (_, watcher) = client.list_and_watch_children(&path).await?;
    writer.delete(&context.at("n/c"), None).await?;
    let emptied = client.check_stat(&path).await?.map_or(0, |stat| stat.pzxid);
    expect(within("child", watcher.changed()).await?, event(EventType::NodeChildrenChanged, emptied), "event")
}

async fn rust_persistent_watches(context: Context<'_>) -> Outcome {
    let (client, writer) = (context.client().await?, context.client().await?);
    let mut one = client.watch(&context.root, AddWatchMode::Persistent).await?;
    let mut all = client.watch(&context.root, AddWatchMode::PersistentRecursive).await?;
    writer.create(&context.at("a"), b"", PLAIN).await?;
    writer.create(&context.at("a/b"), b"", PLAIN).await?;
    writer.set_data(&context.at("a/b"), b"x", None).await?;
    writer.delete(&context.at("a/b"), None).await?;
    writer.set_data(&context.root, b"x", None).await?;
    let told = |event: WatchedEvent| (event.event_type, event.path);
    for wanted in [
        (EventType::NodeCreated, context.at("a")),
        (EventType::NodeCreated, context.at("a/b")),
        (EventType::NodeDataChanged, context.at("a/b")),
        (EventType::NodeDeleted, context.at("a/b")),
        (EventType::NodeDataChanged, context.root.clone()),
    ] {
        expect(told(within("a recursive event", all.changed()).await?), wanted, "recursive")?;
    }
    for wanted in [EventType::NodeChildrenChanged, EventType::NodeDataChanged] {
        expect(told(within("an event", one.changed()).await?), (wanted, context.root.clone()), "of the node")?;
    }
    Ok(())
}

async fn rust_chroot(context: Context<'_>) -> Outcome {
    let client = context.client().await?;
    let inside = client.clone().chroot(context.root.as_str()).map_err(|_| Failure("chroot was refused".to_owned()))?;
    let (stat, _) = inside.create("/n", b"x", PLAIN).await?;
    expect(client.check_stat(&context.at("n")).await?, Some(stat), "the node outside")?;
    let (_, _, watcher) = inside.get_and_watch_data("/n").await?;
    client.set_data(&context.at("n"), b"y", None).await?;
    expect(within("the event", watcher.changed()).await?.path, "/n".to_owned(), "the event's path")
}

async fn rust_reattach_with_the_password(context: Context<'_>) -> Outcome {
    let observer = context.client().await?;
    let first = context.client_with(|connector| connector.with_detached()).await?;
    let ephemeral = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
    first.create(&context.at("e"), b"", &ephemeral).await?;
    let session = first.into_session();
    let id = session.id();
    let second = context.client_with(|connector| connector.with_session(session)).await?;
    expect(second.session_id(), id, "session")?;
    observer.sync(&context.at("e")).await?;
    let owner = observer.check_stat(&context.at("e")).await?.map(|stat| stat.ephemeral_owner);
    expect(owner, Some(id.0), "owner")?;
    let mut states = second.state_watcher();
    drop(second);
    expect(within("the end", states.changed()).await?, SessionState::Closed, "state")
}

async fn rust_session_ends_with_its_client(context: Context<'_>) -> Outcome {
    let (observer, owner) = (context.client().await?, context.client().await?);
    let ephemeral = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
    owner.create(&context.at("e"), b"", &ephemeral).await?;
    observer.sync(&context.at("e")).await?;
    let (_, watcher) = observer.check_and_watch_stat(&context.at("e")).await?;
    drop(owner);
    expect(within("the event", watcher.changed()).await?.event_type, EventType::NodeDeleted, "event")
}

/// A standalone server has an empty configuration, an ensemble names its servers; reconfig is switched off where nobody has switched it on.
async fn rust_configuration(context: Context<'_>) -> Outcome {
    let client = context.client().await?;
    let configuration = client.get_config().await?.0;
    if context.options.hosts.contains(',') {
        expect(configuration.starts_with(b"server.1="), true, "the configuration names the servers")?;
    } else {
        expect(configuration, Vec::new(), "configuration")?;
    }
    let change = zookeeper_client::EnsembleUpdate::New { ensemble: std::iter::once("server.9=127.0.0.1:1:2;3") };
    expect(client.update_ensemble(change, None).await.err(), Some(Error::ReconfigDisabled), "reconfig")
}
