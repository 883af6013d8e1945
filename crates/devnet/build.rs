//! Generates the node's service from the network's own contract in `schema/proto`. The messages
//! themselves come from `wire`, so that an envelope is one type everywhere.

use std::error::Error;
use std::path::Path;

const ROOT: &str = "../../schema/proto";
const FILE: &str = "xmtp/message_api/v1/message_api.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={ROOT}/{FILE}");
    println!("cargo:rerun-if-changed=build.rs");
    let out = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    // The client goes to a folder of its own: the crate includes the server alone, its tests
    // include the client.
    for (folder, server) in [("server", true), ("client", false)] {
        let out = Path::new(&out).join(folder);
        std::fs::create_dir_all(&out)?;
        tonic_prost_build::configure()
            .build_server(server)
            .build_client(!server)
            .extern_path(".xmtp.message_api.v1", "::wire::proto::message_api")
            .extern_path(".xmtp.message_contents", "::wire::proto::message_contents")
            .out_dir(out)
            .compile_fds(protox::compile([FILE], [ROOT])?)?;
    }
    Ok(())
}
