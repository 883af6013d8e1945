//! Classifications of topics and payloads. Their codes are stored: never change one.

/// An enum whose values have a stable code for storage and a name for the API.
macro_rules! coded {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $code:literal $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum $name { $($(#[$value_doc])* $value = $code,)+ }

        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$value,)+];

            /// The number that is stored.
            pub const fn code(self) -> i16 {
                self as i16
            }

            /// The value that is stored as this number.
            pub const fn from_code(code: i16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$value),)+
                    _ => None,
                }
            }

            /// The name in the API.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text,)+ }
            }
        }
    };
}

coded! {
    /// Generations of the network.
    Generation {
        /// One conversation a pair of wallets.
        V1 = 1 "V1",
        /// Conversations opened by sealed invitations.
        V2 = 2 "V2",
        /// MLS groups.
        V3 = 3 "V3",
        /// MLS groups on decentralised nodes.
        V4 = 4 "V4",
    }
}

coded! {
    /// What a topic is for.
    TopicKind {
        /// A name of no known kind.
        Unknown = 0 "UNKNOWN",
        /// Key bundles of a wallet.
        Contact = 1 "CONTACT",
        /// First messages to a wallet, first generation.
        Intro = 2 "INTRO",
        /// Messages between two wallets, first generation.
        DirectMessage = 3 "DIRECT_MESSAGE",
        /// Invitations to and by a wallet.
        Invite = 4 "INVITE",
        /// Invitations to groups: an experiment of 2023.
        GroupInvite = 5 "GROUP_INVITE",
        /// Messages of a second-generation conversation.
        Conversation = 6 "CONVERSATION",
        /// A wallet's sealed private keys.
        PrivateStore = 7 "PRIVATE_STORE",
        /// A wallet's sealed preferences.
        Preferences = 8 "PREFERENCES",
        /// An MLS group.
        Group = 9 "GROUP",
        /// Welcomes of an installation.
        Welcome = 10 "WELCOME",
        /// Identity updates of an inbox.
        IdentityUpdates = 11 "IDENTITY_UPDATES",
        /// Key packages of an installation.
        KeyPackages = 12 "KEY_PACKAGES",
        /// What payers owe.
        PayerReports = 13 "PAYER_REPORTS",
        /// Nodes' signatures below such reports.
        PayerReportAttestations = 14 "PAYER_REPORT_ATTESTATIONS",
    }
}

coded! {
    /// What an envelope holds.
    PayloadKind {
        /// Nothing that could be understood.
        Undecodable = 0 "UNDECODABLE",
        /// How to write to a wallet.
        ContactBundle = 1 "CONTACT_BUNDLE",
        /// The opening of a conversation.
        Invite = 2 "INVITE",
        /// A first-generation message.
        MessageV1 = 3 "MESSAGE_V1",
        /// A second-generation message.
        MessageV2 = 4 "MESSAGE_V2",
        /// Sealed private keys.
        PrivateStore = 5 "PRIVATE_STORE",
        /// Sealed preferences.
        Preferences = 6 "PREFERENCES",
        /// A message of an MLS group.
        GroupMessage = 7 "GROUP_MESSAGE",
        /// An invitation of an installation to an MLS group.
        Welcome = 8 "WELCOME",
        /// A change of an inbox.
        IdentityUpdate = 9 "IDENTITY_UPDATE",
        /// How to add an installation to a group.
        KeyPackage = 10 "KEY_PACKAGE",
        /// What payers owe.
        PayerReport = 11 "PAYER_REPORT",
        /// A node's signature below such a report.
        PayerReportAttestation = 12 "PAYER_REPORT_ATTESTATION",
    }
}

coded! {
    /// What signatures prove about a payload.
    Verification {
        /// Every signature checks, and the wallet has a right to the topic.
        Verified = 1 "VERIFIED",
        /// Signatures check, but for another wallet than the topic's.
        WrongOwner = 2 "WRONG_OWNER",
        /// A signature or key is wrong.
        BadSignature = 3 "BAD_SIGNATURE",
        /// There is no signature to check.
        Unsigned = 4 "UNSIGNED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_lead_back_to_their_values() {
        macro_rules! check {
            ($($name:ident)+) => {$(
                for value in $name::ALL {
                    assert_eq!($name::from_code(value.code()), Some(*value));
                    let bare = value.as_str().replace('_', "").to_lowercase();
                    assert_eq!(bare, format!("{value:?}").to_lowercase());
                }
                assert_eq!($name::from_code(-1), None);
                assert_eq!($name::from_code(99), None);
            )+};
        }
        check!(Generation TopicKind PayloadKind Verification);
    }
}
