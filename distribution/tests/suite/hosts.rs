// SPDX-License-Identifier: Apache-2.0
//! hosts.toml and certificates by host.

use std::fs;
use std::path::Path;

use distribution::{ClientBuilder, Credential, ErrorKind, HostTls, Hosts, Registries, Source, Target};
use image_spec::Digest;

use crate::image::{assert_error, image, pull, registry, tag};
use crate::server::{Authority, Reply, Server, wary};

async fn honest() -> Server {
    Server::start(|asked| image().serve(asked)).await
}

/// Serves whatever the query.
async fn with_queries() -> Server {
    Server::start(|asked| {
        let mut asked = asked.clone();
        asked
            .path
            .truncate(asked.path.find('?').unwrap_or(asked.path.len()));
        image().serve(&asked)
    })
    .await
}

/// A client with a hosts.toml for this registry.
fn client(last: &Server, toml: &str) -> ClientBuilder {
    last.client()
        .hosts(Hosts::new().config(&last.host(), toml).unwrap())
}

#[tokio::test]
async fn hosts_are_asked_in_the_order_of_the_file_and_told_whose_name_it_is() {
    let last = honest().await;
    let mirror = Server::start(|asked| {
        let mut asked = asked.clone();
        asked
            .path
            .truncate(asked.path.find('?').unwrap_or(asked.path.len()));
        match asked.path.starts_with("/b/") {
            true => Reply::error(404, "not here"),
            false => image().serve(&asked),
        }
    })
    .await;
    let host = mirror.host();
    // In an order that no sorted map has, nor its reverse.
    let toml = format!(
        "[host.\"http://{host}/b\"]\n[host.\"http://{host}/a/v2\"]\noverride_path = true\n\
         [host.\"http://{host}/c\"]\n"
    );
    for toml in [
        toml.clone(),
        format!("server = \"http://{}\"\n{toml}", last.host()),
    ] {
        let before = mirror.paths().len();
        let client = client(&last, &toml).build().unwrap();
        pull(&registry(&client, &last.host())).await.unwrap();
        let both = |path: &String| ["b", "a"].map(|part| format!("/{part}{path}?ns={}", last.host()));
        let want: Vec<String> = image().paths("ns/app").iter().flat_map(both).collect();
        assert_eq!(mirror.paths()[before..], want);
        assert!(last.paths().is_empty());
    }
}

#[tokio::test]
async fn capabilities_say_what_a_host_is_asked_for() {
    let (mirror, last) = (with_queries().await, honest().await);
    for (capabilities, at_mirror) in [
        ("[\"pull\", \"resolve\"]", 3),
        ("[\"pull\", \"push\"]", 2),
        ("[\"resolve\"]", 1),
        ("[]", 0),
    ] {
        let (before, many) = (mirror.paths().len(), last.paths().len());
        let toml = format!(
            "[host.\"http://{}\"]\ncapabilities = {capabilities}",
            mirror.host()
        );
        let client = client(&last, &toml).build().unwrap();
        pull(&registry(&client, &last.host())).await.unwrap();
        assert_eq!(mirror.paths().len() - before, at_mirror, "{capabilities}");
        assert_eq!(last.paths().len() - many, 3 - at_mirror, "{capabilities}");
    }
}

#[tokio::test]
async fn a_server_takes_the_place_of_the_registry() {
    let (server, last) = (with_queries().await, honest().await);
    let toml = format!(
        "server = \"http://{}/deep\"\ncapabilities = [\"pull\"]",
        server.host()
    );
    let client = client(&last, &toml).build().unwrap();
    let source = registry(&client, &last.host());
    assert_error(
        source.document(&tag()).await,
        ErrorKind::NotFound,
        "leaves no place",
    );
    let digest = Digest::sha256(&image().manifest);
    source.document(&Target::Digest(digest)).await.unwrap();
    let want = format!("/deep/v2/ns/app/manifests/{digest}?ns={}", last.host());
    assert_eq!(server.paths(), [want]);
    assert_eq!(last.connections(), 0);
}

#[tokio::test]
async fn headers_go_to_their_host_only() {
    let storage = honest().await;
    let store = storage.host();
    let mirror = Server::start(move |asked| {
        let path = asked.path.split('?').next().unwrap();
        Reply::redirect(307, format!("http://{store}{path}"))
    })
    .await;
    let last = honest().await;
    let toml = format!(
        "[host.\"http://{}\".header]\nx-one = \"1\"\nx-two = [\"2\", \"3\"]",
        mirror.host()
    );
    let client = client(&last, &toml).plain_http(&storage.host()).build().unwrap();
    pull(&registry(&client, &last.host())).await.unwrap();
    assert_eq!(mirror.asked()[0].header("x-one"), Some("1"));
    let two = mirror.asked()[0].headers.clone();
    assert_eq!(two.iter().filter(|(name, _)| name == "x-two").count(), 2);
    assert_eq!(storage.asked().len(), 3);
    assert!(
        storage
            .asked()
            .iter()
            .all(|asked| asked.header("x-one").is_none())
    );
}

#[tokio::test]
async fn a_plain_mirror_elsewhere_serves_digests_only_and_sees_no_credential() {
    let (mirror, last) = (with_queries().await, honest().await);
    // The same machine, but no loopback address.
    let name = format!("0.0.0.0:{}", mirror.address.port());
    let toml = format!("[host.\"http://{name}\"]");
    let secret = Credential::basic("u", "p");
    let builder = || client(&last, &toml).credential(&name, secret.clone());
    pull(&registry(&builder().build().unwrap(), &last.host()))
        .await
        .unwrap();
    assert_eq!((mirror.paths().len(), last.paths().len()), (2, 1));
    let obeying = builder().obey_insecure().build().unwrap();
    pull(&registry(&obeying, &last.host())).await.unwrap();
    assert_eq!((mirror.paths().len(), last.paths().len()), (5, 1));

    let asking = Server::start(|asked| match asked.header("authorization") {
        Some(_) => image().serve(asked),
        None => Reply::challenge("Basic realm=\"r\""),
    })
    .await;
    let name = format!("0.0.0.0:{}", asking.address.port());
    let toml = format!("[host.\"http://{name}\"]");
    let client = client(&last, &toml).credential(&name, secret).build().unwrap();
    pull(&registry(&client, &last.host())).await.unwrap();
    assert!(
        asking
            .asked()
            .iter()
            .all(|asked| asked.header("authorization").is_none())
    );
}

#[test]
fn malformed_hosts_are_refused_with_their_reason() {
    for (toml, part) in [
        ("server = 1", "not a hosts.toml"),
        ("server = \"ftp://a\"", "not a host's URL"),
        ("server = \"https://u:p@a\"", "not a host's URL"),
        ("[host.\"https://a/../b\"]", "not a host's URL"),
        ("[host.\"https://a?x=y\"]", "not a host's URL"),
        (
            "[host.\"https://a\"]\ncapabilities = [\"fly\"]",
            "unknown capability",
        ),
        ("[host.\"https://a\"]\nskip_verify = 1", "not a hosts.toml"),
        (
            "[host.\"https://a\"]\nca = \"a.pem\"",
            "a file cannot be named here",
        ),
        (
            "[host.\"https://a\".header]\nhost = \"b\"",
            "not a header to send",
        ),
        (
            "[host.\"https://a\".header]\nx = \"b\\nc: d\"",
            "not a header to send",
        ),
        (
            "[host.\"https://a\".header]\n\"x y\" = \"b\"",
            "not a header to send",
        ),
    ] {
        assert_error(Hosts::new().config("a", toml), ErrorKind::Invalid, part);
    }
    let large = "#".repeat((256 << 10) + 1);
    assert_error(
        Hosts::new().config("a", &large),
        ErrorKind::TooLarge,
        "longer than",
    );
    let many: String = (0..33).map(|n| format!("[host.\"https://h{n}\"]\n")).collect();
    assert_error(
        Hosts::new().config("a", &many),
        ErrorKind::TooLarge,
        "more than 32",
    );
}

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(name), bytes).unwrap();
}

#[tokio::test]
async fn a_registry_gets_its_own_authority_and_our_certificate() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let (certificate, key) = clients.client();
    let server = Server::start_tls(servers.server(Some(&clients), &[]), |asked| image().serve(asked)).await;
    let port = server.address.port();
    // As podman, docker and containerd keep them.
    for folder in [server.host(), format!("127.0.0.1_{port}_")] {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join(folder);
        write(&own, "ca.crt", servers.pem());
        write(&own, "client.cert", &certificate);
        write(&own, "client.key", &key);
        write(&own, "README", "passed over");
        let client = wary()
            .hosts(Hosts::new().load(dir.path()).unwrap())
            .build()
            .unwrap();
        assert_eq!(
            pull(&registry(&client, &server.host())).await.unwrap(),
            image().layer
        );
        // Nobody else is believed by that authority.
        let outcome = registry(&client, &format!("localhost:{port}"))
            .document(&tag())
            .await;
        assert_error(outcome, ErrorKind::Tls, "no TLS session");
    }
    let tls = HostTls::new().ca_pem(servers.pem());
    let without = wary().hosts(Hosts::new().certificates(&server.host(), tls.clone()));
    let outcome = registry(&without.build().unwrap(), &server.host())
        .document(&tag())
        .await;
    assert!(outcome.is_err());
    let with = Hosts::new().certificates(&server.host(), tls.identity_pem(certificate, key));
    pull(&registry(&wary().hosts(with).build().unwrap(), &server.host()))
        .await
        .unwrap();
}

#[tokio::test]
async fn our_certificate_is_not_shown_to_storage_elsewhere() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let (certificate, key) = clients.client();
    let tls = HostTls::new()
        .ca_pem(servers.pem())
        .identity_pem(certificate, key);
    for demanding in [false, true] {
        let acceptor = servers.server(demanding.then_some(&clients), &[]);
        let storage = Server::start_tls(acceptor, |asked| image().serve(asked)).await;
        let store = format!("localhost:{}", storage.address.port());
        let server = Server::start_tls(servers.server(Some(&clients), &[]), move |asked| {
            match asked.path.contains("/blobs/") {
                true => Reply::redirect(307, format!("https://{store}{}", asked.path)),
                false => image().serve(asked),
            }
        })
        .await;
        let hosts = Hosts::new().certificates(&server.host(), tls.clone());
        let client = wary().hosts(hosts).build().unwrap();
        // The authority counts there, too; who we are is told to the registry alone.
        assert_eq!(pull(&registry(&client, &server.host())).await.is_ok(), !demanding);
    }
}

#[tokio::test]
async fn files_of_a_hosts_toml_lie_beside_it() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let (certificate, key) = clients.client();
    let both = [certificate.as_slice(), b"\n", key.as_slice()].concat();
    let mirror = Server::start_tls(servers.server(Some(&clients), &[]), |asked| {
        let mut asked = asked.clone();
        asked
            .path
            .truncate(asked.path.find('?').unwrap_or(asked.path.len()));
        image().serve(&asked)
    })
    .await;
    let last = honest().await;
    for client in [
        "\"both.pem\"",
        "[\"both.pem\"]",
        "[[\"c.pem\", \"k.pem\"]]",
        "[[\"both.pem\", \"\"]]",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("_default");
        write(&own.join("ca"), "ca.pem", servers.pem());
        write(&own, "both.pem", &both);
        write(&own, "c.pem", &certificate);
        write(&own, "k.pem", &key);
        let toml = format!(
            "[host.\"https://{}\"]\nca = [\"ca/ca.pem\"]\nclient = {client}",
            mirror.host()
        );
        write(&own, "hosts.toml", toml);
        let hosts = Hosts::new().load(dir.path()).unwrap();
        let client = last.client().hosts(hosts).build().unwrap();
        pull(&registry(&client, &last.host())).await.unwrap();
    }
    assert_eq!((mirror.paths().len(), last.paths().len()), (12, 0));
}

#[tokio::test]
async fn what_is_wrong_with_one_host_spoils_only_that_host() {
    let (certificate, key) = Authority::new().client();
    let dir = tempfile::tempdir().unwrap();
    // Only with a port is such a word a host.
    let folder = |name: &str| dir.path().join(format!("{name}:443"));
    write(&folder("toml"), "hosts.toml", "server = 1");
    write(&folder("no-key"), "a.cert", &certificate);
    write(&folder("no-cert"), "a.key", &key);
    write(&folder("other"), "a.cert", &certificate);
    write(&folder("other"), "a.key", Authority::new().client().1);
    write(&folder("junk"), "a.crt", "junk");
    for name in ["a", "b"] {
        write(&folder("two"), &format!("{name}.cert"), &certificate);
        write(&folder("two"), &format!("{name}.key"), &key);
    }
    write(
        &folder("missing"),
        "hosts.toml",
        "[host.\"https://a\"]\nca = \"absent.pem\"",
    );
    write(&folder("long"), "ca.crt", vec![b' '; (4 << 20) + 1]);
    let hosts = Hosts::new().load(dir.path()).unwrap();
    let last = honest().await;
    let client = last.client().hosts(hosts).build().unwrap();
    for (host, part) in [
        ("toml", "hosts.toml"),
        ("no-key", "a.key` beside it"),
        ("no-cert", "a.cert` beside it"),
        ("other", "do not fit"),
        ("junk", "no certificate"),
        ("two", "two client certificates"),
        ("missing", "absent.pem"),
        ("long", "longer than"),
    ] {
        let name = format!("{host}:443/a");
        assert_error(client.registry(&name.parse().unwrap()), ErrorKind::Invalid, part);
    }
    pull(&registry(&client, &last.host())).await.unwrap();
    Hosts::new().load(&folder("absent")).unwrap();
}

#[tokio::test]
async fn a_host_called_insecure_is_verified_unless_that_is_obeyed() {
    let tls = Server::start_tls(Authority::new().server(None, &[]), |asked| image().serve(asked)).await;
    let plain = honest().await;
    for server in [&tls, &plain] {
        let host = server.host();
        let conf = format!("[[registry]]\nlocation = \"{host}\"\ninsecure = true");
        let registries = Registries::parse(&conf).unwrap();
        let strict = wary().registries(registries.clone()).build().unwrap();
        let outcome = registry(&strict, &host).document(&tag()).await;
        assert_error(outcome, ErrorKind::Tls, "no TLS session");
        let asked = server.paths().len();
        let obeying = wary().registries(registries).obey_insecure().build().unwrap();
        assert_eq!(pull(&registry(&obeying, &host)).await.unwrap(), image().layer);
        assert_eq!((asked, server.paths().len()), (0, 3));
    }
    let host = tls.host();
    let toml = format!("server = \"https://{host}\"\nskip_verify = true");
    let hosts = Hosts::new().config(&host, &toml).unwrap();
    let strict = wary().hosts(hosts.clone()).build().unwrap();
    assert!(registry(&strict, &host).document(&tag()).await.is_err());
    let obeying = wary().hosts(hosts).obey_insecure().build().unwrap();
    registry(&obeying, &host).document(&tag()).await.unwrap();
}

#[tokio::test]
async fn connections_believed_in_one_way_are_not_used_in_another() {
    let servers = Authority::new();
    let server = Server::start_tls(servers.server(None, &[]), |asked| image().serve(asked)).await;
    let host = server.host();
    // Both names lead to one server, one of them without verification.
    let conf = format!(
        "[[registry]]\nprefix = \"a.example\"\nlocation = \"{host}\"\ninsecure = true\n\
         [[registry]]\nprefix = \"b.example\"\nlocation = \"{host}\""
    );
    let client = wary()
        .registries(Registries::parse(&conf).unwrap())
        .obey_insecure()
        .build()
        .unwrap();
    let registry = |name: &str| client.registry(&name.parse().unwrap()).unwrap();
    pull(&registry("a.example/ns/app")).await.unwrap();
    let outcome = registry("b.example/ns/app").document(&tag()).await;
    assert_error(outcome, ErrorKind::Tls, "no TLS session");
}
