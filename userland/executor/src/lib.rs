//! Runs OCF agents and fence agents: process groups, timeouts, output limits
