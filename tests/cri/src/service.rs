//! One service of the runtime, reached through a unix socket.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use prost::Message;
use tokio::net::UnixStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// A connection; its copies share it.
#[derive(Clone)]
pub struct Service {
    grpc: Grpc<Channel>,
    name: &'static str,
    timeout: Option<Duration>,
}

impl Service {
    /// Connects to the runtime service.
    pub async fn runtime(endpoint: &str, timeout: Duration) -> Result<Self> {
        Self::connect("RuntimeService", "runtime", endpoint, timeout).await
    }

    /// Connects to the image service.
    pub async fn images(endpoint: &str, timeout: Duration) -> Result<Self> {
        Self::connect("ImageService", "image", endpoint, timeout).await
    }

    async fn connect(name: &'static str, kind: &str, endpoint: &str, timeout: Duration) -> Result<Self> {
        let Some(path) = endpoint.strip_prefix("unix://") else { bail!("{endpoint} is no unix socket") };
        if let Err(error) = UnixStream::connect(path).await {
            let said = error.to_string();
            let reason = said.split(" (os error").next().unwrap_or_default().to_lowercase();
            bail!(
                "validate service connection: validate CRI v1 {kind} API for endpoint {endpoint:?}: rpc error: code = Unavailable \
                 desc = connection error: desc = \"transport: Error while dialing: dial unix {path}: connect: {reason}\""
            );
        }
        let channel = Endpoint::from_shared(endpoint.to_owned())?.connect().await.with_context(|| format!("connect to {endpoint}"))?;
        Ok(Self { grpc: Grpc::new(channel).max_decoding_message_size(16 << 20), name, timeout: Some(timeout) })
    }

    /// The same with calls that may take any time.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.timeout = None;
        self
    }

    /// Calls a method. The runtime is told the timeout, too: it gives up at the same time.
    pub async fn call<Q, A>(&self, method: &str, question: Q) -> Result<A>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let path = PathAndQuery::try_from(format!("/runtime.v1.{}/{method}", self.name))?;
        let mut request = Request::new(question);
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        let mut grpc = self.grpc.clone();
        grpc.ready().await.with_context(|| format!("reach {}", self.name))?;
        let answer = grpc.unary(request, path, ProstCodec::<Q, A>::default()).await;
        answer.map(Response::into_inner).map_err(|status| anyhow!(told(&status)))
    }
}

/// In crictl's words. For a timeout that tonic notices before the runtime does, it has words of its own.
fn told(status: &Status) -> String {
    if status.message() == "Timeout expired" {
        return "rpc error: code = DeadlineExceeded desc = context deadline exceeded".to_owned();
    }
    format!("rpc error: code = {:?} desc = {}", status.code(), status.message())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::Nothing;

    #[test]
    fn a_runtime_that_does_not_answer_is_told_as_a_deadline() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("silent.sock");
        let _silent = std::os::unix::net::UnixListener::bind(&path)?;
        let endpoint = format!("unix://{}", path.display());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answer: Result<Nothing> = runtime.block_on(async {
            let images = Service::images(&endpoint, Duration::from_millis(1)).await?;
            images.call("ListImages", Nothing {}).await
        });
        let Err(error) = answer else { bail!("something answered") };
        assert_eq!(error.to_string(), "rpc error: code = DeadlineExceeded desc = context deadline exceeded");
        Ok(())
    }

    #[test]
    fn a_socket_that_is_not_there_is_told_as_crictl_tells_it() -> Result<()> {
        let connect = Service::images("unix:///lab/run/nosuch.sock", Duration::from_secs(2));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let Err(error) = runtime.block_on(connect) else { bail!("something answered") };
        for recorded in [
            include_str!("../../fixtures/1.6/crictl-nosocket.err"),
            include_str!("../../fixtures/1.7/crictl-nosocket.err"),
            include_str!("../../fixtures/2.1/crictl-nosocket.err"),
        ] {
            let expected = format!("level=error msg={:?}", error.to_string());
            assert!(recorded.contains(&expected), "{expected} in {recorded}");
        }
        Ok(())
    }
}
