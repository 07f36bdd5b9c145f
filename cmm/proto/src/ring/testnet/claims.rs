//! One test for each claim of the protocol.

use super::check::check;
use super::*;

#[test]
fn three_nodes_form_one_ring() {
    let net = Net::formed(3, 1);
    check(&net);
}
