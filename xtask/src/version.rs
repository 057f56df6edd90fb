//! Versions as programs print them. In: a line of `--version` output. Out: numbers that can be compared.

use std::fmt;

/// Major and minor; what follows does not decide anything here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
}

impl Version {
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// The first number in `text`, with the one after its dot (0 when there is none): `go1.26.8` is 1.26.
    pub fn find(text: &str) -> Option<Self> {
        let start = text.find(|c: char| c.is_ascii_digit())?;
        let mut numbers = text[start..].split('.').map(leading_number);
        let major = numbers.next()??;
        Some(Self {
            major,
            minor: numbers.next().flatten().unwrap_or(0),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The LLVM major in what `rustc --version --verbose` prints.
pub fn llvm_major(verbose: &str) -> Option<u32> {
    let line = verbose
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version:"))?;
    Version::find(line).map(|version| version.major)
}

fn leading_number(text: &str) -> Option<u32> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_programs_print_them() {
        let cases = [
            ("rustc 1.96.0 (ac68faa20 2026-05-25)", Version::new(1, 96)),
            ("go version go1.26.8 linux/amd64", Version::new(1, 26)),
            ("go version go1.27rc1 linux/amd64", Version::new(1, 27)),
            ("v20.20.2", Version::new(20, 20)),
            ("javac 17.0.15", Version::new(17, 0)),
            ("javac 25", Version::new(25, 0)),
            ("gcc (Debian 12.2.0-14+deb12u1) 12.2.0", Version::new(12, 2)),
        ];
        for (text, version) in cases {
            assert_eq!(Version::find(text), Some(version), "{text}");
        }
    }

    #[test]
    fn nothing_is_made_of_foreign_text() {
        for text in ["", "no number", "99999999999999999999"] {
            assert_eq!(Version::find(text), None, "{text}");
        }
    }

    #[test]
    fn order_is_by_number() {
        assert!(Version::new(1, 9) < Version::new(1, 22));
    }

    #[test]
    fn llvm_of_rustc() {
        assert_eq!(
            llvm_major("release: 1.96.0\nLLVM version: 22.1.8\n"),
            Some(22)
        );
        assert_eq!(llvm_major("release: 1.96.0\n"), None);
    }
}
