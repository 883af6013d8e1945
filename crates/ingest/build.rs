//! Generates the client of the nodes' `MessageApi`. The messages themselves are those of `wire`.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../schema/proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(["xmtp/message_api/v1/message_api.proto"], [&root])?;
    tonic_prost_build::configure()
        .build_server(false)
        .extern_path(".xmtp.message_api.v1", "::wire::proto::message_api")
        .extern_path(".xmtp.message_contents", "::wire::proto::message_contents")
        .compile_fds(descriptors)?;
    Ok(())
}
