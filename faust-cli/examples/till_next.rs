//! The next version of the app `till`, for the tests of `upgrade-check`: the variable `TILL` selects what has changed.

use faust::prelude::*;

/// A version with a further table.
mod grown {
    use super::*;

    /// Sums up and counts sales.
    #[agent(topic = "sales")]
    pub(super) async fn add(
        sales: Stream<i64>,
        sums: Table<String, i64>,
        counts: Table<String, u64>,
        #[table(window = tumbling("1m"))] minutes: WindowedTable<String, i64>,
    ) -> Result<()> {
        let mut sales = sales.group_by("place", |_| "shop".to_owned());
        while let Some(sale) = sales.next_event().await {
            sums.update(sale.key(), |sum| *sum += sale.value());
            counts.update(sale.key(), |count| *count += 1);
            minutes.update(sale.key(), |sum| *sum += sale.value());
        }
        Ok(())
    }
}

/// A version that keeps its tables by another topic.
mod moved {
    use super::*;

    /// Sums up sales.
    #[agent(topic = "sales")]
    pub(super) async fn add(
        sales: Stream<i64>,
        sums: Table<String, i64>,
        #[table(window = tumbling("1m"))] minutes: WindowedTable<String, i64>,
    ) -> Result<()> {
        let mut sales = sales.group_by("town", |_| "shop".to_owned());
        while let Some(sale) = sales.next_event().await {
            sums.update(sale.key(), |sum| *sum += sale.value());
            minutes.update(sale.key(), |sum| *sum += sale.value());
        }
        Ok(())
    }
}

/// A version whose tables hold something else.
mod retyped {
    use super::*;

    /// Sums up sales.
    #[agent(topic = "sales")]
    pub(super) async fn add(
        sales: Stream<i64>,
        sums: Table<String, f64>,
        #[table(window = tumbling("5m"))] minutes: WindowedTable<String, i64>,
    ) -> Result<()> {
        let mut sales = sales.group_by("place", |_| "shop".to_owned());
        while let Some(sale) = sales.next_event().await {
            sums.update(sale.key(), |sum| *sum += *sale.value() as f64);
            minutes.update(sale.key(), |sum| *sum += sale.value());
        }
        Ok(())
    }
}

fn main() -> std::process::ExitCode {
    let till = App::new("till");
    match std::env::var("TILL").as_deref() {
        Ok("grown") => till.only::<grown::add>().main(),
        Ok("moved") => till.only::<moved::add>().main(),
        _ => till.only::<retyped::add>().main(),
    }
}
