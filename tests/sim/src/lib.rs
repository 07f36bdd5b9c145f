//! Simulator: the protocol core on a virtual network and clock, from one seed
