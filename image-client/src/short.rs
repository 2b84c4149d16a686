// SPDX-License-Identifier: Apache-2.0
//! Names without a registry.

use distribution::Registries;

use crate::name::{ImageName, NameError};

impl ImageName {
    /// What a name may stand for by the aliases and the search list of `registries.conf`, in the order in which to
    /// try; never empty. Where the configuration says nothing, and behind `docker://`, a name without a registry is
    /// Docker Hub's.
    ///
    /// # Errors
    /// Those of parsing a name, and [`Short`](NameError::Short) where the configuration leaves open which registry
    /// is meant and wants that to be told.
    pub fn candidates(text: &str, registries: &Registries) -> Result<Vec<Self>, NameError> {
        let name: Self = text.parse()?;
        if !matches!(name, Self::Registry(_)) || text.starts_with("docker://") {
            return Ok(vec![name]);
        }
        match registries.candidates(text) {
            Ok(None) => Ok(vec![name]),
            Ok(Some(found)) => Ok(found.into_iter().map(Self::Registry).collect()),
            Err(source) => Err(NameError::Short {
                text: text.to_owned(),
                source: Box::new(source),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_short_names_are_searched_for() {
        let registries = Registries::parse(
            "unqualified-search-registries = [\"a.example\", \"docker.io\"]\n[aliases]\nnginx = \"b.example/x/nginx\"",
        )
        .unwrap();
        let names = |text: &str| {
            let names = ImageName::candidates(text, &registries).unwrap();
            names
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        for (text, want) in [
            ("busybox:1", "a.example/busybox:1 docker.io/library/busybox:1"),
            ("nginx", "b.example/x/nginx:latest"),
            ("docker://nginx", "docker.io/library/nginx:latest"),
            ("c.example/nginx", "c.example/nginx:latest"),
            ("oci-layout:nginx", "oci-layout:nginx"),
        ] {
            assert_eq!(names(text), want, "{text}");
        }
        let none = ImageName::candidates("busybox", &Registries::default()).unwrap();
        assert_eq!(none[0].to_string(), "docker.io/library/busybox:latest");
    }

    #[test]
    fn what_is_ambiguous_is_refused_with_its_meanings() {
        let text =
            "short-name-mode = \"enforcing\"\nunqualified-search-registries = [\"a.example\", \"b.example\"]";
        let registries = Registries::parse(text).unwrap();
        let error = ImageName::candidates("busybox", &registries).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(
            source.contains("`a.example/busybox:latest`, `b.example/busybox:latest`"),
            "{source}"
        );
    }
}
