//! `broker`: the embedded broker alone, for workers that come and go.

use std::time::Duration;

use faust_core::config::BrokerUrl;
use faust_core::local::{Connection, HostKind};

use crate::context::Context;
use crate::failure::Failure;
use crate::signals::Signals;

/// Nothing to choose: the settings say where its data lies and which port it would like.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

pub(crate) async fn run(_: Args, mut context: Context) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let settings = context.resolve()?.settings;
    if let Some(url @ BrokerUrl::Kafka(_)) = &settings.broker {
        return Err(Failure::error(format!(
            "`broker` runs the embedded broker, but the setting `broker` names another one ({url}): unset it"
        )));
    }
    let connection = Connection::host(&settings, HostKind::Broker).await?;
    if !connection.is_host() {
        let place = connection.describe();
        return Err(Failure::error(format!("a broker of app `{}` runs already: {place}", settings.id)));
    }
    connection.notices().iter().for_each(|notice| context.out.note(notice));
    // The address is the data of this command: `FAUST_BROKER=$(app broker | head -1)`.
    context.out.text(connection.bootstrap())?;
    signals.next().await;
    context.out.note("the broker stops; what it was given is kept");
    Ok(connection.close(None, Duration::ZERO).await?)
}
