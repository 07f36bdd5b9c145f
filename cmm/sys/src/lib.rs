//! The only unsafe code of Holdfast: thin safe wrappers over system calls
