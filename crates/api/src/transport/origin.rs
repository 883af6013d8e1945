//! Which pages of other sites may ask.

/// Whom browsers may let ask from pages of other sites. Cookies are not used here, so that a page can read only what
/// everybody can; where an instance is not for everybody, its operator says which pages are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cors {
    /// Nobody but the pages of this server.
    #[default]
    SameOrigin,
    /// Everybody, without credentials.
    Any,
    /// These origins, as browsers spell them: `https://app.example`.
    List(Vec<String>),
}

impl Cors {
    /// From a list as operators write it: `*` is everybody, nothing is nobody else.
    #[must_use]
    pub fn from_origins(origins: &[String]) -> Cors {
        if origins.iter().any(|origin| origin.trim() == "*") {
            return Cors::Any;
        }
        let list: Vec<String> = origins
            .iter()
            .map(|origin| origin.trim().trim_end_matches('/').to_ascii_lowercase())
            .filter(|origin| !origin.is_empty())
            .collect();
        if list.is_empty() { Cors::SameOrigin } else { Cors::List(list) }
    }

    /// What `Access-Control-Allow-Origin` says to a page of this origin; nothing when it may not read answers.
    pub(crate) fn allows<'a>(&self, origin: &'a str) -> Option<&'a str> {
        match self {
            Cors::SameOrigin => None,
            Cors::Any => Some("*"),
            Cors::List(list) => {
                list.iter().any(|known| known.eq_ignore_ascii_case(origin)).then_some(origin)
            }
        }
    }

    /// May a page of this origin open a socket? Browsers do not ask before they do, so the server must look.
    pub(crate) fn may_connect(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        // Only browsers send an origin, and all of them do.
        let Some(origin) = origin else { return true };
        is_own(origin, host) || self.allows(origin).is_some()
    }
}

/// Is this the origin of our own pages?
fn is_own(origin: &str, host: Option<&str>) -> bool {
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    matches!((authority, host), (Some(authority), Some(host)) if authority.eq_ignore_ascii_case(host))
}
