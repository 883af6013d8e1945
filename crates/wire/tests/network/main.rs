//! The crate held against what clients really wrote: vectors, a capture and hostile bytes.

#[cfg(test)]
mod arbitrary;
#[cfg(test)]
mod capture;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod material;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod welcomes;
