//! The network's protobuf messages, generated from `schema/proto`. Byte fields are slices of the
//! buffer that was decoded, not copies.

// References between packages are relative: the modules must nest as the packages do.
#[expect(missing_docs, reason = "generated: oneof arms and enum values come without comments")]
mod xmtp {
    pub(super) mod message_api {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/xmtp.message_api.v1.rs"));
        }
    }
    pub mod message_contents {
        include!(concat!(env!("OUT_DIR"), "/xmtp.message_contents.rs"));
    }
    pub(super) mod mls {
        pub(crate) mod api {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/xmtp.mls.api.v1.rs"));
            }
        }
    }
}

pub use xmtp::message_api::v1 as message_api;
pub use xmtp::message_contents;
pub use xmtp::mls::api::v1 as mls_api;
