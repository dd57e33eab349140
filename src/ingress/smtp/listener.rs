//! Accepts connections, within limits, and gives each a task.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tracing::warn;

use crate::ingress::smtp::connection::Connection;
use crate::ingress::smtp::{ListenerConfig, ListenerTls, Service, replies};
use crate::shutdown::Tasks;
use crate::submission::limits::{self, Limits};
use crate::telemetry::liveness::Pulse;

/// A bound socket. Connections wait in it until [`Listener::run`].
pub struct Listener {
    socket: TcpListener,
    config: ListenerConfig,
}

impl Listener {
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(config: ListenerConfig) -> io::Result<Self> {
        Ok(Self {
            socket: TcpListener::bind(config.address()).await?,
            config,
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
        let mut beat = tokio::time::interval(Pulse::INTERVAL);
        loop {
            let (stream, client) = tokio::select! {
                biased;
                () = tasks.draining().cancelled() => return,
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
            let client = client.ip().to_canonical();
            service.metrics.connections.inc();
            match connections.admit(client) {
                Ok(slot) => self.serve(stream, client, &service, &tasks, slot),
                Err(limit) => {
                    let refused = &service.metrics.refused_connections;
                    refused.with_label_values(&[limit]).inc();
                    self.refuse(&stream);
                }
            }
        }
    }

    fn serve(
        &self,
        stream: TcpStream,
        client: IpAddr,
        service: &Arc<Service>,
        tasks: &Tasks,
        slot: Slot,
    ) {
        // Replies are small and waited for. A socket that refuses the option still works.
        let _ = stream.set_nodelay(true);
        let connection = Connection::new(Arc::clone(service), &self.config, client, tasks.clone());
        let active = service.metrics.active.clone();
        tasks.spawn(async move {
            let _active = Active::new(active);
            let _slot = slot;
            connection.run(stream).await;
        });
    }

    /// Says why, without a task and without waiting: a fresh socket has room for one line. Under
    /// TLS there is nobody yet to say it to.
    fn refuse(&self, stream: &TcpStream) {
        if self.config.tls != ListenerTls::Implicit {
            let _ = stream.try_write(&replies::too_many_connections());
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
    limits: Limits,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    per_ip: HashMap<IpAddr, usize>,
}

impl Connections {
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            open: Mutex::default(),
        })
    }

    /// A place for a connection, or the name of the limit that it is over.
    fn admit(self: &Arc<Self>, client: IpAddr) -> Result<Slot, &'static str> {
        let network = limits::network(client);
        let limits = &self.limits;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if limits.connections != 0 && open.total >= limits.connections {
            return Err("connections");
        }
        let from_client = open.per_ip.get(&network).copied().unwrap_or(0);
        let bounded = limits.connections_per_ip != 0 && !limits.exempts(client);
        if bounded && from_client >= limits.connections_per_ip {
            return Err("connections_per_ip");
        }
        open.total += 1;
        open.per_ip.insert(network, from_client + 1);
        Ok(Slot {
            connections: Arc::clone(self),
            network,
        })
    }
}

/// A connection's place; it is free again when this is dropped.
#[derive(Debug)]
struct Slot {
    connections: Arc<Connections>,
    network: IpAddr,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let open = self.connections.open.lock();
        let mut open = open.unwrap_or_else(PoisonError::into_inner);
        open.total -= 1;
        if let Some(count) = open.per_ip.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                open.per_ip.remove(&self.network);
            }
        }
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(connections: usize, connections_per_ip: usize) -> Arc<Connections> {
        Connections::new(Limits {
            connections,
            connections_per_ip,
            ..Limits::default()
        })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let connections = connections(2, 1);
        let one = connections.admit(address("192.0.2.1")).unwrap();
        assert_eq!(
            connections.admit(address("192.0.2.1")).err(),
            Some("connections_per_ip")
        );
        let _other = connections.admit(address("192.0.2.2")).unwrap();
        assert_eq!(
            connections.admit(address("192.0.2.3")).err(),
            Some("connections")
        );
        drop(one);
        assert!(connections.admit(address("192.0.2.1")).is_ok());
        assert_eq!(connections.open.lock().unwrap().per_ip.len(), 1);
    }

    #[test]
    fn exempt_networks_have_no_limit_per_address() {
        let connections = connections(3, 1);
        let slots: Vec<_> = (0..3)
            .map(|_| connections.admit(address("127.0.0.1")))
            .collect();
        assert!(slots.iter().all(Result::is_ok));
        assert!(connections.admit(address("127.0.0.1")).is_err());
    }
}
