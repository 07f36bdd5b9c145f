//! From a CIB to a transition graph; pure
