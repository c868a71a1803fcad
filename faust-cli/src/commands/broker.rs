//! `broker`: runs only the embedded broker, so that workers can start and stop independently of it.

use std::time::Duration;

use faust_core::config::BrokerUrl;
use faust_core::local::{Connection, HostKind};

use crate::context::Context;
use crate::failure::Failure;
use crate::signals::Signals;

/// Options of `broker`: none. The settings determine its data directory and preferred port.
#[derive(clap::Args, Debug)]
pub(crate) struct BrokerArgs {}

pub(crate) async fn run(_: BrokerArgs, mut context: Context) -> Result<(), Failure> {
    if cfg!(not(feature = "embedded")) {
        return Err(Failure::error("the embedded broker is not compiled in: build with the feature `embedded`"));
    }
    let mut signals = Signals::listen()?;
    let settings = context.resolve()?.settings;
    if let Some(url @ BrokerUrl::Kafka(_)) = &settings.broker {
        return Err(Failure::error(format!(
            "`broker` runs the embedded broker, but the setting `broker` names another broker ({url}): unset it"
        )));
    }
    let connection = Connection::host(&settings, HostKind::Broker).await?;
    if !connection.is_host() {
        let place = connection.describe();
        return Err(Failure::error(format!("a broker of app `{}` is already running: {place}", settings.id)));
    }
    connection.notices().iter().for_each(|notice| context.out.note(notice));
    // The address is the only data that this command prints: `FAUST_BROKER=$(app broker | head -1)`.
    context.out.text(connection.bootstrap())?;
    signals.next().await;
    context.out.note("the broker is shutting down; its data is kept");
    Ok(connection.close(None, Duration::ZERO).await?)
}
