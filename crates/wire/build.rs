//! Generates the protobuf messages from `schema/proto`. No `protoc` is needed.

use std::error::Error;
use std::path::Path;

const FILES: [&str; 10] = [
    "xmtp/message_api/v1/message_api.proto",
    "xmtp/message_api/v1/authn.proto",
    "xmtp/message_contents/ciphertext.proto",
    "xmtp/message_contents/contact.proto",
    "xmtp/message_contents/content.proto",
    "xmtp/message_contents/invitation.proto",
    "xmtp/message_contents/message.proto",
    "xmtp/message_contents/private_data.proto",
    "xmtp/message_contents/public_key.proto",
    "xmtp/mls/api/v1/mls.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schema/proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(FILES, [&root])?;
    // Messages only: who calls nodes or plays one generates the stubs from the same files.
    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
