//! Every maximum of the core in one place, with what relates them.

/// Rings that all agree on and that never come, in a row, before that is called a fault, as in corosync.
pub const CONTINUOUS_GATHER_MAX: u32 = 3;
/// Nodes in one cluster.
pub const NODES_MAX: usize = 64;
/// Links of one node.
pub const LINKS_MAX: usize = 8;
/// UDP payload of the longest packet, seal included: what an Ethernet frame of 9000 bytes carries with IPv4. Longer ones would keep
/// a token waiting, and only a loopback interface takes them.
pub const PACKET_MAX: usize = 8_972;
/// UDP payload that every path carries in one piece: the smallest MTU of IPv6, its header and that of UDP taken off.
pub const PACKET_SAFE: usize = 1_232;
/// UDP payload of packets that are no data, seal included: they are sent before anything is known of the path, and may be cut up on
/// the way. Fits an Ethernet frame with IPv6 and a tunnel header around it.
pub const PACKET_CONTROL_MAX: usize = 1_400;
/// Cluster keys accepted at once: two while a key is changed, more if it is changed again before that is over.
pub const KEYS_MAX: usize = 4;
/// One message of a client, before fragmentation. A libqb request is at most 1 MiB, header included.
pub const MESSAGE_MAX: usize = 1_048_576 + 4_096;
/// Messages that wait for the token. Beyond it [`crate::Refusal::TryAgain`].
pub const QUEUE_MESSAGES_MAX: usize = 4_096;
/// Bytes that wait for the token.
pub const QUEUE_BYTES_MAX: usize = 8 * MESSAGE_MAX;
/// Frames one ring may have outstanding between the lowest aru and the highest sequence number.
pub const WINDOW_FRAMES_MAX: usize = 1_024;
/// Requests for retransmission that one token carries.
pub const RETRANSMIT_REQUESTS_MAX: usize = 30;
/// Bytes in a process-group name (`cpg_name_t`).
pub const GROUP_NAME_MAX: usize = 128;
/// Members of one process group: libcpg copies member lists into arrays of 128 without looking.
pub const GROUP_MEMBERS_MAX: usize = 128;
/// Bytes of one group message, the fields before them taken off [`MESSAGE_MAX`].
pub const PAYLOAD_MAX: usize = MESSAGE_MAX - 512;
/// Processes of one node in groups: all of them go into one message when members synchronise.
pub const LOCAL_PROCESSES_MAX: usize = 4_096;

const _: () = assert!(NODES_MAX * 8 < PACKET_CONTROL_MAX, "a join with two full lists fits one packet");
const _: () = assert!(QUEUE_BYTES_MAX >= 2 * MESSAGE_MAX);
const _: () = assert!(LOCAL_PROCESSES_MAX * (5 + GROUP_NAME_MAX) + NODES_MAX * 128 + 512 < MESSAGE_MAX);
