//! Generates the client of the nodes' `MessageApi`. The messages themselves are those of `wire`.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    // Build scripts run in their package's folder.
    let root = Path::new("../../schema/proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(["xmtp/message_api/v1/message_api.proto"], [root])?;
    tonic_prost_build::configure()
        .build_server(false)
        .extern_path(".xmtp.message_api.v1", "::wire::proto::message_api")
        .extern_path(".xmtp.message_contents", "::wire::proto::message_contents")
        .compile_fds(descriptors)?;
    Ok(())
}
