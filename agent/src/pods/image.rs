//! The name of a container's image, taken apart. In: a reference as a pod's specification has it. Out: its parts. Pure.

/// `[HOST[:PORT]/]PATH[:TAG][@DIGEST]` (the grammar of the `distribution/reference` library).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image<'a> {
    /// With the registry's host where it was written.
    pub name: &'a str,
    pub tag: Option<&'a str>,
    /// `sha256:…`
    pub digest: Option<&'a str>,
}

impl<'a> Image<'a> {
    /// Takes a reference apart.
    pub fn of(reference: &'a str) -> Self {
        let (rest, digest) = match reference.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (reference, None),
        };
        // Before the last slash a colon is that of a port.
        let path = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest[path..].split_once(':') {
            Some((last, tag)) => (&rest[..path + last.len()], Some(tag)),
            None => (rest, None),
        };
        Self { name, tag, digest }
    }

    /// Its version as the conventions calculate it: `TAG@DIGEST`, or the one of them that there is.
    pub fn version(&self) -> Option<String> {
        match (self.tag, self.digest) {
            (Some(tag), Some(digest)) => Some(format!("{tag}@{digest}")),
            (tag, digest) => digest.or(tag).map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_every_shape() {
        for (reference, name, tag, digest) in [
            ("nginx", "nginx", None, None),
            ("nginx:1.27", "nginx", Some("1.27"), None),
            ("host:5000/a/b", "host:5000/a/b", None, None),
            ("host:5000/a/b:v1", "host:5000/a/b", Some("v1"), None),
            ("a/b@sha256:0f", "a/b", None, Some("sha256:0f")),
            ("h:1/b:t@sha256:0f", "h:1/b", Some("t"), Some("sha256:0f")),
            ("", "", None, None),
        ] {
            let image = Image::of(reference);
            assert_eq!((image.name, image.tag, image.digest), (name, tag, digest));
        }
        let version = |reference| Image::of(reference).version();
        assert_eq!(version("a:1@sha256:0f").unwrap(), "1@sha256:0f");
        assert_eq!(version("a@sha256:0f").unwrap(), "sha256:0f");
        assert_eq!(version("a:1").unwrap(), "1");
        assert_eq!(version("a"), None);
    }
}
