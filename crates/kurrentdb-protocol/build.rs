//! Turns `proto/` into Rust. The parser is protox, so that no `protoc` has to be installed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let files = [
        "google/rpc/status.proto",
        "streams.proto",
        "server_features.proto",
        "gossip.proto",
        "monitoring.proto",
        "operations.proto",
        "persistent_subscriptions.proto",
        "users.proto",
        "v2/streams.proto",
        "v2/errors.proto",
    ];
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;
    let mut config = prost_build::Config::new();
    // Names of messages that travel inside `Any`.
    config.enable_type_names().type_name_domain(["."], "type.googleapis.com");
    config.bytes(["."]).include_file("protocol.rs");
    tonic_build::configure().build_transport(false).compile_fds_with_config(config, descriptors)?;
    Ok(())
}
