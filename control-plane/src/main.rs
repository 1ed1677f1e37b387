//! `weft-control-plane`: compiles policy and pushes it to sidecars.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {}
