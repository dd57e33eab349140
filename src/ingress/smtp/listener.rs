//! Accepts connections, within limits, and gives each a task.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tracing::warn;

use crate::ingress::smtp::connection::Connection;
use crate::ingress::smtp::proxy_protocol::Source;
use crate::ingress::smtp::{ListenerConfig, ListenerTls, Service, proxied, replies};
use crate::shutdown::Tasks;
use crate::smtp::reply::{self, Reply};
use crate::submission::limits;
use crate::telemetry::liveness::Pulse;

/// A bound socket. Connections wait in it until [`Listener::run`].
pub struct Listener {
    socket: TcpListener,
    config: Arc<ListenerConfig>,
}

impl Listener {
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind(config: ListenerConfig) -> io::Result<Self> {
        let address = config.address();
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self {
            socket: socket.listen(BACKLOG)?,
            config: Arc::new(config),
        })
    }

    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    pub fn config(&self) -> &ListenerConfig {
        &self.config
    }

    /// Accepts until the drain begins; then the socket is closed.
    pub async fn run(
        self,
        service: Arc<Service>,
        connections: Arc<Connections>,
        tasks: Tasks,
        pulse: Pulse,
    ) {
        let reception = Reception {
            config: self.config,
            service,
            tasks,
        };
        let mut beat = tokio::time::interval(Pulse::INTERVAL);
        loop {
            let (stream, peer) = tokio::select! {
                biased;
                () = reception.tasks.draining().cancelled() => return,
                _ = beat.tick() => {
                    pulse.beat();
                    continue;
                }
                accepted = self.socket.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // Out of descriptors, mostly. The connection waits in the backlog.
                        warn!("error.detail" = %error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            // An IPv4 client of an IPv6 socket is still that client.
            let peer = peer.ip().to_canonical();
            reception.service.metrics.connections.inc();
            // Replies are small and waited for. A socket that refuses the option still works.
            let _ = stream.set_nodelay(true);
            match connections.admit() {
                Ok(place) => reception.receive(stream, peer, place),
                Err(limit) => reception.refuse(&stream, limit),
            }
        }
    }
}

/// How a listener meets its connections. Nothing here waits for a peer, save in a task.
#[derive(Clone)]
struct Reception {
    config: Arc<ListenerConfig>,
    service: Arc<Service>,
    tasks: Tasks,
}

impl Reception {
    fn receive(&self, stream: TcpStream, peer: IpAddr, place: Place) {
        if self.config.is_proxy(peer) {
            return self.spawn(self.clone().serve_proxied(stream, peer, place));
        }
        match place.of(peer) {
            Ok(place) => self.spawn(self.clone().serve(stream, peer, place)),
            // Without a task: there may be many of these.
            Err(limit) => self.refuse(&stream, limit),
        }
    }

    fn spawn(&self, serving: impl Future<Output = ()> + Send + 'static) {
        let active = self.service.metrics.active.clone();
        // Once in a box, lest the future around it holds its size twice.
        let serving = Box::pin(serving);
        self.tasks.spawn(async move {
            let _active = Active::new(active);
            serving.await;
        });
    }

    /// The limits per address are for the client, not for its load balancer.
    async fn serve_proxied(self, mut stream: TcpStream, proxy: IpAddr, place: Place) {
        let metrics = &self.service.metrics;
        let header = proxied::header(&mut stream, proxy, metrics);
        let Some(header) = self.tasks.draining().run_until_cancelled(header).await else {
            return self.say(&stream, &reply::SHUTTING_DOWN);
        };
        let client = match header {
            Some(Source::Client(client)) => client,
            Some(Source::Socket) => proxy,
            None => return,
        };
        match place.of(client) {
            Ok(place) => self.serve(stream, client, place).await,
            Err(limit) => self.refuse(&stream, limit),
        }
    }

    async fn serve(self, stream: TcpStream, client: IpAddr, _place: Place) {
        Connection::new(self.service, &self.config, client, self.tasks)
            .run(stream)
            .await;
    }

    fn refuse(&self, stream: &TcpStream, limit: &str) {
        let refused = &self.service.metrics.refused_connections;
        refused.with_label_values(&[limit]).inc();
        self.say(stream, &replies::TOO_MANY_CONNECTIONS);
    }

    /// Says why, without waiting: a fresh socket has room for one line. Under TLS there is nobody yet
    /// to say it to.
    fn say(&self, stream: &TcpStream, reply: &Reply) {
        if self.config.tls != ListenerTls::Implicit {
            let _ = stream.try_write(reply.to_string().as_bytes());
        }
    }
}

/// Counts a connection while it is there, even if its task panics.
struct Active(prometheus::IntGauge);

impl Active {
    fn new(gauge: prometheus::IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The connections of all listeners, within limits.
#[derive(Debug)]
pub struct Connections {
    limits: limits::InForce,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    per_ip: HashMap<IpAddr, usize>,
}

impl Connections {
    pub fn new(limits: limits::InForce) -> Arc<Self> {
        Arc::new(Self {
            limits,
            open: Mutex::default(),
        })
    }

    /// A place for a connection, or the name of the limit that it is over.
    fn admit(self: &Arc<Self>) -> Result<Place, &'static str> {
        let mut open = self.open();
        let limit = self.limits.now().connections;
        if limit != 0 && open.total >= limit {
            return Err("connections");
        }
        open.total += 1;
        Ok(Place {
            connections: Arc::clone(self),
            network: None,
        })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place; it is free again when this is dropped.
#[derive(Debug)]
struct Place {
    connections: Arc<Connections>,
    /// Whose it is, once that is known.
    network: Option<IpAddr>,
}

impl Place {
    /// Gives the place to a client that has none by this one, or names the limit that it is over.
    fn of(mut self, client: IpAddr) -> Result<Self, &'static str> {
        let network = limits::network(client);
        let limits = self.connections.limits.now();
        let bounded = limits.connections_per_ip != 0 && !limits.exempts(client);
        let mut open = self.connections.open();
        let from_client = open.per_ip.entry(network).or_default();
        if bounded && *from_client >= limits.connections_per_ip {
            return Err("connections_per_ip");
        }
        *from_client += 1;
        drop(open);
        self.network = Some(network);
        Ok(self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        open.total -= 1;
        if let Some(network) = self.network
            && let Some(count) = open.per_ip.get_mut(&network)
        {
            *count -= 1;
            if *count == 0 {
                open.per_ip.remove(&network);
            }
        }
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that wait to be accepted, as many as systems allow by default. Behind a rollout all clients
/// come back at once. One that finds no room believes to be connected and waits for the greeting, which
/// comes when its system tries again: after a second, or after many.
const BACKLOG: u32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(connections: usize, connections_per_ip: usize) -> Arc<Connections> {
        Connections::new(limits::InForce::new(limits::Limits {
            connections,
            connections_per_ip,
            ..limits::Limits::default()
        }))
    }

    fn admit(connections: &Arc<Connections>, client: &str) -> Result<Place, &'static str> {
        connections.admit()?.of(client.parse().unwrap())
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let connections = connections(2, 1);
        let one = admit(&connections, "192.0.2.1").unwrap();
        let refused = admit(&connections, "192.0.2.1");
        assert_eq!(refused.err(), Some("connections_per_ip"));
        let _other = admit(&connections, "192.0.2.2").unwrap();
        let refused = admit(&connections, "192.0.2.3");
        assert_eq!(refused.err(), Some("connections"));
        drop(one);
        assert!(admit(&connections, "192.0.2.1").is_ok());
        assert_eq!(connections.open().per_ip.len(), 1);
    }

    #[test]
    fn a_connection_whose_client_is_not_known_yet_has_a_place_of_nobody() {
        let connections = connections(2, 1);
        let (one, two) = (connections.admit().unwrap(), connections.admit().unwrap());
        assert_eq!(connections.admit().err(), Some("connections"));
        drop(one);
        assert!(connections.open().per_ip.is_empty());
        assert!(two.of("192.0.2.1".parse().unwrap()).is_ok());
        assert!(connections.open().per_ip.is_empty());
        assert_eq!(connections.open().total, 0);
    }

    #[test]
    fn exempt_networks_have_no_limit_per_address() {
        let connections = connections(3, 1);
        let places: Vec<_> = (0..3).map(|_| admit(&connections, "127.0.0.1")).collect();
        assert!(places.iter().all(Result::is_ok));
        assert!(admit(&connections, "127.0.0.1").is_err());
    }

    // Other systems hold the line shorter than a program asks for.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn clients_that_come_all_at_once_wait_in_line() {
        let listener = Listener::bind(ListenerConfig {
            host: [127, 0, 0, 1].into(),
            port: 0,
            ..ListenerConfig::default()
        });
        let address = listener.as_ref().unwrap().address().unwrap();
        let patience = Duration::from_secs(10);
        // Nobody accepts them yet.
        let waiting: io::Result<Vec<_>> = (0..500)
            .map(|_| std::net::TcpStream::connect_timeout(&address, patience))
            .collect();
        assert!(waiting.is_ok(), "{waiting:?}");
    }
}
