//! The harness itself.

use ringkeeper_tests::cluster::{Cluster, Form, Implementation, Mode, Plan, four_letters};
use ringkeeper_tests::lease::Lease;
use ringkeeper_tests::until;
use std::collections::BTreeSet;

#[test]
fn no_two_leases_have_one_address_and_one_that_is_over_is_taken_again() {
    let leases: Vec<Lease> = (0..20).map(|_| Lease::take()).collect();
    let hosts: BTreeSet<_> = leases.iter().map(|lease| lease.host(1)).collect();
    assert_eq!(hosts.len(), 20);
    drop(leases);
    // Others may take some of them meanwhile, not all for good.
    until("one that was ours", || hosts.contains(&Lease::take().host(1)));
}

#[test]
fn servers_of_either_form_find_each_other_one_leads_and_an_observer_observes() {
    for implementation in Implementation::wanted() {
        for form in [Form::Classic, Form::WithClientPort] {
            let mut cluster = Plan::new(implementation, 3).form(form).observers(1).start();
            let leader = cluster.leader();
            let modes = |cluster: &Cluster| cluster.ids().into_iter().map(|id| cluster.mode(id)).collect::<Vec<_>>();
            let found = modes(&cluster);
            assert_eq!(found.iter().filter(|mode| **mode == Some(Mode::Leader)).count(), 1, "{form:?} {found:?}");
            assert_eq!(found.iter().filter(|mode| **mode == Some(Mode::Follower)).count(), 2, "{form:?} {found:?}");
            assert_eq!(found.last(), Some(&Some(Mode::Observer)), "{form:?}");
            cluster.pause(leader);
            assert_eq!(four_letters(cluster.address(leader), "ruok"), None, "it stands still");
            cluster.go_on(leader);
            until("it goes on", || four_letters(cluster.address(leader), "ruok").as_deref() == Some("imok"));
            cluster.stop_all();
        }
    }
}
