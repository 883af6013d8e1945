use store::read::Welcome;

use super::{envelope, installation::Installation};
use crate::{
    exec::{ID, Statements, Table, object},
    node_id::NodeId,
    paging::connection,
    scalars::{DateTime, Hex},
};

object!(
    Welcome,
    Table::new("Welcome", "The V3/V4 invitation: an installation is told how to join a group.")
        .implements("Node")
        .member_of("Payload")
        .leaf("id", ID, |welcome: &Welcome| {
            NodeId::Welcome(welcome.digest, welcome.published_ns)
        })
        .inline(
            "installation",
            "Whose topic it stands on. One that is sealed with a symmetric key, to which pointers point, stands under a key \
             that is no installation's.",
            |welcome| Installation { key: welcome.installation }
        )
        .leaf("publishedAt", "The time of its envelope, by the node's clock.", |welcome| {
            DateTime(welcome.published_ns)
        })
        .leaf(
            "wrapperAlgorithm",
            "How it is sealed: CURVE25519, XWING_MLKEM_768_DRAFT_6, SYMMETRIC_KEY, UNSPECIFIED, or UNKNOWN_ and a number.",
            |welcome| welcome.wrapper_algorithm.name().into_owned()
        )
        .leaf(
            "hpkePublicKey",
            "The key that it is sealed for; null where a symmetric key seals it.",
            |welcome| welcome.hpke_public_key.clone().map(Hex)
        )
        .leaf("isPointer", "Does it only say where the welcome is?", |welcome| welcome.is_pointer)
        .leaf("size", "Bytes of the sealed part.", |welcome| welcome.size)
        .load(
            "envelope",
            "What it came in.",
            Statements::of(1),
            async |call, welcomes: &[Welcome], _: ()| {
                envelope::at(call, welcomes.iter().map(|welcome| welcome.position)).await
            }
        )
);
connection!(Welcome, "WelcomeConnection", "WelcomeEdge");
