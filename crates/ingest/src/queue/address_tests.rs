//! Addresses, TLS and virtual hosts against listeners of the test itself and against the real broker.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use super::testing::{broker_url, clean_up, queue};
use super::{Names, Queue};

/// The parts of the broker's address: user with password, host with port, virtual host.
fn broker() -> (String, String, String) {
    let url = broker_url();
    let rest = url.strip_prefix("amqp://").unwrap();
    let (user, rest) = rest.split_once('@').unwrap();
    let (host, vhost) = rest.split_once('/').unwrap();
    (user.to_owned(), host.to_owned(), vhost.to_owned())
}

/// A listener that passes every connection on to the broker, with TLS when it has a configuration for it.
async fn passes_on(address: &str, tls: Option<Arc<rustls::ServerConfig>>) -> u16 {
    let listener = TcpListener::bind(address).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (_, host, _) = broker();
    tokio::spawn(async move {
        while let Ok((mut outer, _)) = listener.accept().await {
            let (host, tls) = (host.clone(), tls.clone());
            tokio::spawn(async move {
                let mut inner = TcpStream::connect(host).await.unwrap();
                match tls {
                    Some(tls) => {
                        let acceptor = tokio_rustls::TlsAcceptor::from(tls);
                        if let Ok(mut outer) = acceptor.accept(outer).await {
                            copy_bidirectional(&mut outer, &mut inner).await.ok();
                        }
                    }
                    None => {
                        copy_bidirectional(&mut outer, &mut inner).await.ok();
                    }
                }
            });
        }
    });
    port
}

/// A port on which nothing listens.
async fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// An authority of its own: its certificate in PEM, and a server's configuration with a certificate that it signed.
fn private_authority() -> (String, Arc<rustls::ServerConfig>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = ["localhost".to_owned(), "::1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    (authority.pem(), Arc::new(config))
}

/// A queue that another test made, at another address.
fn at(queue: &Queue, url: &str) -> Queue {
    Queue::at(url, queue.names().clone(), queue.network()).unwrap()
}

#[tokio::test]
async fn a_broker_behind_a_private_authority_is_trusted_when_its_certificate_is_named() {
    let (pem, tls) = private_authority();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("my ca, ü.pem");
    std::fs::write(&file, pem).unwrap();
    let encoded: String =
        url::form_urlencoded::byte_serialize(file.to_str().unwrap().as_bytes()).collect();
    let (user, _, vhost) = broker();
    let queue = queue().await;
    let mut hosts = Vec::new();
    for (address, host) in [("127.0.0.1:0", "localhost"), ("[::1]:0", "[::1]")] {
        hosts.push(format!("{host}:{}", passes_on(address, Some(tls.clone())).await));
    }
    for host in &hosts {
        let trusting = format!("amqps://{user}@{host}/{vhost}?cacertfile={encoded}");
        assert_eq!(at(&queue, &trusting).depth().await.unwrap().ready, 0);
        let error =
            at(&queue, &format!("amqps://{user}@{host}/{vhost}")).depth().await.unwrap_err();
        assert!(error.to_string().contains("cacertfile"), "{error}");
    }
    clean_up(&queue).await;
}

#[tokio::test]
async fn hosts_are_tried_in_turn_and_the_one_that_answered_is_remembered() {
    let (user, _, vhost) = broker();
    let queue = queue().await;
    let (closed, open) = (closed_port().await, passes_on("[::1]:0", None).await);
    let several = at(&queue, &format!("amqp://{user}@127.0.0.1:{closed},[::1]:{open}/{vhost}"));
    several.depth().await.unwrap();
    assert_eq!(several.preferred.load(std::sync::atomic::Ordering::Relaxed), 1);
    several.declare().await.unwrap();

    let also_closed = closed_port().await;
    let url = format!("amqp://{user}@127.0.0.1:{closed},127.0.0.1:{also_closed}/{vhost}");
    let error = at(&queue, &url).depth().await.unwrap_err().to_string();
    for port in [closed, also_closed] {
        assert!(error.contains(&format!("amqp://127.0.0.1:{port}: ")), "{error}");
    }
    assert!(!error.contains(user.split_once(':').unwrap().1), "{error}");
    clean_up(&queue).await;
}

#[tokio::test]
async fn an_ipv6_literal_is_the_host_that_is_dialled() {
    let (user, _, vhost) = broker();
    let queue = queue().await;
    let open = passes_on("[::1]:0", None).await;
    at(&queue, &format!("amqp://{user}@[::1]:{open}/{vhost}")).depth().await.unwrap();
    clean_up(&queue).await;
}

/// A lone `/` names the virtual host with the empty name; the broker of the tests has none, which is an error.
#[tokio::test]
async fn an_empty_virtual_host_is_asked_for_and_explained_when_it_is_missing() {
    let (user, host, _) = broker();
    let queue = Queue::at(&format!("amqp://{user}@{host}/"), Names::default(), "test").unwrap();
    let error = queue.depth().await.unwrap_err().to_string();
    assert!(error.contains("a path of a lone / names"), "{error}");
}

#[tokio::test]
async fn two_prefixes_on_one_broker_do_not_meet() {
    let (first, second) = (queue().await, queue().await);
    assert_ne!(first.names(), second.names());
    let connection = first.open("test").await.unwrap();
    let channel = super::channel(&connection).await.unwrap();
    channel
        .basic_publish(
            super::topology::short(&first.names().exchange),
            super::topology::INDEX.into(),
            Default::default(),
            b"x",
            Default::default(),
        )
        .await
        .unwrap();
    for _ in 0..600 {
        if first.depth().await.unwrap().ready == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(first.depth().await.unwrap().ready, 1);
    assert_eq!(second.depth().await.unwrap().ready, 0);
    super::close(&connection).await;
    clean_up(&first).await;
    clean_up(&second).await;
}
