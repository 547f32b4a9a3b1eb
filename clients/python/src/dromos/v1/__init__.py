"""The public API, generated from the .proto files by `cargo xtask gen`."""
