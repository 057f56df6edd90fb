//! By which routes a process serves, as its program gives them (Go: net/http.ServeMux).
//!
//! In: patterns as they are told, each with its name. Out: the route of a name, without method and host, as `http.route` has it.

use smol_str::SmolStr;

use crate::capture::event::RouteName;
use crate::hash::WordMap;

/// Routes of a process that are known (about 60 bytes each, and their text). Full: further ones are not.
const ROUTES_MAX: usize = 1000;

/// The routes of one process.
#[derive(Debug, Default)]
pub struct Routes {
    by_name: WordMap<RouteName, SmolStr>,
}

impl Routes {
    /// A pattern, `[METHOD ][HOST]/[PATH]`. What is none is left out.
    pub fn learn(&mut self, name: RouteName, pattern: &[u8]) {
        let is_known = self.by_name.contains_key(&name);
        let route = std::str::from_utf8(pattern).ok().and_then(route);
        if let Some(route) = route.filter(|_| is_known || self.by_name.len() < ROUTES_MAX) {
            self.by_name.insert(name, route.into());
        }
    }

    pub fn get(&self, name: RouteName) -> Option<SmolStr> {
        self.by_name.get(&name).cloned()
    }
}

/// Neither a method nor a host has a slash.
fn route(pattern: &str) -> Option<&str> {
    let path = pattern.get(pattern.find('/')?..)?;
    let is_text = !path.chars().any(char::is_control);
    is_text.then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(address: u64) -> RouteName {
        RouteName { address, length: 1 }
    }

    #[test]
    fn a_route_is_the_path_of_its_pattern() {
        let mut routes = Routes::default();
        let cases: [(&[u8], Option<&str>); 9] = [
            (b"GET /users/{id}", Some("/users/{id}")),
            (b"POST example.com/users/{id...}", Some("/users/{id...}")),
            (b"example.com/", Some("/")),
            (b"/", Some("/")),
            (b"/static/", Some("/static/")),
            (b"GET\t/{$}", Some("/{$}")),
            (b"none", None),
            (b"/\xff", None),
            (b"/a\nb", None),
        ];
        for (number, (pattern, route)) in cases.into_iter().enumerate() {
            routes.learn(name(number as u64), pattern);
            assert_eq!(routes.get(name(number as u64)).as_deref(), route);
        }
        assert_eq!(routes.get(name(99)), None);
        // Its text is another now.
        routes.learn(name(0), b"/other");
        assert_eq!(routes.get(name(0)).as_deref(), Some("/other"));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut routes = Routes::default();
        for address in 0..2 * ROUTES_MAX as u64 {
            routes.learn(name(address), b"/");
        }
        assert_eq!(routes.by_name.len(), ROUTES_MAX);
    }
}
