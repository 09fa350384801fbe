//! What a request to the API server is about, as the audit log would tell it. Pure.

use http::{HeaderMap, Method, Uri};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: &'static str,
    /// With its subresource: `pods`, `pods/status`. Empty for what is no resource, such as `/version`.
    pub resource: String,
    pub group: String,
    pub namespace: String,
    pub name: String,
    pub path: String,
    pub user_agent: String,
}

impl Request {
    pub(super) fn new(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let user_agent = headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok());
        let mut parts = uri.path().trim_matches('/').split('/');
        let group = match parts.next() {
            Some("api") => Some(String::new()),
            Some("apis") => parts.next().map(str::to_owned),
            _ => None,
        };
        let _version = parts.next();
        let mut rest: Vec<&str> = if group.is_some() { parts.collect() } else { Vec::new() };
        let mut namespace = String::new();
        // `namespaces/x` alone is the namespace itself.
        if rest.len() > 2 && rest[0] == "namespaces" && !matches!(rest[2], "status" | "finalize") {
            rest[1].clone_into(&mut namespace);
            rest.drain(..2);
        }
        let mut rest = rest.into_iter();
        let resource = rest.next().unwrap_or_default().to_owned();
        let name = rest.next().unwrap_or_default().to_owned();
        let resource = match rest.next() {
            Some(subresource) => format!("{resource}/{subresource}"),
            None => resource,
        };
        let watches = uri.query().is_some_and(|query| {
            query.split('&').any(|pair| matches!(pair, "watch" | "watch=true" | "watch=1"))
        });
        let verb = match (method.as_str(), name.is_empty()) {
            ("GET", _) if watches => "watch",
            ("GET", true) => "list",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", true) => "deletecollection",
            ("DELETE", false) => "delete",
            _ => "get",
        };
        Self {
            verb,
            resource,
            group: group.unwrap_or_default(),
            namespace,
            name,
            path: uri.path().to_owned(),
            user_agent: user_agent.unwrap_or_default().to_owned(),
        }
    }

    pub fn is(&self, verb: &str, resource: &str) -> bool {
        self.verb == verb && self.resource == resource
    }

    /// What changes something that lasts: no event, no lease, no review.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb, "get" | "list" | "watch")
            && !matches!(self.resource.as_str(), "events" | "leases")
            && !self.resource.ends_with("reviews")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &Method, uri: &str) -> (&'static str, String, String, String, String) {
        let request = Request::new(method, &uri.parse().unwrap(), &HeaderMap::new());
        (request.verb, request.group, request.namespace, request.resource, request.name)
    }

    fn expected(
        verb: &'static str,
        group: &str,
        namespace: &str,
        resource: &str,
        name: &str,
    ) -> (&'static str, String, String, String, String) {
        (verb, group.to_owned(), namespace.to_owned(), resource.to_owned(), name.to_owned())
    }

    #[test]
    fn paths_are_read_as_the_api_server_reads_them() {
        let get = Method::GET;
        assert_eq!(read(&get, "/api/v1/namespaces/n/pods"), expected("list", "", "n", "pods", ""));
        assert_eq!(
            read(&get, "/api/v1/pods?watch=true&resourceVersion=1"),
            expected("watch", "", "", "pods", "")
        );
        assert_eq!(read(&get, "/api/v1/namespaces/n"), expected("get", "", "", "namespaces", "n"));
        assert_eq!(
            read(
                &Method::PATCH,
                "/apis/gadgetcode.dev/v1alpha1/namespaces/n/chatsessions/x/status?fieldManager=o"
            ),
            expected("patch", "gadgetcode.dev", "n", "chatsessions/status", "x")
        );
        assert_eq!(
            read(&Method::DELETE, "/api/v1/namespaces/n/pods/p"),
            expected("delete", "", "n", "pods", "p")
        );
        assert_eq!(read(&get, "/version"), expected("list", "", "", "", ""));
    }
}
