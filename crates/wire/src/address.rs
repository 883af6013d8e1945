//! Wallet addresses.

use std::fmt;
use std::str::FromStr;

use crate::verify::keccak256;

/// The 20 bytes of a wallet's address. Shown with the mixed case of EIP-55, read in any case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address([u8; 20]);

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address is 40 hexadecimal digits, with or without 0x before them")]
pub struct AddressError;

impl Address {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// What [`Display`](fmt::Display) shows, without an allocation.
    pub fn ascii(&self) -> [u8; 42] {
        let mut text = *b"0x0000000000000000000000000000000000000000";
        let (_, digits) = text.split_at_mut(2);
        // The buffer has two digits for each byte.
        let _ = hex::encode_to_slice(self.0, digits);
        let hash = keccak256(digits);
        // A letter is upper case where the hash's digit at its place is 8 or more.
        for (pair, byte) in digits.chunks_exact_mut(2).zip(hash) {
            if let [high, low] = pair {
                if byte >= 0x80 {
                    high.make_ascii_uppercase();
                }
                if byte & 15 >= 8 {
                    low.make_ascii_uppercase();
                }
            }
        }
        text
    }

    /// `0x…` in lower case.
    pub fn lower(&self) -> String {
        format!("0x{}", hex::encode(self.0))
    }
}

impl From<[u8; 20]> for Address {
    fn from(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }
}

impl TryFrom<&[u8]> for Address {
    type Error = AddressError;

    fn try_from(bytes: &[u8]) -> Result<Self, AddressError> {
        bytes.try_into().map(Self).map_err(|_| AddressError)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&String::from_utf8_lossy(&self.ascii()))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let mut bytes = [0; 20];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| AddressError)?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of EIP-55 itself.
    #[test]
    fn is_written_as_eip55_says() {
        for text in [
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        ] {
            let address: Address = text.to_lowercase().parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(address.lower(), text.to_lowercase());
            assert_eq!(text[2..].to_uppercase().parse(), Ok(address));
        }
    }

    #[test]
    fn refuses_what_is_no_address() {
        for text in ["", "0x", "vitalik.eth", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe"] {
            assert_eq!(text.parse::<Address>(), Err(AddressError), "{text}");
        }
    }
}
