//! Every client of the local IPC: listeners, connections, and the services behind them.
//!
//! What the event loop calls, in the order of one turn:
//!
//! ```ignore
//! pub struct ClientsConfig {
//!     pub place: cmm_ipc::Place,                   // abstract names, or files below $HOLDFAST_RUN_DIR
//!     pub me: NodeId,
//!     pub nodes: Vec<ClientNode>,                  // nodelist: id, name, one address per link (Vec<IpAddr>)
//!     pub incarnation: Incarnation,
//!     pub transport: String,                       // "knet", "udpu" or "udp": the form of some status texts
//!     pub keys: Vec<(String, Value, bool)>,        // configuration keys for CMAP: key, value, read-only
//! }
//! // Value is cmm_ipc::abi::cmap::Value: Value::u8(1), Value::u32(1), Value::u64(1), Value::i32(1), Value::str("text")
//!
//! impl Clients {
//!     pub fn new(config: ClientsConfig) -> io::Result<Self>;            // binds all listeners; call before privileges drop
//!     pub fn register(&mut self, registry: &mio::Registry, first_token: usize) -> io::Result<()>;   // owns all tokens >= first_token
//!     pub fn on_ready(&mut self, event: &mio::event::Event, node: &mut Node, now: Boottime);        // marks, accepts, handshakes
//!     pub fn serve_one(&mut self, node: &mut Node, now: Boottime) -> bool;  // one request of the next client in turn; false: none left
//!     pub fn on_output(&mut self, output: &Output, node: &Node, now: Boottime); // every Output, in order, before the next input
//!     pub fn on_timer(&mut self, node: &mut Node, now: Boottime);           // when next_timeout() has passed
//!     pub fn next_timeout(&self) -> Option<Boottime>;                       // in the past while requests wait: do not sleep then
//!     pub fn poll_action(&mut self) -> Option<Action>;                      // Action::{Shutdown, ReopenLogs}: the daemon's own to do
//!     pub fn set_key(&mut self, key: &str, value: Value);                   // e.g. holdfast.failfast.unit.rgmd.pid
//!     pub fn delete_key(&mut self, key: &str);
//!     pub fn protected(&self) -> bool;                                      // a CPG client is joined: something here to protect
//!     pub fn shutdown(&mut self);                                           // after Output::Left: close everything, unlink everything
//! }
//! ```
//!
//! Turn: `handle_timeout`, packets, `on_ready` for each event, then `serve_one` up to a budget (64 or so) with the core's
//! outputs drained after each, then `on_timer` if due. `serve_one` takes one request at a time so that no input of the core
//! comes before the outputs of the one before are drained.
