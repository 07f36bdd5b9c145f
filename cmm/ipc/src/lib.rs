//! libqb IPC and the corosync client ABI: server half and client half
